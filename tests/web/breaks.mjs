/**
 * One session of the JavaScript module over connections that are cut at random bytes: nothing is lost, doubled or changed.
 *
 *     node tests/web/breaks.mjs SECONDS [PORT]
 *
 * PORT is that of a server whose channels echo; without it, the tests' own server in JavaScript is the other side.
 */

import { once } from "node:events";
import { connect as dial, createServer } from "node:net";
import { connect, constant } from "../../muxtcp/web/static/muxtcp.js";
import { serve } from "./server.mjs";

const [seconds, port] = process.argv.slice(2).map(Number);
const CHANNELS = 8;
const LARGE = 200_000;
const config = { channelWindow: 100_000, sessionWindow: 150_000, replayLimit: 300_000 };
const until = performance.now() + seconds * 1000;
let cuts = 0;

/** Passes bytes on until so many have gone one way, mostly few; then both ends lose their connection. */
function relay(near, far) {
  const pair = [near, far];
  let left = Math.floor(Math.exp(Math.random() * 13));
  for (const [from, to] of [pair, [far, near]]) {
    from.on("data", (bytes) => {
      const whole = bytes.length < left;
      if (!to.write(whole ? bytes : bytes.subarray(0, left))) from.pause();
      left -= bytes.length;
      if (whole) return;
      cuts += 1;
      left = Infinity;
      from.pause();
      setImmediate(() => pair.forEach((it) => (Math.random() < 0.5 ? it.destroy() : it.resetAndDestroy())));
    });
    to.on("drain", () => from.resume());
    from.on("error", () => {});
    from.on("close", () => to.destroy());
  }
}

async function handler(channel) {
  for await (const message of channel) await channel.send(message);
}

/** Sends numbered messages until the time is over, and checks what comes back. */
async function talk(session, priority) {
  const channel = await session.open("echo", { priority });
  const sizes = [];
  const sending = (async () => {
    while (performance.now() < until) {
      const size = 4 + Math.floor(Math.random() * (Math.random() < 0.1 ? LARGE : 2_000));
      const message = new Uint8Array(size).fill(sizes.length % 251, 4);
      new DataView(message.buffer).setUint32(0, sizes.length);
      sizes.push(size);
      await channel.send(message);
    }
    await channel.sendEof();
  })();
  let count = 0;
  for await (const message of channel) {
    const number = new DataView(message.buffer).getUint32(0);
    const right = message.subarray(4).every((byte) => byte === number % 251);
    if (number !== count || message.length !== sizes[count] || !right) throw new Error(`message ${count} is another`);
    count += 1;
  }
  await sending;
  if (count !== sizes.length) throw new Error(`${count} of ${sizes.length} came back`);
  return count;
}

const own = port ? null : await serve({ handler, config });
const proxy = createServer((near) => relay(near, dial(port || own.port, "127.0.0.1"))).listen(0, "127.0.0.1");
await once(proxy, "listening");
const backoff = constant(0.005);
const session = await connect(`tcp://127.0.0.1:${proxy.address().port}`, { resume: 60, backoff, config });
const priorities = ["urgent", "high", "normal", "bulk"];
const counts = await Promise.all(Array.from({ length: CHANNELS }, (_, i) => talk(session, priorities[i % 4])));
const messages = counts.reduce((sum, count) => sum + count);
console.log(`${cuts} cuts, ${session.stats().resumptions} resumptions, ${messages} messages there and back: all right`);
process.exit();
