/** Whole sessions in Node: over TCP with the server that these tests have; over a WebSocket and TLS where the environment has one. */

import assert from "node:assert/strict";
import { getEventListeners, once } from "node:events";
import { createServer, connect as dial } from "node:net";
import { after, before, describe, test } from "node:test";
import {
  ChannelClosed, ChannelRefused, ChannelReset, CodecError, connect, constant, EndOfStream, exponential, HandshakeError,
  LocalProtocolError, MessageTooLarge, SessionClosed, SessionLost, TimeoutError,
} from "../../muxtcp/web/static/muxtcp.js";
import { pack, unpack } from "../../muxtcp/web/static/parts/msgpack.js";
import { serve } from "./server.mjs";

const text = (bytes) => new TextDecoder().decode(bytes);
const bytes = (words) => new TextEncoder().encode(words);
const AT_ONCE = constant(0, { jitter: 0 });

/** What the tests' own server does; those of the environment do the same. */
async function handler(channel) {
  if (channel.name === "echo") for await (const message of channel) await channel.send(message);
  else if (channel.name === "meta") await channel.send(bytes(JSON.stringify(channel.meta)));
  else if (channel.name === "count") for (let n = 0; n < 5_000; n++) await channel.send(bytes(`${n}`));
  else if (channel.name === "reset") channel.reset(0x1234, "enough");
  else if (channel.name === "silent") await channel.session.closed;
  else channel.refuse(0x10, `no service ${channel.name}`);
}

let own;
before(async () => { own = await serve({ handler }); });
after(() => own.close());

const places = { tcp: () => `tcp://127.0.0.1:${own.port}` };
const { MUXTCP_WEBSOCKET, MUXTCP_TLS } = process.env;
if (MUXTCP_WEBSOCKET) places.websocket = () => MUXTCP_WEBSOCKET;
if (MUXTCP_TLS) places.tls = () => MUXTCP_TLS;

async function collect(channel) {
  const messages = [];
  for await (const message of channel) messages.push(message);
  return messages;
}

