// The drivers of hashicorp/yamux and xtaci/smux: `mux yamux` and `mux smux`.
//
// Both carry byte streams, so a message is its length and its bytes, written in one call and read through a buffer, as
// their users do. A goroutine for each channel; the runner gives the process one CPU.
package main

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"

	"github.com/hashicorp/yamux"
	"github.com/xtaci/smux"
)

// Session is what the two have in common.
type Session interface {
	Open() (io.ReadWriteCloser, error)
	Accept() (io.ReadWriteCloser, error)
}

type yamuxSession struct{ *yamux.Session }

func (s yamuxSession) Open() (io.ReadWriteCloser, error)   { return s.Session.Open() }
func (s yamuxSession) Accept() (io.ReadWriteCloser, error) { return s.Session.Accept() }

type smuxSession struct{ *smux.Session }

func (s smuxSession) Open() (io.ReadWriteCloser, error)   { return s.Session.OpenStream() }
func (s smuxSession) Accept() (io.ReadWriteCloser, error) { return s.Session.AcceptStream() }

func newSession(library string, conn net.Conn, client bool) (Session, error) {
	if library == "yamux" {
		config := yamux.DefaultConfig()
		config.LogOutput = io.Discard
		if client {
			session, err := yamux.Client(conn, config)
			return yamuxSession{session}, err
		}
		session, err := yamux.Server(conn, config)
		return yamuxSession{session}, err
	}
	config := smux.DefaultConfig()
	config.Version = 2 // with a window for each stream: the same promise as everybody else's
	if client {
		session, err := smux.Client(conn, config)
		return smuxSession{session}, err
	}
	session, err := smux.Server(conn, config)
	return smuxSession{session}, err
}

// Channel sends and receives whole messages.
type Channel struct {
	io.Closer
	writer io.Writer
	reader *bufio.Reader
	block  []byte // what is sent: the length, then the message
}

func newChannel(stream io.ReadWriteCloser) *Channel {
	return &Channel{Closer: stream, writer: stream, reader: bufio.NewReaderSize(stream, 4096)}
}

func (c *Channel) send(message []byte) error {
	c.block = append(binary.BigEndian.AppendUint32(c.block[:0], uint32(len(message))), message...)
	_, err := c.writer.Write(c.block)
	return err
}

func (c *Channel) recv(buffer []byte) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(c.reader, head[:]); err != nil {
		return nil, err
	}
	buffer = buffer[:binary.BigEndian.Uint32(head[:])]
	_, err := io.ReadFull(c.reader, buffer)
	return buffer, err
}

func check(err error) {
	if err != nil {
		say(map[string]any{"error": err.Error()})
		os.Exit(1)
	}
}

func say(message any) {
	line, err := json.Marshal(message)
	if err != nil {
		panic(err)
	}
	fmt.Println(string(line))
}

func main() {
	library := os.Args[1]
	if len(os.Args) > 2 { // --version
		say(map[string]any{"version": versions[library]})
		return
	}
	line, err := bufio.NewReader(os.Stdin).ReadBytes('\n')
	check(err)
	var job Job
	check(json.Unmarshal(line, &job))
	go func() { // nothing follows the job but the end of the pipe: the runner is gone
		io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	if job.Role == "server" {
		serve(library, job)
	} else {
		drive(library, job)
	}
	select {}
}

func serve(library string, job Job) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	check(err)
	say(map[string]any{"port": listener.Addr().(*net.TCPAddr).Port})
	conn, err := listener.Accept()
	check(err)
	session, err := newSession(library, conn, false)
	check(err)
	stage := newStage(job)
	gauge := newGauge(job.Arguments.Channels)
	for {
		stream, err := session.Accept()
		check(err)
		if job.Play == "idle" {
			go func() {
				gauge.oneMore()
				stream.Read(make([]byte, 1)) // without the buffer that a channel in use has
			}()
		} else {
			go answer(stage, newChannel(stream))
		}
	}
}

// The server's side of a channel, to its end.
func answer(stage *Stage, channel *Channel) {
	defer channel.Close()
	buffer := make([]byte, stage.job.Arguments.Size)
	for {
		message, err := channel.recv(buffer)
		if err != nil {
			return
		}
		stage.begin()
		stage.count.Add(1)
		if stage.job.Play != "flood" && channel.send(message) != nil {
			return
		}
	}
}

func drive(library string, job Job) {
	conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", job.Port))
	check(err)
	session, err := newSession(library, conn, true)
	check(err)
	stage := newStage(job)
	openStream := func() io.ReadWriteCloser {
		stream, err := session.Open()
		check(err)
		return stream
	}
	open := func() *Channel { return newChannel(openStream()) }
	message := make([]byte, job.Arguments.Size)
	switch job.Play {
	case "flood":
		channels := make([]*Channel, job.Arguments.Channels)
		for at := range channels {
			channels[at] = open()
		}
		stage.begin()
		for {
			for _, channel := range channels {
				check(channel.send(message))
			}
		}
	case "echo":
		stage.begin()
		for range make([]struct{}, job.Arguments.Channels) {
			go echo(stage, open(), message)
		}
	case "opens":
		stage.begin()
		for range make([]struct{}, job.Arguments.Channels) {
			go func() {
				buffer := make([]byte, len(message))
				for {
					channel := open()
					check(channel.send(message))
					_, err := channel.recv(buffer)
					check(err)
					check(channel.Close())
					stage.count.Add(1)
				}
			}()
		}
	case "idle":
		idle(job, openStream)
	}
}

func echo(stage *Stage, channel *Channel, message []byte) {
	buffer := make([]byte, len(message))
	for {
		roundTrip := stage.clock()
		check(channel.send(message))
		_, err := channel.recv(buffer)
		check(err)
		roundTrip()
	}
}

func idle(job Job, open func() io.ReadWriteCloser) {
	const settled = 100
	kept := make([]io.ReadWriteCloser, 0, settled+job.Arguments.Channels)
	for len(kept) < settled {
		kept = append(kept, open())
	}
	before := privateMemory()
	for len(kept) < cap(kept) {
		kept = append(kept, open())
	}
	publish(map[string]float64{"bytes": float64(privateMemory()-before) / float64(job.Arguments.Channels)})
	runtime.KeepAlive(kept)
}
