/** The vectors of tests/vectors against the module: numbers, frames, records, handshakes, OPEN, resumption, violations. */

import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { hkdf, hmac } from "../../muxtcp/web/static/parts/digest.js";
import { Code, HandshakeError, Violation } from "../../muxtcp/web/static/parts/errors.js";
import { Greeting, Return } from "../../muxtcp/web/static/parts/handshake.js";
import { checkOf, derived, limitsOf, Ticket } from "../../muxtcp/web/static/parts/ticket.js";
import {
  encodeText, Frames, joined, Kind, PREFACE, Reader, readOpen, readRecord, Type, writeOpen, writeRecord, Writer,
} from "../../muxtcp/web/static/parts/wire.js";
import { Alone, CHOPS, fieldsOf, framesOf, hex, load, raw } from "./support.mjs";

const HANDSHAKES = load("handshakes");
const OPENS = load("opens");
const VIOLATIONS = load("violations");
const RESUMPTION = load("resumption");
const VARINTS = load("varints");

const exact = (value) => (Number.isSafeInteger(value) || value === 2 ** 53 ? value : 2n ** 63n - 1n); // JSON.parse rounds it
const finds = (code) => (error) => {
  assert.ok(error instanceof Violation || error instanceof HandshakeError, error);
  assert.equal(error.code, Code[code], error.message);
  return true;
};

describe("numbers", () => {
  for (const { value, hex: bytes } of VARINTS.good) {
    test(`${value}`, () => {
      assert.equal(hex(new Writer().varint(exact(value)).done()), hex(raw(bytes)));
      assert.equal(new Reader(raw(bytes)).varint(), exact(value));
    });
  }
  for (const { name, hex: bytes, longest, code } of VARINTS.bad) {
    test(name, () => assert.throws(() => new Reader(raw(bytes)).varint(longest), finds(code)));
  }
  test("2^53 + 1 is not 2^53", () => {
    assert.equal(new Reader(raw("8180808080808010")).varint(), 2n ** 53n + 1n);
  });
});

/** The payload of a frame on a channel, as the engine writes and reads it. */
function payloadOf(kind, fields) {
  if (kind === "OPEN") return writeOpen(fields);
  if (kind === "RESET") return new Writer().varint(fields.code).raw(encodeText(fields.reason)).done();
  if (fields.payload) return fields.payload;
  const writer = new Writer();
  for (const name of ["limit", "need"]) if (name in fields) writer.varint(fields[name]);
  return writer.done();
}

describe("frames", () => {
  for (const vector of load("frames").frames) {
    test(vector.name, () => {
      const channel = vector.channel > 2 ** 53 ? 2n ** 60n - 1n : vector.channel;
      const kind = Kind[vector.kind];
      const payload = payloadOf(vector.kind, fieldsOf(vector.fields));
      assert.equal(hex(new Writer().frame(channel, kind, payload).done()), hex(raw(vector.hex)));
      const frames = new Frames();
      frames.push(raw(vector.hex));
      const frame = frames.next(() => {});
      assert.deepEqual([frame.channel, frame.kind, hex(frame.payload)], [channel, kind, hex(payload)]);
      assert.ok(frames.whole);
    });
  }
});

/** Both ways; `absent` is what the reader fills in. */
function bothWays(vector, fields, absent = {}) {
  const type = Type[vector.record];
  if (!vector.decode_only) {
    assert.equal(hex(new Writer().frame(0, 0, writeRecord(type, fields)).done()), hex(raw(vector.hex)));
  }
  const [frame] = framesOf(raw(vector.hex));
  assert.equal(frame.type, type);
  const { version: _, ...read } = frame.fields;
  const { version: __, ...expected } = { ...absent, ...fields };
  assert.deepEqual(vector.record === "RESUME" ? read : frame.fields, vector.record === "RESUME" ? expected : { ...absent, ...fields });
}

describe("records", () => {
  for (const vector of load("records").records) test(vector.name, () => bothWays(vector, fieldsOf(vector.fields)));
  for (const vector of HANDSHAKES.records) {
    test(vector.name, () => {
      const none = new Uint8Array(0);
      const absent = {
        maxFrame: 65_536, maxMessage: 1_048_576, channelLimit: 262_144, sessionLimit: 262_144, maxChannels: 1_024, keepalive: 0,
        resume: 0, meta: {}, auth: none, ticket: none, replayLimit: 0,
      };
      bothWays(vector, fieldsOf(vector.fields), vector.record === "REFUSED" ? {} : absent);
    });
  }
});

describe("OPEN", () => {
  for (const vector of OPENS.good) {
    test(vector.name, () => {
      assert.deepEqual(readOpen(raw(vector.hex)), fieldsOf(vector.fields));
      if (!vector.decode_only) assert.equal(hex(writeOpen(fieldsOf(vector.fields))), hex(raw(vector.hex)));
    });
  }
  for (const vector of OPENS.bad) {
    test(vector.name, () => assert.throws(() => readOpen(raw(vector.hex)), finds(vector.code)));
  }
});

