// The clock, the counters and the four plays of the drivers in JavaScript.
//
// A library gives `serve(onChannel)`, which resolves to the port, and `connect(port)`, which resolves to a function
// that opens a channel. A channel has `send(buffer)`, which returns false when it is full, and `onWritable` is called when
// it is so no more; `end()`; and it calls `onMessage` for each whole message.

import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

const LEVELS = [1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9]; // as in muxtcp/bench/stage.py
const SETTLED = 100; // opened before the first reading of memory, so that one-off costs are not counted
const SENDS_PER_TURN = 64; // a sender that is never refused would keep the loop, and its timers, from running

const say = (message) => process.stdout.write(JSON.stringify(message) + "\n");
const cpuSeconds = () => {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1e6;
};

class Stage {
  constructor(job) {
    Object.assign(this, job.arguments);
    this.job = job;
    this.count = 0;
    this.latencies = []; // milliseconds
    this.begun = false;
  }

  begin() {
    if (this.begun) return;
    this.begun = true;
    setTimeout(() => this.measure(), this.job.warmup * 1000);
  }

  measure() {
    const [start, cpu, count] = [performance.now(), cpuSeconds(), this.count];
    this.latencies = [];
    setTimeout(() => {
      const seconds = (performance.now() - start) / 1000;
      const figures = { seconds, cpu: cpuSeconds() - cpu, rate: (this.count - count) / seconds };
      const ordered = Float64Array.from(this.latencies).sort();
      for (const level of ordered.length ? LEVELS : [])
        figures[`p${level}`] = ordered[Math.floor(((ordered.length - 1) * level) / 100)] * 1000;
      this.publish(figures);
    }, this.job.seconds * 1000);
  }

  publish(figures) {
    say({ result: figures });
  }
}

setFlagsFromString("--expose-gc");
const collectGarbage = runInNewContext("gc");

function privateMemory() {
  collectGarbage();
  return Number(/^RssAnon:\s+(\d+) kB/m.exec(readFileSync("/proc/self/status", "utf8"))[1]) * 1024;
}

// The server's side

function accept(stage) {
  let things = 0;
  let before = 0;
  return (channel) => {
    if (stage.job.play === "idle") {
      things += 1;
      if (things === SETTLED) before = privateMemory();
      if (things === SETTLED + stage.channels)
        stage.publish({ bytes: (privateMemory() - before) / stage.channels });
      return;
    }
    const answers = stage.job.play !== "flood";
    channel.onMessage = (message) => {
      stage.begin();
      stage.count += 1;
      if (answers) channel.send(message);
    };
  };
}

// The client's side

const drive = {
  async flood(stage, open) {
    const message = stage.message;
    const channels = await Promise.all(Array.from({ length: stage.channels }, open));
    let at = 0;
    const pump = () => {
      for (let sent = 0; sent < SENDS_PER_TURN; sent++) {
        const channel = channels[at];
        at = (at + 1) % channels.length;
        if (!channel.send(message)) {
          channel.onWritable = pump;
          return;
        }
      }
      setImmediate(pump);
    };
    stage.begin();
    pump();
  },

  async echo(stage, open) {
    const message = stage.message;
    const timed = stage.channels === 1;
    for (const channel of await Promise.all(Array.from({ length: stage.channels }, open))) {
      let sent = performance.now();
      channel.onMessage = () => {
        stage.count += 1;
        if (timed) {
          const now = performance.now();
          stage.latencies.push(now - sent);
          sent = now;
        }
        channel.send(message);
      };
      channel.send(message);
    }
    stage.begin();
  },

  async opens(stage, open) {
    const message = stage.message;
    const converse = async () => {
      const channel = await open();
      channel.onMessage = () => {
        channel.end();
        stage.count += 1;
        setImmediate(converse);
      };
      channel.send(message);
    };
    stage.begin();
    for (let at = 0; at < stage.channels; at++) converse();
  },

  async idle(stage, open) {
    const kept = [];
    const more = async (count) => {
      while (count--) kept.push(await open());
    };
    await more(SETTLED);
    const before = privateMemory();
    await more(stage.channels);
    stage.publish({ bytes: (privateMemory() - before) / stage.channels });
    globalThis.kept = kept;
  },
};

// Messages of one size out of a stream of bytes; `on(message)` for each.
export function cut(size, on) {
  let rest = Buffer.alloc(0);
  return (chunk) => {
    const data = rest.length ? Buffer.concat([rest, chunk]) : chunk;
    let at = 0;
    for (; at + size <= data.length; at += size) on(data.subarray(at, at + size));
    rest = data.subarray(at);
  };
}

// `library(size)` gives { serve, connect }, and { message } where that is not a Buffer.
export function main(version, library) {
  if (process.argv.includes("--version")) {
    say({ version });
    return;
  }
  const input = createInterface({ input: process.stdin });
  input.on("close", () => process.exit(1)); // nothing follows the job but the end of the pipe: the runner is gone
  input.once("line", async (line) => {
    const stage = new Stage(JSON.parse(line));
    const fail = (error) => {
      say({ error: String(error) });
      process.exit(1);
    };
    process.on("uncaughtException", fail).on("unhandledRejection", fail);
    const { serve, connect, message = Buffer.alloc(stage.size) } = library(stage.size);
    stage.message = message;
    if (stage.job.role === "server") say({ port: await serve(accept(stage)) });
    else await drive[stage.job.play](stage, await connect(stage.job.port));
  });
}
