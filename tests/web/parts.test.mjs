/** Parts of the module by themselves: what neither bytes nor whole sessions show. */

import assert from "node:assert/strict";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { connect as dial, createServer } from "node:net";
import { describe, test } from "node:test";
import { SessionClosed } from "../../muxtcp/web/static/muxtcp.js";
import { configured } from "../../muxtcp/web/static/parts/config.js";
import { Fifo } from "../../muxtcp/web/static/parts/fifo.js";
import { Session } from "../../muxtcp/web/static/parts/session.js";
import { ofSocket, ofWebSocket } from "../../muxtcp/web/static/parts/transports.js";
import { Kind, Type } from "../../muxtcp/web/static/parts/wire.js";
import { Alone, framesOf, LIMITS, raw } from "./support.mjs";

const opened = (alone, name = "a", priority = 2) => alone.engine.open({ name, mode: "rw", priority });
const dataOf = (bytes) => framesOf(bytes).filter(({ channel, kind }) => channel && kind <= Kind.PART);

describe("what is sent", () => {
  test("a message that was given up before it was written gives its credit back", () => {
    const alone = new Alone({ client: true, theirs: { sessionLimit: 1_000 } });
    const [one, other] = [opened(alone), opened(alone)];
    assert.ok(alone.engine.outbox.offer(one.sending, new Uint8Array(800)));
    assert.ok(!alone.engine.outbox.offer(other.sending, new Uint8Array(800)));
    alone.engine.reset(one, 2, "", new Error("given up"));
    assert.ok(alone.engine.outbox.offer(other.sending, new Uint8Array(800)));
    assert.deepEqual(dataOf(alone.written()).map(({ channel }) => channel), [other.id]);
  });

  test("a small message does not overtake a large one that waits for the session's credit", async () => {
    const alone = new Alone({ client: true, theirs: { sessionLimit: 1_000 } });
    const { outbox } = alone.engine;
    const [one, other] = [opened(alone), opened(alone)];
    const large = outbox.wait(one.sending, new Uint8Array(2_000));
    const small = outbox.wait(other.sending, new Uint8Array(10));
    assert.deepEqual(dataOf(alone.written()), []);
    alone.feed(raw("05 00 0b 80 80 02")); // SESSION_CREDIT of 32,768
    await Promise.all([large, small]);
    assert.deepEqual(dataOf(alone.written()).map(({ channel }) => channel), [one.id, other.id]);
  });

  test("channels take turns, and the urgent one goes first", () => {
    const alone = new Alone({ client: true });
    const [bulk, other, urgent] = [opened(alone, "bulk", 3), opened(alone, "other", 3), opened(alone, "urgent", 0)];
    for (const channel of [bulk, other]) alone.engine.outbox.offer(channel.sending, new Uint8Array(40_000));
    alone.engine.outbox.offer(urgent.sending, new Uint8Array(10));
    const order = dataOf(alone.written()).map(({ channel }) => channel);
    assert.deepEqual(order, [urgent, bulk, other, bulk, other, bulk, other].map(({ id }) => id));
  });

  test("an urgent message waits for one fragment at most", () => {
    const alone = new Alone({ client: true });
    const [bulk, urgent] = [opened(alone, "bulk", 3), opened(alone, "urgent", 0)];
    alone.engine.outbox.offer(bulk.sending, new Uint8Array(200_000));
    alone.engine.write(1);
    alone.engine.write(1);
    alone.engine.write(1);
    alone.engine.outbox.offer(urgent.sending, new Uint8Array(10));
    assert.equal(dataOf(alone.engine.write(1))[0].channel, urgent.id);
  });

  test("what waits is bounded by the send buffer", async () => {
    const alone = new Alone({ client: true, theirs: { channelLimit: 2 ** 40, sessionLimit: 2 ** 40 }, config: { sendBuffer: 2_000 } });
    const { outbox } = alone.engine;
    const channel = opened(alone);
    assert.ok(outbox.offer(channel.sending, new Uint8Array(3_000)));
    assert.ok(!outbox.offer(channel.sending, new Uint8Array(1)));
    const waiting = outbox.wait(channel.sending, new Uint8Array(1));
    assert.equal(dataOf(alone.written()).length, 2);
    await waiting;
  });
});