for (const [name, place] of Object.entries(places)) {
  describe(`over ${name}`, () => {
    const session = async (context, options) => {
      const made = await connect(place(), options);
      context.after(() => made.close({ timeout: 0.1 }));
      return made;
    };

    test("messages come back", async (context) => {
      const channel = await (await session(context)).open("echo");
      for (const size of [0, 1, 16_384, 16_385, 300_000, 1_048_576]) {
        const message = Uint8Array.from({ length: size }, (_, i) => i % 251);
        await channel.send(message);
        assert.deepEqual(await channel.recv(), message);
      }
      await channel.sendEof();
      assert.deepEqual(await collect(channel), []);
      await assert.rejects(channel.recv(), EndOfStream);
      await assert.rejects(channel.send(bytes("late")), ChannelClosed);
    });

    test("a buffer can be used again once its message is accepted", async (context) => {
      const channel = await (await session(context)).open("echo");
      for (const buffer of [new Uint8Array([1, 2, 3]), Buffer.from([1, 2, 3]), new Uint8Array([1, 2, 3]).buffer]) {
        await channel.send(buffer);
        new Uint8Array(buffer.buffer ?? buffer, buffer.byteOffset ?? 0, 3).fill(9);
        assert.deepEqual(await channel.recv(), new Uint8Array([1, 2, 3]));
      }
    });

    test("more than the credit, one after the other", async (context) => {
      const it = await session(context, { config: { channelWindow: 1_024, sessionWindow: 2_048 } });
      const channel = await it.open("count", { mode: "r" });
      const numbers = (await collect(channel)).map((message) => Number(text(message)));
      assert.deepEqual(numbers, Array.from({ length: 5_000 }, (_, n) => n));
      assert.throws(() => channel.trySend(bytes("?")), LocalProtocolError);
    });

    test("a reader that does not read holds up its own channel only", async (context) => {
      const it = await session(context);
      const slow = await it.open("echo");
      const sending = slow.send(new Uint8Array(900_000)).then(() => slow.send(new Uint8Array(900_000)));
      assert.equal(text(await it.request("echo", bytes("quick"))), "quick");
      assert.equal((await slow.recv()).length, 900_000);
      await sending;
    });

    test("codecs", async (context) => {
      const it = await session(context);
      const value = { a: [1, -1, 2 ** 40, 1.5, null, true, "grüße", "x".repeat(300)], b: {} };
      for (const codec of ["json", "msgpack"]) assert.deepEqual(await it.request("echo", value, { codec }), value);
      const channel = await it.open("echo", { codec: { encode: () => bytes("{"), decode: (message) => JSON.parse(text(message)) } });
      await channel.send({});
      await assert.rejects(channel.recv(), CodecError);
      await assert.rejects((await it.open("echo")).send("text"), TypeError);
    });

    test("meta and options", async (context) => {
      const it = await session(context);
      const channel = await it.open("meta", { meta: { k: "v", __proto__x: "€" }, priority: "urgent", deadline: 2.5 });
      assert.deepEqual(JSON.parse(text(await channel.recv())), { k: "v", __proto__x: "€" });
      await assert.rejects(it.open("x", { mode: "x" }), /mode is x/);
      await assert.rejects(it.open("x", { priority: "x" }), /priority is x/);
      await assert.rejects(it.open("x".repeat(256)), /a name of 256 bytes/);
    });

    test("refused, reset, too large, too late", async (context) => {
      const it = await session(context);
      await assert.rejects((await it.open("nobody")).recv(), (error) => error instanceof ChannelRefused && error.code === 0x10);
      await assert.rejects((await it.open("reset")).recv(), (error) =>
        error instanceof ChannelReset && error.code === 0x1234 && error.reason === "enough");
      (await it.open("silent")).reset(0x1000, new Error("any object is a reason"));
      await assert.rejects((await it.open("echo")).send(new Uint8Array(2 ** 20 + 1)), (error) =>
        error instanceof MessageTooLarge && error.size === 2 ** 20 + 1 && error.limit === 2 ** 20);
      const waits = it.request("silent", bytes("?"), { timeout: 0.01 });
      await assert.rejects(waits, TimeoutError);
      const channel = await it.open("echo");
      await channel.close();
      await assert.rejects(channel.recv(), ChannelClosed);
    });

    test("a cut connection costs nothing", async (context) => {
      const connector = connect(place(), { resume: 20, backoff: AT_ONCE });
      const states = [];
      connector.addEventListener("state", ({ state }) => states.push(state));
      const it = await connector;
      context.after(() => it.close({ timeout: 0.1 }));
      const channel = await it.open("echo");
      const sending = (async () => {
        for (let n = 0; n < 3_000; n++) {
          await channel.send(bytes(`${n}`));
          if (n % 500 === 250) it.cut();
        }
        await channel.sendEof();
      })();
      const numbers = (await collect(channel)).map((message) => Number(text(message)));
      await sending;
      assert.deepEqual(numbers, Array.from({ length: 3_000 }, (_, n) => n));
      assert.ok(it.stats().resumptions > 0);
      assert.ok(states.includes("reconnecting") && states.includes("resumed"));
    });

    test("an end in good order", async () => {
      const it = await connect(place(), { resume: 20 });
      const channel = await it.open("echo");
      await channel.send(bytes("last"));
      await channel.sendEof();
      const closing = it.close();
      assert.equal(text(await channel.recv()), "last");
      await closing;
      assert.ok((await it.closed) instanceof SessionClosed);
      await assert.rejects(it.open("echo"), SessionClosed);
    });

    test("what is given up by a signal has not happened", async (context) => {
      const it = await session(context);
      const channel = await it.open("echo");
      const why = new Error("enough");
      const givenUp = (promise) => assert.rejects(promise, (error) => error === why);
      const given = new AbortController();
      const waiting = [channel.recv(given), it.request("silent", bytes("?"), given)];
      given.abort(why);
      await Promise.all(waiting.map(givenUp));
      const [late, { messagesSent }] = [[bytes("late"), given], it.stats()];
      await Promise.all([channel.recv(given), channel.send(...late), it.open("echo", given), it.request("echo", ...late)].map(givenUp));
      assert.equal(it.stats().messagesSent, messagesSent);
      const count = await it.open("count", { mode: "r" });
      assert.equal(text(await count.recv()), "0");
      await givenUp(count.recv(given));
      assert.equal(text(await count.recv()), "1");
      const good = new AbortController();
      await channel.send(bytes("next"), good);
      assert.equal(text(await channel.recv(good)), "next");
      assert.equal(text(await it.request("echo", bytes("answer"), good)), "answer");
      assert.deepEqual(getEventListeners(good.signal, "abort"), []);
    });

    test("a ping", async (context) => {
      const it = await session(context);
      assert.ok((await it.ping()) > 0);
      assert.ok(it.rtt > 0);
    });
  });
}