describe("a handshake that a client gives up", () => {
  for (const vector of HANDSHAKES.bad.filter(({ receiver }) => receiver === "client")) {
    for (const [how, chop] of Object.entries(CHOPS)) {
      test(`${vector.name}, ${how}`, () => {
        const greeting = new Greeting({});
        const receive = () => chop(raw(vector.hex)).forEach((piece) => greeting.receive(piece));
        assert.throws(receive, finds(vector.code));
      });
    }
  }
});

const ANNOUNCED = { maxFrame: 16_384, maxMessage: 20_000, channelWindow: 32_768, sessionWindow: 65_536, maxChannels: 3 };

function obey(alone, { do: command, ...how }) {
  const { engine, channels } = alone;
  const channel = channels.get(how.channel);
  if (command === "open") engine.open({ name: how.name, mode: how.mode, priority: 2 });
  else if (command === "finish") engine.outbox.finish(channel.sending);
  else if (command === "reset") engine.reset(channel, how.code, "", new Error("reset"));
  else engine.goAway();
}

describe("after the handshake", () => {
  for (const vector of VIOLATIONS.cases) {
    for (const [how, chop] of Object.entries(CHOPS)) {
      test(`${vector.name}, ${how}`, () => {
        const alone = new Alone({ client: vector.receiver === "client", config: ANNOUNCED });
        let written = new Uint8Array(0);
        for (const step of vector.steps) {
          if (step.do) {
            obey(alone, step);
            written = joined([written, alone.written()]);
          } else alone.feed(raw(step), chop);
        }
        const said = framesOf(joined([written, alone.written()]));
        const violations = alone.told.filter(([name]) => name === "violated");
        if (vector.code === null) return assert.deepEqual(violations, []);
        assert.deepEqual(violations.map(([, code]) => code), [Code[vector.code]]);
        assert.deepEqual([said.at(-1).type, said.at(-1).fields.code], [Type.GOAWAY, Code[vector.code]]);
      });
    }
  }
});

describe("resumption", () => {
  for (const vector of RESUMPTION.secrets) {
    test(vector.name, () => {
      const parts = ["psk", "client_nonce", "server_nonce", "id", "incarnation"].map((name) => raw(vector[name]));
      assert.equal(hex(derived(...parts)), vector.secret);
      const [psk, client, server, id, incarnation] = parts;
      assert.equal(hex(hkdf(psk, joined([client, server]), joined([encodeText("muxtcp resume"), id, incarnation]))), vector.secret);
    });
  }
  for (const { name, secret, check } of RESUMPTION.check) test(name, () => assert.equal(hex(checkOf(raw(secret))), check));
  for (const { name, hello, welcome, limits } of RESUMPTION.limits) {
    test(name, () => assert.equal(hex(limitsOf(raw(hello), raw(welcome))), limits));
  }
  const clientNonce = raw("404142434445464748494a4b4c4d4e4f");
  for (const vector of RESUMPTION.tickets) {
    test(vector.name, () => {
      const psk = vector.psk === null ? undefined : raw(vector.psk);
      assert.equal(hex(Ticket.ofWelcome(raw(vector.hex), clientNonce, psk).secret), vector.secret);
      const other = psk ? undefined : new Uint8Array(16);
      assert.throws(() => Ticket.ofWelcome(raw(vector.hex), clientNonce, other), finds("UNAUTHENTICATED"));
    });
  }
  for (const vector of RESUMPTION.records) {
    test(`${vector.record}: ${vector.name}`, () => {
      const [frame] = framesOf(raw(vector.hex));
      assert.equal(hex(new Writer().frame(0, 0, writeRecord(Type[vector.record], frame.fields)).done()), hex(raw(vector.hex)));
      const plain = Object.fromEntries(Object.entries(fieldsOf(vector.fields)).filter(([, value]) => typeof value !== "string"));
      for (const [name, value] of Object.entries(plain)) assert.deepEqual(frame.fields[name], value, name);
    });
  }
  for (const vector of RESUMPTION.malformed) {
    test(`malformed ${vector.record}: ${vector.name}`, () => {
      assert.throws(() => readRecord(Type[vector.record], raw(vector.hex)), (error) => error instanceof Violation);
    });
  }

  test("the exchange", (context) => {
    const it = RESUMPTION.exchange;
    const ticket = new Ticket(raw(it.id), raw(it.incarnation), raw(it.secret), raw(it.limits));
    context.mock.method(crypto, "getRandomValues", (into) => { into.set(raw(it.client_nonce)); return into; });
    const [frames, bytes, oldest] = it.client_position;
    const question = ticket.ask({ frames, bytes, oldest });
    assert.equal(hex(new Writer().frame(0, 0, question).done()), hex(raw(it.RESUME)));
    const returning = new Return(question);
    const { ok } = returning.receive(joined([PREFACE, raw(it.RESUME_OK)]));
    assert.deepEqual(Object.values(ticket.believe(ok)), it.server_position);
    assert.equal(hex(new Writer().frame(0, 0, ticket.prove()).done()), hex(raw(it.RESUME_CONFIRM)));
    const flipped = ok.map((byte, at) => (at === 3 ? byte ^ 1 : byte));
    assert.throws(() => ticket.believe(flipped), finds("UNAUTHENTICATED"));
  });

  test("HMAC, RFC 4231, case 2", () => {
    assert.equal(hex(hmac(encodeText("Jefe"), encodeText("what do ya want for nothing?"))),
      "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  });
});