test("what an engine says again over another connection, and in which order", () => {
  const alone = new Alone({ client: true, resumable: true });
  const channel = opened(alone);
  alone.engine.outbox.offer(channel.sending, new Uint8Array([1]));
  alone.written();
  alone.engine.broke("cut");
  alone.engine.outbox.offer(channel.sending, new Uint8Array([2]));
  assert.equal(alone.engine.judge({ frames: 3, bytes: 0, oldest: 1 }), "POSITION_LOST");
  assert.equal(alone.engine.judge({ frames: 1, bytes: 1, oldest: 1 }), "DIVERGED");
  assert.equal(alone.engine.rejoin(1, 0), 1);
  const said = framesOf(alone.written());
  assert.deepEqual(said.filter(({ channel }) => !channel).map(({ type }) => type), [Type.SESSION_CREDIT, Type.CHANNEL_CREDIT]);
  assert.deepEqual(said.filter(({ channel }) => channel).map(({ payload }) => [...payload]), [[1], [2]]);
});

test("a socket says when it has room again", async (context) => {
  const listener = createServer((socket) => {
    socket.on("error", () => {});
    listener.reads = () => socket.resume();
  }).listen(0, "127.0.0.1");
  await once(listener, "listening");
  context.after(() => listener.close());
  const socket = dial(listener.address().port, "127.0.0.1");
  const transport = ofSocket(socket);
  await Promise.all([once(listener, "connection"), once(socket, "connect")]);
  while (transport.room) transport.write(new Uint8Array(1_000_000));
  const room = new Promise((resolve) => { transport.onRoom = resolve; });
  listener.reads();
  await room;
  assert.ok(transport.room);
  transport.abort();
});

test("a peer that takes nothing holds no session that ends", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const theirs = { ...LIMITS, meta: {} };
  const session = new Session({ client: true, theirs, granted: 0, ticket: null, options: configured({}) });
  let aborted = 0;
  session.attach({ room: false, write() {}, end() {}, abort: () => { aborted += 1; } }, new Uint8Array(0));
  session.abort("enough");
  assert.ok((await session.closed) instanceof SessionClosed);
  assert.equal(aborted, 0);
  context.mock.timers.tick(5_000);
  assert.equal(aborted, 1);
});

describe("a WebSocket", () => {
  const fake = () => ({ bufferedAmount: 0, send() {}, close(...how) { this.closed = how; } });

  test("is looked at again when it is full", async () => {
    const socket = fake();
    const transport = ofWebSocket(socket);
    assert.ok(transport.room);
    socket.bufferedAmount = 1_000_000;
    const room = new Promise((resolve) => { transport.onRoom = resolve; });
    assert.ok(!transport.room);
    await room;
  });

  test("that brings text is none of ours", () => {
    const socket = fake();
    const transport = ofWebSocket(socket);
    const ends = [];
    transport.onEnd = (reason) => ends.push(reason);
    socket.onmessage({ data: "text" });
    socket.onclose({ wasClean: true, code: 1000, reason: "" });
    assert.deepEqual(ends, ["the server sent text, which muxtcp does not"]);
    assert.deepEqual(socket.closed, [4000, "aborted"]);
  });

  test("ends in good order, or does not", () => {
    const ended = (event) => {
      const socket = fake();
      const transport = ofWebSocket(socket);
      let end;
      transport.onEnd = (reason) => { end = reason; };
      socket.onclose(event);
      return end;
    };
    assert.equal(ended({ wasClean: true, code: 1000, reason: "" }), null);
    assert.equal(ended({ wasClean: false, code: 1006, reason: "" }), "the WebSocket was closed with 1006");
    assert.equal(ended({ wasClean: true, code: 1009, reason: "too big" }), "the WebSocket was closed with 1009 too big");
  });
});

test("the types name what the module exports", async () => {
  const place = "../../muxtcp/web/static/muxtcp";
  const types = readFileSync(new URL(`${place}.d.ts`, import.meta.url), "utf8");
  const named = [...types.matchAll(/^export (?:class|function|const) (\w+)/gm)].map(([, name]) => name);
  assert.deepEqual(Object.keys(await import(`${place}.js`)).sort(), named.sort());
});

test("a queue keeps its order", () => {
  const queue = new Fifo();
  let next = 0;
  for (let n = 0; n < 10_000; n++) {
    queue.push(n);
    if (n % 3) assert.equal(queue.shift(), next++);
  }
  while (queue.length) assert.equal(queue.shift(), next++);
  assert.equal(next, 10_000);
});