test("whoever gives up a channel that cannot be opened yet stands in nobody's way", async (context) => {
  const server = await serve({ handler, config: { maxChannels: 1 } });
  const it = await connect(`tcp://127.0.0.1:${server.port}`);
  context.after(async () => {
    await it.close();
    server.close();
  });
  const only = await it.open("echo");
  const given = new AbortController();
  const waiting = it.open("silent", given);
  const behind = it.open("echo");
  given.abort();
  await assert.rejects(waiting, { name: "AbortError" });
  await only.close();
  assert.equal((await behind).name, "echo");
});

describe("the connector", () => {
  test("one session after the other", async () => {
    const states = [];
    const connector = connect(places.tcp(), { backoff: AT_ONCE, onState: ({ state }) => states.push(state) });
    let count = 0;
    for await (const session of connector) {
      assert.equal(text(await session.request("echo", bytes("hello"))), "hello");
      if (++count === 3) break;
    }
    assert.deepEqual(states.filter((state) => state === "connected").length, 3);
    assert.equal(states.at(-1), "disconnected");
  });

  test("sessions that end at once do not begin the delays anew", async () => {
    const connector = connect(places.tcp(), { backoff: () => [0, 0] });
    let count = 0;
    await assert.rejects(async () => {
      for await (const _ of connector) count += 1;
    }, SessionClosed);
    assert.equal(count, 3);
  });

  test("nobody is there", async () => {
    const listener = createServer().listen(0, "127.0.0.1");
    await once(listener, "listening");
    const { port } = listener.address();
    listener.close();
    const states = [];
    const backoff = () => [0, 0];
    const connector = connect(`tcp://127.0.0.1:${port}`, { backoff, onState: ({ state, attempt }) => states.push(`${state} ${attempt}`) });
    await assert.rejects(async () => await connector, /ECONNREFUSED/);
    assert.deepEqual(states, ["connecting 1", "waiting 1", "connecting 2", "waiting 2", "connecting 3", "failed 3"]);
  });

  test("whoever is no muxtcp server is not asked again", async (context) => {
    const listener = createServer((socket) => socket.end("SSH-2.0\r\n")).listen(0, "127.0.0.1");
    await once(listener, "listening");
    context.after(() => listener.close());
    const connector = connect(`tcp://127.0.0.1:${listener.address().port}`, { backoff: AT_ONCE });
    await assert.rejects(async () => await connector, (error) => error instanceof HandshakeError && error.code === 0x100);
  });

  test("a server that went for good is lost", async () => {
    const server = await serve({ handler });
    const it = await connect(`tcp://127.0.0.1:${server.port}`, { resume: 0.05, backoff: AT_ONCE });
    const channel = await it.open("echo");
    server.close();
    it.cut();
    const error = await it.closed;
    assert.ok(error instanceof SessionLost, error);
    await assert.rejects(channel.recv(), SessionLost);
  });

  test("stopped, and then its connection breaks", async (context) => {
    const connector = connect(places.tcp(), { resume: 20, backoff: AT_ONCE });
    const it = await connector;
    connector.stop();
    assert.equal(text(await it.request("echo", bytes("still here"))), "still here");
    it.cut();
    assert.match((await it.closed).message, /the connector was stopped/);
  });

  test("a signal says nothing more once the session is there", async (context) => {
    const given = new AbortController();
    const it = await connect(places.tcp(), { resume: 20, backoff: AT_ONCE, signal: given.signal });
    context.after(() => it.close());
    assert.deepEqual(getEventListeners(given.signal, "abort"), []);
    given.abort();
    it.cut();
    assert.equal(text(await it.request("echo", bytes("still here"))), "still here");
    assert.equal(it.stats().resumptions, 1);
  });

  test("a signal ends the iteration", async () => {
    const given = new AbortController();
    for await (const session of connect(places.tcp(), { backoff: AT_ONCE, signal: given.signal })) {
      assert.equal(getEventListeners(given.signal, "abort").length, 1);
      assert.equal(text(await session.request("echo", bytes("x"))), "x");
      given.abort();
    }
    assert.deepEqual(getEventListeners(given.signal, "abort"), []);
  });

  test("stopped by whoever hears that it waits", async () => {
    const connector = connect("tcp://127.0.0.1:1", { backoff: constant(1_000, { jitter: 0 }) });
    connector.addEventListener("state", ({ state }) => state === "waiting" && connector.stop());
    await assert.rejects(connector.then(), { message: "the connector was stopped" });
  });

  test("stopped while it waits", async () => {
    const server = await serve({ handler });
    const connector = connect(`tcp://127.0.0.1:${server.port}`, { resume: 20, backoff: constant(100, { jitter: 0 }) });
    const it = await connector;
    server.close();
    it.cut();
    connector.addEventListener("state", () => {});
    connector.stop();
    assert.ok((await it.closed) instanceof SessionLost);
  });

  test("stopped in the middle of an attempt", async (context) => {
    const silent = createServer((socket) => {
      silent.ends = Promise.all([silent.ends, once(socket, "close")]);
      socket.on("error", () => {}).on("data", () => silent.emit("data"));
    }).listen(0, "127.0.0.1");
    await once(silent, "listening");
    context.after(() => silent.close());
    const schemes = globalThis.WebSocket ? ["tcp", "ws"] : ["tcp"];
    const why = new Error("enough");
    for (const place of schemes.map((scheme) => `${scheme}://127.0.0.1:${silent.address().port}`)) {
      const stops = [
        ["connection", (connector) => connector.stop(), "the connector was stopped"],
        ["data", (_, given) => given.abort(why), "enough"],
      ];
      for (const [moment, stop, said] of stops) {
        const given = new AbortController();
        const states = [];
        const connector = connect(place, { signal: given.signal, backoff: AT_ONCE, onState: ({ state }) => states.push(state) });
        const up = assert.rejects(connector.then(), { message: said });
        await once(silent, moment);
        stop(connector, given);
        await up;
        assert.deepEqual(states, ["connecting", "stopped"]);
        await silent.ends;
      }
    }
  });

  test("stopped before there is an attempt", async () => {
    const stops = { message: "the connector was stopped" };
    const late = connect("tcp://127.0.0.1:1", { auth: () => new Promise(() => {}) });
    setImmediate(() => late.stop());
    await assert.rejects(late.then(), stops);
    const itself = connect("tcp://127.0.0.1:1", { auth: () => itself.stop() });
    await assert.rejects(itself.then(), stops);
    const why = new Error("enough");
    const never = connect("tcp://127.0.0.1:1", { signal: AbortSignal.abort(why) });
    await assert.rejects(never.then(), (error) => error === why);
    for await (const session of never) assert.fail(session);
  });

  test("options that cannot be", () => {
    const options = { resume: -1, psk: new Uint8Array(3), config: { maxFrame: 1, nonsense: 1 } };
    assert.throws(() => connect("tcp://h:1", options), (error) =>
      error instanceof RangeError && /resume is -1/.test(error) && /psk has 3 bytes/.test(error) && /maxFrame is 1/.test(error)
      && /config has no nonsense/.test(error));
    assert.throws(() => exponential(2, 1), /initial 2, maximum 1/);
  });

  test("delays", () => {
    const first = (backoff) => backoff()[Symbol.iterator]();
    const delays = first(exponential(0.1, 1, { jitter: 0 }));
    assert.deepEqual(Array.from({ length: 5 }, () => delays.next().value), [0.1, 0.2, 0.4, 0.8, 1]);
    const jittered = first(exponential(1, 1, { random: () => 0.25 }));
    assert.equal(jittered.next().value, 0.75);
  });
});

