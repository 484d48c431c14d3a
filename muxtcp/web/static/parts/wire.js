/**
 * The bytes of docs/PROTOCOL.md, sections 1 to 6 and 11: numbers, frames, records, parameters, OPEN. No state, no I/O.
 *
 * A number is read as a Number up to 2^53, and as a BigInt above, so that every value of the wire is exact. What is counted
 * or limited never gets there; comparisons work across both kinds.
 */

import { Code, Violation } from "./errors.js";

export const PREFACE = Uint8Array.of(0x8d, 0x4d, 0x55, 0x58, 0x0d, 0x0a, 0x1a, 0x0a);
export const VERSION = 1;
export const COUNT_LIMIT = 2 ** 53; // the highest limit that may be announced
export const RECORD_LIMIT = 4_096;
export const HANDSHAKE_LIMIT = 16_384;
export const REASON_LIMIT = 255;
export const MESSAGE_COST = 64; // beside the bytes of a message
export const SHORTEST_PART = 1_024;

export const Kind = Object.freeze({ DATA: 0, PART: 1, OPEN: 2, CREDIT: 3, FINISH: 4, RESET: 5, BLOCKED: 6 });
export const Type = Object.freeze({
  HELLO: 1, WELCOME: 2, REFUSED: 3, RESUME: 4, RESUME_OK: 5, RESUME_CONFIRM: 6, RESUME_FAILED: 7, PING: 8, PONG: 9,
  GOAWAY: 10, SESSION_CREDIT: 11, SESSION_BLOCKED: 12, ACK: 13, CHANNEL_CREDIT: 14, END: 15,
});
export const MODES = ["rw", "r", "w"];
export const WHY = ["", "UNKNOWN", "EXPIRED", "WRONG_INCARNATION", "STALE_GENERATION", "POSITION_LOST", "DIVERGED",
  "DENIED", "BUSY", "OTHER_IDENTITY"];

const utf8 = new TextEncoder();
const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

const SCRATCH = new Uint8Array(196_608); // three bytes, the most there can be, for each of so many characters

/** Through a buffer that is always there: a third of what TextEncoder.encode() takes for a short text, and two thirds for a long one. */
export function encodeText(value) {
  const text = `${value}`;
  if (3 * text.length > SCRATCH.length) return utf8.encode(text);
  return SCRATCH.slice(0, utf8.encodeInto(text, SCRATCH).written);
}

export function decodeText(bytes) {
  try {
    return strict.decode(bytes);
  } catch {
    throw new Violation(Code.BAD_UTF8);
  }
}

/** Reads a payload from its start; what is missing at its end is `short`, a bad number `odd`. */
export class Reader {
  constructor(bytes, short = Code.BAD_FRAME, odd = Code.BAD_VARINT) {
    this.bytes = bytes;
    this.at = 0;
    this.short = short;
    this.odd = odd;
  }

  get left() {
    return this.bytes.length - this.at;
  }

  varint(longest = 9) {
    const { bytes, at: start } = this;
    let value = 0;
    for (let at = start, scale = 1; ; at++, scale *= 128) {
      if (at - start === longest) throw new Violation(this.odd, `longer than ${longest} bytes`);
      if (at === bytes.length) throw new Violation(this.short, "ends inside a number");
      const byte = bytes[at];
      value += (byte & 0x7f) * scale;
      if (byte >= 0x80) continue;
      if (byte === 0 && at > start) throw new Violation(this.odd, "not in its shortest form");
      this.at = at + 1;
      return at - start < 7 ? value : exactly(bytes, start, this.at);
    }
  }

  take(size) {
    if (size > this.left) throw new Violation(this.short, `ends inside a field of ${size} bytes`);
    this.at += Number(size);
    return this.bytes.subarray(this.at - Number(size), this.at);
  }

  text() {
    return decodeText(this.take(this.varint()));
  }

  rest() {
    return this.take(this.left);
  }

  end() {
    if (this.left) throw new Violation(Code.BAD_FRAME, `${this.left} bytes too many`);
  }
}

/** A varint of 8 or 9 bytes, whose bits a double may not hold. */
function exactly(bytes, start, end) {
  let value = 0n;
  for (let at = end - 1; at >= start; at--) value = (value << 7n) | BigInt(bytes[at] & 0x7f);
  return value <= BigInt(COUNT_LIMIT) ? Number(value) : value;
}

/** Bytes that grow. */
export class Writer {
  constructor(block = new Uint8Array(64)) {
    this.bytes = block;
    this.at = 0;
  }

