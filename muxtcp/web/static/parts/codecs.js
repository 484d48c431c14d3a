/** What messages are made of: bytes as they are, or values in JSON or MessagePack. */

import { decodeText, encodeText } from "./wire.js";
import { pack, unpack } from "./msgpack.js";

const bytes = {
  encode(message) {
    // A copy, since the caller may use its buffer again; the slice() of Node's Buffer is none.
    if (message instanceof Uint8Array) return new Uint8Array(message);
    if (message instanceof ArrayBuffer) return new Uint8Array(message.slice(0));
    throw new TypeError(`a message is a Uint8Array, or the channel needs a codec; this is ${typeof message}`);
  },
  decode: (message) => message,
};

const json = {
  encode(message) {
    const text = JSON.stringify(message);
    if (text === undefined) throw new TypeError(`${typeof message} has no form in JSON`);
    return encodeText(text);
  },
  decode: (message) => JSON.parse(decodeText(message)),
};

const NAMED = { bytes, json, msgpack: { encode: pack, decode: unpack } };

export function resolveCodec(codec = "bytes") {
  if (typeof codec === "object") return codec;
  if (!Object.hasOwn(NAMED, codec)) throw new TypeError(`codec is ${codec}, not one of ${Object.keys(NAMED).join(", ")}`);
  return NAMED[codec];
}