test("a peer that does not answer is given up", async (context) => {
  const server = await serve({ handler });
  const relay = createServer((socket) => {
    const there = dial(server.port, "127.0.0.1");
    socket.pipe(there).pipe(socket);
    relay.stall = () => there.unpipe(socket);
    for (const end of [socket, there]) end.on("error", () => {});
  }).listen(0, "127.0.0.1");
  await once(relay, "listening");
  context.after(() => [relay, server].forEach((it) => it.close()));
  const config = { keepalive: 0.05, keepaliveTimeout: 0.05 };
  const it = await connect(`tcp://127.0.0.1:${relay.address().port}`, { config });
  relay.stall();
  const error = await it.closed;
  assert.ok(error instanceof SessionLost);
  assert.match(error.message, /nothing was heard for/);
});

test("MessagePack, every form", () => {
  const values = [
    0, 127, 128, 2 ** 31, 2 ** 53 - 1, -1, -32, -33, -(2 ** 31) - 1, 2n ** 63n, -(2n ** 62n), 0.1, NaN, true, false, null, "", "ä".repeat(40),
    "x".repeat(70_000), [], Array(16).fill(1), Array(70_000).fill(0), {}, Object.fromEntries(Array.from({ length: 20 }, (_, i) => [i, i])),
    new Uint8Array(3), new Uint8Array(300), new Uint8Array(70_000),
  ];
  for (const value of values) assert.deepEqual(unpack(pack(value)), value);
  assert.throws(() => unpack(Uint8Array.of(0x92, 1)), /ends inside/);
  assert.throws(() => unpack(Uint8Array.of(1, 1)), /1 bytes behind/);
  assert.throws(() => unpack(Uint8Array.of(0xd4, 0, 0)), /extension/);
});
