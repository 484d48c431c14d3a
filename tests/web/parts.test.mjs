/** Parts of the module by themselves: what neither bytes nor whole sessions show. */

import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import { readFileSync } from "node:fs";
import { connect as connectSocket, createServer } from "node:net";
import { describe, test } from "node:test";
import { connect, SessionClosed } from "../../muxtcp/web/static/muxtcp.js";
import { configured } from "../../muxtcp/web/static/parts/config.js";
import { Fifo } from "../../muxtcp/web/static/parts/fifo.js";
import { Session } from "../../muxtcp/web/static/parts/session.js";
import { dial, ofSocket, ofWebSocket } from "../../muxtcp/web/static/parts/transports.js";
import { within } from "../../muxtcp/web/static/parts/waiting.js";
import { SessionWindow, Window } from "../../muxtcp/web/static/parts/window.js";
import { joined, Kind, PREFACE, Type, writeOpen, Writer, writeRecord } from "../../muxtcp/web/static/parts/wire.js";
import { Alone, framesOf, hex, LIMITS, raw } from "./support.mjs";

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

  test("a message that is given up while it waits is not sent, and holds up nobody", async () => {
    const alone = new Alone({ client: true, theirs: { sessionLimit: 1_000 } });
    const { outbox } = alone.engine;
    const [one, other] = [opened(alone), opened(alone)];
    const given = new AbortController();
    const large = outbox.wait(one.sending, new Uint8Array(2_000), given.signal);
    const small = outbox.wait(other.sending, new Uint8Array(10), given.signal);
    const end = outbox.finish(one.sending);
    given.abort();
    await Promise.all([large, small].map((sending) => assert.rejects(sending, { name: "AbortError" })));
    await end;
    assert.ok(outbox.offer(other.sending, new Uint8Array(10)));
    const said = framesOf(alone.written()).filter(({ channel }) => channel);
    assert.deepEqual(said.map(({ channel, kind }) => [channel, kind]).slice(2), [[one.id, Kind.FINISH], [other.id, Kind.DATA]]);
  });

  test("a request that is given up leaves nothing behind that waits", async () => {
    const { session, taken } = alone({ over: false, limit: 1_000 });
    const given = new AbortController();
    for (const options of [{ signal: given.signal }, { timeout: 0 }]) {
      const asking = assert.rejects(session.request("a", new Uint8Array(2_000), options));
      await turn();
      given.abort();
      await asking;
    }
    await turn();
    const said = framesOf(joined(taken)).filter(({ channel, kind }) => channel && kind !== Kind.BLOCKED);
    assert.deepEqual(said.map(({ channel, kind }) => [channel, kind]), [1, 3].flatMap((id) => [[id, Kind.OPEN], [id, Kind.RESET]]));
    assert.equal(session.stats().messagesSent, 0);
  });

  test("a signal that comes too late changes nothing", async () => {
    const alone = new Alone({ client: true });
    const given = new AbortController();
    const channel = opened(alone);
    await alone.engine.outbox.wait(channel.sending, new Uint8Array(10), given.signal);
    assert.deepEqual(getEventListeners(given.signal, "abort"), []);
    given.abort();
    await assert.rejects(alone.engine.outbox.wait(channel.sending, new Uint8Array(10), given.signal), { name: "AbortError" });
    assert.equal(dataOf(alone.written()).length, 1);
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

describe("a window", () => {
  const [SIZE, LARGEST, CEILING] = [10_000, 4_000, 100_000];
  const make = (Made = Window) => new Made(SIZE, LARGEST, CEILING);
  /** All that is granted comes, and then the word that more was there; its reader takes it but for so many bytes. */
  const filled = (window, unread) => {
    const limit = window.granted;
    window.take(limit - window.received);
    window.consume(window.received - unread - window.consumed);
    window.raised(); // most often the answer is on its way before the question
    window.blocked(limit, limit + 100);
    window.raised();
  };

  test("grows as long as it is all that holds the sender up", () => {
    const window = make();
    const sizes = Array.from({ length: 6 }, () => { filled(window, 100); return window.size; });
    assert.deepEqual(sizes, [20_000, 40_000, 80_000, CEILING, CEILING, CEILING]);
    assert.equal(window.granted, window.consumed + CEILING);
  });

  test("does not grow for a reader who is slow", () => {
    const window = make();
    for (let round = 0; round < 6; round++) filled(window, 5_000);
    assert.equal(window.size, SIZE);
    filled(window, 0); // for once it is quick
    const grown = window.size;
    assert.equal(grown, 2 * SIZE);
    for (let round = 0; round < 6; round++) filled(window, 6_000);
    assert.equal(window.size, 2 * grown); // once more, since it began with nothing unread
  });

  test("grows once for each limit of which the sender knows", () => {
    const window = make();
    window.take(SIZE);
    window.consume(SIZE);
    window.blocked(SIZE, SIZE + 100);
    assert.equal(window.raised(), 30_000);
    window.take(5_000);
    window.consume(5_000);
    window.blocked(SIZE + 5_000, SIZE + 6_000); // before it heard of the 30,000
    assert.equal(window.size, 20_000);
  });

  test("lets any message through, once all before it is read", () => {
    const window = new Window(1_000, LARGEST, CEILING);
    window.take(900);
    window.blocked(1_000, 900 + LARGEST);
    assert.equal(window.raised(), 4_000); // 900 of which are unread
    window.consume(900);
    assert.equal(window.raised(), 900 + LARGEST);
    assert.throws(() => window.blocked(5_000, 6_000), /blocked at 5000, granted 4900/);
  });

  test("is not upset by a need beyond all numbers", () => {
    for (const Made of [Window, SessionWindow]) {
      const window = make(Made);
      window.blocked(SIZE, 2n ** 62n);
      assert.ok(window.size <= CEILING);
      assert.ok(window.raised() > SIZE);
    }
  });

  test("of a session grows past what nobody reads", () => {
    const idle = 9_000;
    for (const [Made, sizes] of [[Window, [SIZE, SIZE, SIZE]], [SessionWindow, [idle + 10_000, idle + 20_000, idle + 40_000]]]) {
      const window = make(Made);
      window.take(idle);
      assert.deepEqual(sizes.map(() => { filled(window, idle); return window.size; }), sizes);
    }
  });

  test("of a session lets any message through, unless its memory is full", () => {
    const window = new SessionWindow(1_000, LARGEST, 5_000);
    window.take(900);
    window.blocked(1_000, 900 + LARGEST);
    assert.equal(window.raised(), 900 + LARGEST);
    window.take(LARGEST);
    window.blocked(4_900, 4_900 + LARGEST);
    assert.equal(window.raised(), 0);
    window.consume(LARGEST);
    assert.equal(window.raised(), 5_000 + LARGEST);
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
  const socket = connectSocket(listener.address().port, "127.0.0.1");
  const transport = ofSocket(socket);
  await Promise.all([once(listener, "connection"), once(socket, "connect")]);
  context.after(() => transport.abort());
  assert.ok(transport.write(new Uint8Array(10))); // the kernel has them
  for (let taken; transport.room; assert.ok(taken === transport.room)) taken = transport.write(new Uint8Array(1_000_000));
  const room = new Promise((resolve) => { transport.onRoom = resolve; });
  listener.reads();
  await room;
  assert.ok(transport.room);
});

/** A session whose connection is only looked at: `taken` has the bytes that it was given. */
function alone({ granted = 0, over = true, limit = 2 ** 40 } = {}) {
  const far = { channelLimit: limit, sessionLimit: limit, replayLimit: granted && 2 ** 40 };
  const theirs = { ...LIMITS, ...far, meta: {} };
  const session = new Session({ client: true, theirs, granted, ticket: null, options: configured({}) });
  const taken = [];
  session.attach({ room: true, write: (bytes) => { taken.push(bytes); return over; }, release() {}, end() {}, abort() {} }, new Uint8Array(0));
  return { session, taken };
}

const turn = () => new Promise(setImmediate);

describe("a session with much to send", () => {
  const size = 60_000;

  test("does not wait until all is there, nor go on without end in one turn of the loop", async () => {
    const { session, taken } = alone();
    const channel = await session.open("a");
    await turn();
    let turns = 0;
    const sent = [];
    setImmediate(function count() { turns += 1; if (sent.length < 200) setImmediate(count); });
    for (let n = 0; n < 200; n++) {
      await channel.send(new Uint8Array(size));
      sent.push({ turns, taken: taken.reduce((sum, { length }) => sum + length, 0) });
    }
    assert.ok(sent.find((then) => then.taken > 2 * size).turns === 0, "nothing was written early");
    const first = sent.filter((then) => then.turns === 0);
    assert.ok(first.length < 100, `${first.length} messages in one turn`);
  });

  test("writes into one block, unless somebody still needs it", async () => {
    const blocksOf = async (options) => {
      const { session, taken } = alone(options);
      const channel = await session.open("a");
      for (let n = 0; n < 40; n++) await channel.send(new Uint8Array(size).fill(n));
      await channel.sendEof();
      await turn();
      const large = taken.filter(({ length }) => length > size);
      assert.ok(large.length > 15);
      return { taken, block: large.at(-1).buffer, reused: new Set(large.map(({ buffer }) => buffer)).size < large.length };
    };
    assert.ok((await blocksOf({})).reused);
    for (const options of [{ over: false }, { granted: 30 }]) { // the connection has them still; they may have to go again
      const { taken, reused } = await blocksOf(options);
      assert.ok(!reused);
      const numbers = dataOf(joined(taken)).filter(({ kind }) => kind === Kind.DATA).map(({ payload }) => payload[0]);
      assert.deepEqual(numbers, Array.from({ length: 40 }, (_, n) => n));
    }
    await blocksOf({});
    for (const options of [{}, { granted: 30 }]) { // what is small, or kept, does not take the block
      const { session, taken } = alone(options);
      await (await session.open("a")).send(new Uint8Array(10));
      await turn();
      assert.ok(taken[0].buffer.byteLength < 4_096);
    }
    const { block } = await blocksOf({});
    const { session, taken } = alone({ granted: 30 });
    await (await session.open("a")).send(new Uint8Array(size));
    await turn();
    assert.notEqual(taken[0].buffer, block);
  });
});

test("a peer that takes nothing holds no session that ends", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  const theirs = { ...LIMITS, meta: {} };
  const session = new Session({ client: true, theirs, granted: 0, ticket: null, options: configured({}) });
  let aborted = 0;
  session.attach({ room: false, write() {}, release() {}, end() {}, abort: () => { aborted += 1; } }, new Uint8Array(0));
  session.abort("enough");
  assert.ok((await session.closed) instanceof SessionClosed);
  assert.equal(aborted, 0);
  context.mock.timers.tick(5_000);
  assert.equal(aborted, 1);
});

/** A WebSocket whose server answers at once with all it says, in one turn, as when one segment of TCP has it. */
function quick(...messages) {
  return class {
    bufferedAmount = 0;
    constructor() { queueMicrotask(() => this.onopen()); }
    send() {
      for (const said of messages.splice(0)) {
        if (typeof said === "function") said(this);
        else this.onmessage({ data: Uint8Array.from(said).buffer });
      }
    }
    close() {}
  };
}

describe("a handshake", () => {
  const said = { version: [1], ...LIMITS, channelLimit: 10_000, sessionLimit: 10_000, resume: 0 };
  const welcome = joined([PREFACE, new Writer().frame(0, 0, writeRecord(Type.WELCOME, said)).done()]);
  const open = new Writer().frame(2, Kind.OPEN, writeOpen({ name: "at once" })).done();
  const data = new Writer().frame(2, Kind.DATA, raw("01 02")).done();

  test("may have the first frames, and the end, right behind it", async () => {
    const heard = [];
    const handler = async (channel) => heard.push(channel.name, hex(await channel.recv()));
    const end = (socket) => socket.onclose({ wasClean: false, code: 1006, reason: "" });
    const session = await connect("ws://h:1", { WebSocket: quick(welcome, open, data, end), handler });
    assert.match((await session.closed).message, /closed with 1006/);
    await turn();
    assert.deepEqual(heard, ["at once", "0102"]);
  });

  test("that comes through in the moment in which it is given up has not come through", async () => {
    const given = new AbortController();
    const states = [];
    const options = { signal: given.signal, onState: ({ state }) => states.push(state) };
    const abort = () => given.abort();
    await assert.rejects(connect("ws://h:1", { WebSocket: quick(welcome, abort), ...options }).then(), { name: "AbortError" });
    assert.deepEqual(states, ["connecting", "stopped"]);
  });

  test("whose session stops everything does not give it to anybody", async () => {
    const handler = () => connector.stop();
    const connector = connect("ws://h:1", { WebSocket: quick(welcome, open), handler });
    await assert.rejects(connector.then(), { message: "the connector was stopped" });
  });
});

describe("a WebSocket", () => {
  const fake = () => ({ bufferedAmount: 0, send() {}, close(...how) { this.closed = how; } });

  test("is looked at again when it is full", async () => {
    const socket = fake();
    const transport = ofWebSocket(socket);
    assert.ok(transport.room);
    assert.ok(transport.write(new Uint8Array(1)));
    socket.bufferedAmount = 1_000_000;
    assert.ok(!transport.write(new Uint8Array(1)));
    const room = new Promise((resolve) => { transport.onRoom = resolve; });
    assert.ok(!transport.room);
    await room;
  });

  test("that is given up while it connects may say so", async () => {
    const given = new AbortController();
    let heard = false;
    class Late { // as that of the library `ws`, where an error that nobody hears ends the process
      close() { this.onerror({ message: "closed before the connection was established" }); heard = true; }
    }
    const dialled = dial("ws://h:1", { WebSocket: Late, connectTimeout: 10, signal: given.signal });
    given.abort();
    await assert.rejects(dialled, { name: "AbortError" });
    assert.ok(heard);
    await assert.rejects(dial("ws://h:1", { WebSocket: Late, connectTimeout: 0, signal: new AbortController().signal }), /within 0 s/);
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

test("what a signal has given up already is not waited for", async () => {
  await assert.rejects(within(undefined, new Promise(() => {}), "", AbortSignal.abort()), { name: "AbortError" });
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
  const leave = ["a", "b", "c"].map((item) => queue.enter(item));
  leave[1]();
  leave[1]();
  assert.deepEqual([queue.length, queue.shift(), queue.shift()], [2, "a", "c"]);
  leave[0]();
  assert.equal(queue.length, 0);
});
