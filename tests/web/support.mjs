/** What the JavaScript tests share: the vectors, and an engine alone with what it told. */

import { readFileSync } from "node:fs";
import { Engine } from "../../muxtcp/web/static/parts/engine.js";
import { Frames, joined, readRecord } from "../../muxtcp/web/static/parts/wire.js";

export const load = (name) => JSON.parse(readFileSync(new URL(`../vectors/${name}.json`, import.meta.url)));

/** The bytes of a hex string, of a repetition, or of a list of both. */
export function raw(pieces) {
  if (Array.isArray(pieces)) return joined(pieces.map(raw));
  if (typeof pieces === "string") return Uint8Array.from(Buffer.from(pieces.replaceAll(" ", ""), "hex"));
  return joined(Array(pieces.times).fill(raw(pieces.repeat)));
}

export const hex = (bytes) => Buffer.from(bytes).toString("hex");

const NAMES = { deadline_ms: "deadline" };
const HEX = ["payload", "auth", "ticket"];

/** The fields of a vector under the names of the module; absent ones are left out. */
export function fieldsOf(fields) {
  const entries = Object.entries(fields).map(([name, value]) => {
    if (value?.times) value = value.repeat.repeat(value.times);
    else if (HEX.includes(name)) value = raw(value);
    else if (typeof value === "number" && !Number.isSafeInteger(value) && value > 2 ** 53) value = 2n ** 63n - 1n;
    return [NAMES[name] ?? name.replace(/_(\w)/g, (_, letter) => letter.toUpperCase()), value];
  });
  return Object.fromEntries(entries);
}

/** What arrived, cut in three ways. */
export const CHOPS = {
  whole: (bytes) => [bytes],
  bytes: (bytes) => Array.from(bytes, (_, at) => bytes.subarray(at, at + 1)),
  sevens: (bytes) => Array.from({ length: Math.ceil(bytes.length / 7) }, (_, i) => bytes.subarray(7 * i, 7 * i + 7)),
};

export const LIMITS = {
  maxFrame: 65_536, maxMessage: 1_048_576, channelLimit: 262_144, sessionLimit: 262_144, maxChannels: 1_024, replayLimit: 0,
};

const CONFIG = {
  maxFrame: 65_536, maxMessage: 1_048_576, maxChannels: 1_024, channelWindow: 262_144, sessionWindow: 262_144,
  memoryLimit: 16_777_216, sendBuffer: 1_048_576, replayLimit: 4_194_304,
};

/** An engine that nobody uses: `told` has what it said to its sink. */
export class Alone {
  told = [];

  constructor({ client, config = {}, theirs = {}, resumable = false }) {
    const sink = new Proxy({}, {
      get: (_, name) => (...args) => {
        if (name === "wake") return;
        const [first] = args;
        this.told.push([name, ...args.map((value) => value?.id ?? (value instanceof Uint8Array ? hex(value) : value))]);
        if (name === "opened") this.channels.set(first.id, first);
      },
    });
    this.channels = new Map();
    this.engine = new Engine({ client, ours: { ...CONFIG, ...config }, theirs: { ...LIMITS, ...theirs }, resumable, sink });
  }

  feed(bytes, chop = CHOPS.whole) {
    for (const piece of chop(bytes)) this.engine.receive(piece, 0);
  }

  /** All that it would have written by now. */
  written() {
    const pieces = [];
    while (this.engine.pending) pieces.push(this.engine.write(65_536));
    return joined(pieces);
  }
}

/** Whole frames, taken apart; those of channel 0 with their record. */
export function framesOf(bytes) {
  const frames = new Frames();
  frames.push(bytes);
  const found = [];
  for (let frame; (frame = frames.next(() => {})); ) {
    const { channel, kind, payload } = frame;
    found.push(channel ? { channel, kind, payload } : { channel, type: payload[0], fields: readRecord(payload[0], payload.subarray(1)) });
  }
  return found;
}
