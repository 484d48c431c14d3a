/**
 * How fast the JavaScript module is beside mux-demux, in one run, over the same WebSocket library in Node.
 *
 *     cd bench/web && npm install && node rates.mjs
 *
 * With `node --cpu-prof`, each process leaves a profile of what it did.
 *
 * A server in a process of its own sends messages on nine channels; the client counts until all have come. They are objects, which
 * both turn into JSON, or bytes, which mux-demux carries as base64: it writes lines of JSON, where a buffer would be a list of
 * numbers, three times as long. mux-demux has no credit: what it sends is bounded by nothing.
 */

import { fork } from "node:child_process";
import { once } from "node:events";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { connect } from "../../muxtcp/web/static/muxtcp.js";
import { configured } from "../../muxtcp/web/static/parts/config.js";
import { ofWebSocket } from "../../muxtcp/web/static/parts/transports.js";
import { Server } from "../../tests/web/server.mjs";

const require = createRequire(import.meta.url);
const MuxDemux = require("mux-demux");
const stream = require("websocket-stream");
const { WebSocket, WebSocketServer } = require("ws");

const CHANNELS = 9;
const ROUNDS = 3;
const SIZES = { 20: 4_000, 1_000: 5_000, 50_000: 500 }; // bytes of a message, and how many on each channel

const objectOf = (size) => ({ n: 1, text: "x".repeat(Math.max(size - 20, 0)) });
const bytesOf = (size) => new Uint8Array(size);

// --- the server -------------------------------------------------------------------------------------------------------

const SERVERS = {
  "mux-demux, JSON": writing((message) => message, objectOf),
  "muxtcp, JSON": sending("json", objectOf),
  "mux-demux, bytes": writing((message) => Buffer.from(message.buffer).toString("base64"), bytesOf),
  "muxtcp, bytes": sending("bytes", bytesOf),
};

function writing(encode, messageOf) {
  return (socket) => {
    const mux = MuxDemux((channel) => {
      const { size, count } = JSON.parse(channel.meta);
      const message = messageOf(size);
      let left = count;
      const pour = () => {
        while (left > 0) if (--left && channel.write(encode(message)) === false) return channel.once("drain", pour);
        channel.end(encode(message));
      };
      pour();
    });
    const line = stream(socket);
    line.pipe(mux).pipe(line);
    line.on("error", () => {});
  };
}

function sending(codec, messageOf) {
  const handler = async (channel) => {
    const message = messageOf(+channel.meta.size);
    for (let left = +channel.meta.count; left > 0; left--) await channel.send(message);
  };
  const server = new Server({ ...configured({ codec, handler }), resume: 0, onSession() {} });
  return (socket) => {
    socket.binaryType = "arraybuffer";
    server.receive(ofWebSocket(socket));
  };
}

function serve(name) {
  const listener = new WebSocketServer({ port: 0, host: "127.0.0.1", perMessageDeflate: false });
  listener.on("connection", SERVERS[name]);
  listener.on("listening", () => process.send(listener.address().port));
  process.once("disconnect", () => process.exit());
}

// --- the clients ------------------------------------------------------------------------------------------------------

const CLIENTS = {
  "mux-demux, JSON": (url, size, count) => muxdemux(url, size, count, (message) => message.n === 1),
  "muxtcp, JSON": (url, size, count) => muxtcp(url, size, count, "json", (message) => message.n === 1),
  "mux-demux, bytes": (url, size, count) => muxdemux(url, size, count, (text) => Buffer.from(text, "base64").length === size),
  "muxtcp, bytes": (url, size, count) => muxtcp(url, size, count, "bytes", (message) => message.length === size),
};

async function muxdemux(url, size, count, right) {
  const line = stream(url, { perMessageDeflate: false });
  const mux = MuxDemux();
  line.pipe(mux).pipe(line);
  const began = performance.now();
  await Promise.all(Array.from({ length: CHANNELS }, async () => {
    const channel = mux.createReadStream(JSON.stringify({ size, count }));
    let seen = 0;
    channel.on("data", (message) => { if (right(message)) seen += 1; });
    await once(channel, "end");
    if (seen !== count) throw new Error(`${seen} of ${count} came`);
  }));
  const seconds = (performance.now() - began) / 1000;
  line.destroy();
  return seconds;
}

async function muxtcp(url, size, count, codec, right) {
  const session = await connect(url, { WebSocket });
  const began = performance.now();
  await Promise.all(Array.from({ length: CHANNELS }, async () => {
    const channel = await session.open("rates", { mode: "r", codec, meta: { size: `${size}`, count: `${count}` } });
    let seen = 0;
    for await (const message of channel) if (right(message)) seen += 1;
    if (seen !== count) throw new Error(`${seen} of ${count} came`);
  }));
  const seconds = (performance.now() - began) / 1000;
  await session.close();
  return seconds;
}

async function measure() {
  for (const [size, count] of Object.entries(SIZES)) {
    console.log(`\nmessages of ${size} bytes, ${CHANNELS} channels of ${count}; the best of ${ROUNDS}`);
    let theirs;
    for (const [name, client] of Object.entries(CLIENTS)) {
      const child = fork(fileURLToPath(import.meta.url), [name]);
      const [port] = await once(child, "message");
      let best = Infinity;
      for (let round = 0; round < ROUNDS; round++) best = Math.min(best, await client(`ws://127.0.0.1:${port}`, +size, count));
      child.disconnect();
      await once(child, "exit");
      const rate = (CHANNELS * count) / best;
      if (name.startsWith("mux-demux")) theirs = rate;
      const told = [`${Math.round(rate).toLocaleString("en")} messages/s`, `${((rate * size) / 1e6).toFixed(1)} MB/s`];
      console.log(`  ${name.padEnd(16)} ${told[0].padStart(22)} ${told[1].padStart(12)}   ${(rate / theirs).toFixed(1)} x`);
    }
  }
}

if (process.argv[2]) serve(process.argv[2]);
else await measure();
