package main

import (
	"bufio"
	"fmt"
	"os"
	"runtime/debug"
	"sort"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Set by the build: `-ldflags "-X main.yamuxVersion=..."`.
var yamuxVersion, smuxVersion string

var versions = map[string]string{"yamux": yamuxVersion, "smux": smuxVersion}

// The percentiles that are reported, as in muxtcp/bench/stage.py.
var levels = []float64{1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9}

// Job is what the runner asks for; times in seconds.
type Job struct {
	Role      string
	Play      string
	Arguments struct{ Size, Channels int }
	Warmup    float64
	Seconds   float64
	Port      int
}

// Stage is the clock and the counters of one side.
type Stage struct {
	job       Job
	count     atomic.Int64
	once      sync.Once
	mutex     sync.Mutex      // of what is below
	latencies []time.Duration // of the only channel; of more, nobody asks
}

func newStage(job Job) *Stage { return &Stage{job: job} }

// begin says that traffic flows: warm up, then measure. Calls after the first do nothing.
func (s *Stage) begin() {
	s.once.Do(func() { go s.measure() })
}

func (s *Stage) measure() {
	time.Sleep(seconds(s.job.Warmup))
	start, cpu, count := time.Now(), cpuTime(), s.count.Load()
	s.taken()
	time.Sleep(seconds(s.job.Seconds))
	elapsed := time.Since(start).Seconds()
	figures := map[string]float64{
		"seconds": elapsed,
		"cpu":     cpuTime() - cpu,
		"rate":    float64(s.count.Load()-count) / elapsed,
	}
	sorted := s.taken()
	sort.Slice(sorted, func(a, b int) bool { return sorted[a] < sorted[b] })
	for _, level := range levels {
		if len(sorted) > 0 {
			at := sorted[int(float64(len(sorted)-1)*level/100)]
			figures[fmt.Sprintf("p%g", level)] = float64(at.Nanoseconds()) / 1e3
		}
	}
	publish(figures)
}

// clock starts a round trip; what it returns ends it.
func (s *Stage) clock() func() {
	sent := time.Now()
	return func() {
		s.count.Add(1)
		if s.job.Arguments.Channels == 1 {
			s.mutex.Lock()
			s.latencies = append(s.latencies, time.Since(sent))
			s.mutex.Unlock()
		}
	}
}

// taken is the latencies since the last time.
func (s *Stage) taken() []time.Duration {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	latencies := s.latencies
	s.latencies = nil
	return latencies
}

func publish(figures map[string]float64) { say(map[string]any{"result": figures}) }

func seconds(number float64) time.Duration { return time.Duration(number * float64(time.Second)) }

// cpuTime is what all threads of this process have used, in seconds.
func cpuTime() float64 {
	var usage syscall.Rusage
	check(syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// privateMemory is what is resident and belongs to this process alone, after a garbage collection, in bytes.
func privateMemory() int {
	debug.FreeOSMemory()
	file, err := os.Open("/proc/self/status")
	check(err)
	defer file.Close()
	kib := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if strings.HasPrefix(lines.Text(), "RssAnon:") {
			_, err := fmt.Sscanf(lines.Text(), "RssAnon: %d kB", &kib)
			check(err)
		}
	}
	return kib * 1024
}

// Gauge publishes the memory for each accepted channel, once all are there.
type Gauge struct {
	sync.Mutex
	counted, things, before int
}

func newGauge(counted int) *Gauge { return &Gauge{counted: counted} }

func (g *Gauge) oneMore() {
	g.Lock()
	defer g.Unlock()
	const settled = 100
	g.things++
	if g.things == settled {
		g.before = privateMemory()
	} else if g.things == settled+g.counted {
		publish(map[string]float64{"bytes": float64(privateMemory()-g.before) / float64(g.counted)})
	}
}