  #room(size) {
    if (this.at + size <= this.bytes.length) return;
    const larger = new Uint8Array(Math.max(2 * this.bytes.length, this.at + size));
    larger.set(this.bytes.subarray(0, this.at));
    this.bytes = larger;
  }

  varint(value) {
    this.#room(9);
    if (typeof value === "bigint") {
      for (; value >= 0x80n; value >>= 7n) this.bytes[this.at++] = Number(value & 0x7fn) | 0x80;
    } else {
      for (; value >= 0x80; value = Math.floor(value / 128)) this.bytes[this.at++] = (value % 128) | 0x80;
    }
    this.bytes[this.at++] = Number(value);
    return this;
  }

  raw(bytes) {
    this.#room(bytes.length);
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
    return this;
  }

  sized(bytes) {
    return this.varint(bytes.length).raw(bytes);
  }

  text(text) {
    return this.sized(encodeText(text));
  }

  frame(channel, kind, payload) {
    const tag = typeof channel === "bigint" ? (channel << 3n) | BigInt(kind) : channel * 8 + kind;
    return this.varint(sizeOf(tag) + payload.length).varint(tag).raw(payload);
  }

  done() {
    return this.bytes.subarray(0, this.at);
  }
}

/** How many bytes a varint has. */
export function sizeOf(value) {
  if (typeof value === "bigint") return Math.ceil(value.toString(2).length / 7); // a double may round it up
  let size = 1;
  for (let rest = value; rest >= 128; rest /= 128) size++;
  return size;
}

/** Cuts what arrives into frames. `next()` gives the same object each time; its payload is a view. */
export class Frames {
  #held = []; // chunks that are not whole frames yet
  #size = 0;
  #needed = 1; // bytes without which there is nothing new to see
  #bytes = new Uint8Array(0);
  #at = 0;
  frame = { channel: 0, kind: 0, payload: this.#bytes, size: 0 };

  push(chunk) {
    this.#held.push(chunk);
    this.#size += chunk.length;
    if (this.#size < this.#needed) return;
    this.#bytes = this.#held.length === 1 ? chunk : joined(this.#held, this.#size);
    this.#held = [];
    this.#size = this.#at = 0;
  }

  /** Whether the bytes end between two frames. */
  get whole() {
    return this.#size === 0 && this.#at === this.#bytes.length;
  }

  /** What is left, and nothing of it is kept. */
  rest() {
    const rest = this.#size ? joined(this.#held, this.#size) : this.#bytes.subarray(this.#at);
    this.#held = [];
    this.#size = this.#at = 0;
    this.#bytes = new Uint8Array(0);
    return rest;
  }

  /** The next whole frame, or null. `check(channel, kind, size)` throws for a payload that is not to be stored. */
  next(check) {
    if (this.#size) return null;
    const { frame } = this;
    const header = readHeader(this.#bytes, this.#at, frame);
    if (header === 0) return this.#wait(this.#bytes.length - this.#at + 1);
    const payload = frame.size - header;
    check(frame.channel, frame.kind, payload);
    const end = this.#at + frame.size;
    if (end > this.#bytes.length) return this.#wait(frame.size);
    frame.payload = this.#bytes.subarray(end - payload, end);
    this.#at = end;
    return frame;
  }

  #wait(needed) {
    const rest = this.#bytes.subarray(this.#at);
    this.#at = this.#bytes.length;
    this.#needed = needed;
    if (rest.length) {
      this.#held.push(rest);
      this.#size = rest.length;
    } else this.#needed = 1;
    return null;
  }
}

/** Read channel, kind and whole size into `frame`: the size of the header, or 0 if it is not whole. */
function readHeader(bytes, at, frame) {
  let length = 0;
  for (let scale = 1, count = 0; ; scale *= 128) {
    if (count++ === 4) throw new Violation(Code.BAD_VARINT, "a length longer than 4 bytes");
    if (at === bytes.length) return 0;
    const byte = bytes[at++];
    length += (byte & 0x7f) * scale;
    if (byte >= 0x80) continue;
    if (byte === 0 && count > 1) throw new Violation(Code.BAD_VARINT, "a length not in its shortest form");
    break;
  }
  const start = at;
  let tag = 0;
  for (let scale = 1; ; scale *= 128) {
    if (at - start === length) throw new Violation(Code.BAD_FRAME, `a length of ${length} does not hold its tag`);
    if (at - start === 9) throw new Violation(Code.BAD_VARINT, "a tag longer than 9 bytes");
    if (at === bytes.length) return 0;
    const byte = bytes[at++];
    tag += (byte & 0x7f) * scale;
    if (byte >= 0x80) continue;
    if (byte === 0 && at - start > 1) throw new Violation(Code.BAD_VARINT, "a tag not in its shortest form");
    break;
  }
  if (at - start > 7) tag = exactly(bytes, start, at);
  const lengthSize = sizeOf(length);
  if (typeof tag === "bigint") {
    frame.kind = Number(tag & 7n);
    frame.channel = Number(tag >> 3n) <= COUNT_LIMIT ? Number(tag >> 3n) : tag >> 3n;
  } else {
    frame.kind = tag % 8;
    frame.channel = (tag - frame.kind) / 8;
  }
  frame.size = lengthSize + length;
  return lengthSize + at - start;
}

export function joined(pieces, size = pieces.reduce((sum, piece) => sum + piece.length, 0)) {
  const whole = new Uint8Array(size);
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}

// --- records ----------------------------------------------------------------------------------------------------------

/** Fields of a record: a name is a varint, "name:16" so many bytes, "name:" the text up to the end. */
const LAYOUTS = new Map(Object.entries({
  REFUSED: "code retryAfter reason:",
  RESUME: "version id:16 incarnation:8 generation nonce:16 frames bytes oldest limits:16 mac:32",
  RESUME_OK: "generation nonce:16 frames bytes oldest mac:32",
  RESUME_CONFIRM: "mac:32",
  RESUME_FAILED: "why retryAfter known",
  PING: "n", PONG: "n", GOAWAY: "last code reason:", SESSION_CREDIT: "limit", SESSION_BLOCKED: "limit need",
  ACK: "frames", CHANNEL_CREDIT: "limit", END: "",
}).map(([name, fields]) => [Type[name], fields.split(" ").filter(Boolean).map((field) => field.split(":"))]));

export function writeRecord(type, fields = {}) {
  const writer = new Writer().raw([type]);
  if (type === Type.HELLO || type === Type.WELCOME) return writer.raw(writeParameters(type, fields)).done();
  for (const [name, size] of LAYOUTS.get(type)) {
    const value = fields[name];
    if (name === "known") writeKnown(writer, value);
    else if (size === undefined) writer.varint(value);
    else writer.raw(size === "" ? encodeText(value) : value);
  }
  return writer.done();
}

/** The fields of a record, without its type. */
export function readRecord(type, bytes) {
  if (type === Type.HELLO || type === Type.WELCOME) return readParameters(type, bytes);
  const resuming = type >= Type.RESUME && type <= Type.RESUME_FAILED; // then all that is malformed is BAD_FRAME
  const reader = new Reader(bytes, Code.BAD_FRAME, resuming ? Code.BAD_FRAME : Code.BAD_VARINT);
  const fields = {};
  for (const [name, size] of LAYOUTS.get(type)) {
    if (name === "known") fields[name] = readKnown(reader);
    else if (size === undefined) fields[name] = reader.varint();
    else fields[name] = size === "" ? readReason(reader) : reader.take(+size);
  }
  reader.end();
  if (type === Type.RESUME && fields.version !== VERSION) throw new Violation(Code.BAD_FRAME, "another version");
  if (type === Type.RESUME_FAILED && !WHY[fields.why]) throw new Violation(Code.BAD_FRAME, `why is ${fields.why}`);
  return fields;
}

export const isRecord = (type) => LAYOUTS.has(type) || type === Type.HELLO || type === Type.WELCOME;

export function readReason(reader) {
  if (reader.left > REASON_LIMIT) throw new Violation(Code.BAD_FRAME, `a reason of ${reader.left} bytes`);
  return decodeText(reader.rest());
}

function writeKnown(writer, known) {
  writer.varint(known ? 1 : 0);
  if (known) writer.varint(known[0]).varint(known[1]);
}

function readKnown(reader) {
  const known = reader.varint();
  if (known > 1) throw new Violation(Code.BAD_FRAME, `known is ${known}, not 0 or 1`);
  return known ? [reader.varint(), reader.varint()] : null;
}

// --- parameters and OPEN ----------------------------------------------------------------------------------------------

const ANY = 2n ** 63n;
/** id, name, smallest, largest, when absent; what is not a number has no bounds. */
const PARAMETERS = [
  [1, "version"],
  [2, "maxFrame", 16_384, 16_777_216, 65_536],
  [3, "maxMessage", 1_024, 2 ** 40, 1_048_576],
  [4, "channelLimit", 0, COUNT_LIMIT, 262_144],
  [5, "sessionLimit", 0, COUNT_LIMIT, 262_144],
  [6, "maxChannels", 0, COUNT_LIMIT, 1_024],
  [7, "keepalive", 0, ANY, 0],
  [8, "resume", 0, ANY, 0],
  [9, "meta", , , {}],
  [10, "auth", , , new Uint8Array(0)],
  [11, "ticket", , , new Uint8Array(0)],
  [12, "replayLimit", 0, COUNT_LIMIT, 0],
];
const TICKET_SIZES = { [Type.HELLO]: [16], [Type.WELCOME]: [57, 89] };

/** The parameters that `fields` has, as bytes. */
export function writeParameters(type, fields) {
  const writer = new Writer();
  for (const [id, name] of PARAMETERS) {
    if (fields[name] === undefined) continue;
    const value = new Writer();
    if (name === "version") fields.version.forEach((version) => value.varint(version));
    else if (name === "meta") writePairs(value, fields.meta);
    else if (name === "auth" || name === "ticket") value.raw(fields[name]);
    else value.varint(fields[name]);
    writer.varint(id).sized(value.done());
  }
  return writer.done();
}

/** All parameters: those that are absent as if they had been said. */
export function readParameters(type, bytes) {
  const fields = Object.fromEntries(PARAMETERS.map(([, name, , , absent]) => [name, absent]));
  const reader = new Reader(bytes);
  let before = -1;
  while (reader.left) {
    const id = reader.varint();
    if (id <= before) throw new Violation(Code.BAD_PARAMETER, `parameter ${id} behind ${before}`);
    before = id;
    const value = new Reader(reader.take(reader.varint()), Code.BAD_PARAMETER);
    const known = PARAMETERS[id - 1];
    if (known === undefined || typeof id === "bigint") continue;
    fields[known[1]] = readParameter(type, value, ...known);
    if (value.left) throw new Violation(Code.BAD_PARAMETER, `${known[1]} has ${value.left} bytes too many`);
  }
  if (!fields.version) throw new Violation(Code.BAD_PARAMETER, "no version");
  if (fields.resume > 0 && !fields.ticket.length) throw new Violation(Code.BAD_PARAMETER, "resume without a ticket");
  return fields;
}

function readParameter(type, reader, id, name, least, most) {
  if (name === "version") {
    const versions = type === Type.HELLO ? [reader.varint(), reader.varint()] : [reader.varint()];
    if (versions[0] > versions.at(-1)) throw new Violation(Code.BAD_PARAMETER, `versions ${versions.join(" to ")}`);
    return versions;
  }
  if (name === "meta") return readPairs(reader);
  if (name === "auth") return reader.rest().slice();
  if (name === "ticket") {
    if (TICKET_SIZES[type].includes(reader.left)) return reader.rest().slice();
    throw new Violation(Code.BAD_PARAMETER, `a ticket of ${reader.left} bytes`);
  }
  const value = reader.varint();
  if (value < least || value > most) throw new Violation(Code.BAD_PARAMETER, `${name} is ${value}`);
  return value;
}

function writePairs(writer, pairs) {
  const entries = Object.entries(pairs);
  writer.varint(entries.length);
  for (const [key, value] of entries) writer.text(key).text(value);
}

function readPairs(reader) {
  const count = reader.varint();
  if (count > 64) throw new Violation(reader.short, `${count} pairs, more than 64`);
  const pairs = {};
  for (let left = count; left > 0; left--) {
    const key = reader.text();
    Object.defineProperty(pairs, key, { value: reader.text(), enumerable: true, configurable: true, writable: true });
  }
  return pairs;
}

export function writeOpen({ name, meta = {}, mode = "rw", priority = 2, deadline = null, traceparent = null }) {
  const writer = new Writer().raw([MODES.indexOf(mode) | (priority << 2)]).text(name);
  writePairs(writer, meta);
  if (deadline !== null) writer.varint(1).sized(new Writer().varint(deadline).done());
  if (traceparent !== null) writer.varint(2).text(traceparent);
  return writer.done();
}

/** What an OPEN says; `deadline` in ms. */
export function readOpen(bytes) {
  if (bytes.length > RECORD_LIMIT) throw new Violation(Code.BAD_OPEN, `${bytes.length} bytes, more than 4,096`);
  const reader = new Reader(bytes, Code.BAD_OPEN);
  const [flags] = reader.take(1);
  if ((flags & 3) === 3 || flags > 15) throw new Violation(Code.BAD_OPEN, `flags 0x${flags.toString(16)}`);
  const size = reader.varint();
  if (size > 255) throw new Violation(Code.BAD_OPEN, `a name of ${size} bytes, more than 255`);
  const name = decodeText(reader.take(size));
  const meta = readPairs(reader);
  const said = { name, meta, mode: MODES[flags & 3], priority: flags >> 2, deadline: null, traceparent: null };
  while (reader.left) {
    const id = reader.varint();
    const field = new Reader(reader.take(reader.varint()), Code.BAD_OPEN);
    if (id === 1) said.deadline = field.varint();
    if (id === 2) said.traceparent = decodeText(field.rest());
    if (id === 1 && field.left) throw new Violation(Code.BAD_OPEN, "a deadline that does not fill its size");
  }
  return said;
}
