/** MessagePack, without extension types. Maps become objects; integers beyond Number.MAX_SAFE_INTEGER, bigint. */

import { decodeText, encodeText, Writer } from "./wire.js";

function number(writer, mark, size, set, value) {
  const view = new DataView(new ArrayBuffer(size));
  view[set](0, value);
  writer.raw([mark]).raw(new Uint8Array(view.buffer));
}

/** The head of something that has a length: a byte for short ones, else the first of three marks that is large enough. */
function head(writer, length, short, most, [one, two, four]) {
  if (length <= most) writer.raw([short | length]);
  else if (length < 2 ** 8 && one) writer.raw([one, length]);
  else if (length < 2 ** 16) number(writer, two, 2, "setUint16", length);
  else number(writer, four, 4, "setUint32", length);
}

function integer(writer, value) {
  if (value >= 0 && value < 128) writer.raw([Number(value)]);
  else if (value < 0 && value >= -32) writer.raw([Number(value) & 0xff]);
  else if (value >= -(2 ** 31) && value < 2 ** 31) number(writer, 0xd2, 4, "setInt32", Number(value));
  else if (value < 0) number(writer, 0xd3, 8, "setBigInt64", BigInt(value));
  else number(writer, 0xcf, 8, "setBigUint64", BigInt(value));
}

function write(writer, value) {
  if (value === null || value === undefined) writer.raw([0xc0]);
  else if (typeof value === "boolean") writer.raw([value ? 0xc3 : 0xc2]);
  else if (typeof value === "bigint" || Number.isSafeInteger(value)) integer(writer, value);
  else if (typeof value === "number") number(writer, 0xcb, 8, "setFloat64", value);
  else if (typeof value === "string") {
    const bytes = encodeText(value);
    head(writer, bytes.length, 0xa0, 31, [0xd9, 0xda, 0xdb]);
    writer.raw(bytes);
  } else if (value instanceof Uint8Array) {
    head(writer, value.length, 0, -1, [0xc4, 0xc5, 0xc6]);
    writer.raw(value);
  } else if (Array.isArray(value)) {
    head(writer, value.length, 0x90, 15, [0, 0xdc, 0xdd]);
    for (const item of value) write(writer, item);
  } else if (typeof value === "object") {
    const entries = value instanceof Map ? [...value] : Object.entries(value);
    head(writer, entries.length, 0x80, 15, [0, 0xde, 0xdf]);
    for (const [key, item] of entries) {
      write(writer, key);
      write(writer, item);
    }
  } else throw new TypeError(`${typeof value} has no form in MessagePack`);
}

export function pack(value) {
  const writer = new Writer();
  write(writer, value);
  return writer.done();
}

class Unpacking {
  at = 0;

  constructor(bytes) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  take(size) {
    if (size > this.bytes.length - this.at) throw new RangeError("ends inside a value");
    this.at += size;
    return this.bytes.subarray(this.at - size, this.at);
  }

  number(size, get) {
    this.take(size);
    const value = this.view[get](this.at - size);
    return typeof value === "bigint" && Number.isSafeInteger(Number(value)) ? Number(value) : value;
  }

  text(size) {
    return decodeText(this.take(size));
  }

  list(count) {
    const items = [];
    for (; count > 0; count--) items.push(this.value());
    return items;
  }

  map(count) {
    const items = {};
    for (; count > 0; count--) {
      const [key, value] = [this.value(), this.value()];
      Object.defineProperty(items, key, { value, enumerable: true, configurable: true, writable: true });
    }
    return items;
  }

  value() {
    const [mark] = this.take(1);
    if (mark < 0x80) return mark;
    if (mark < 0x90) return this.map(mark & 15);
    if (mark < 0xa0) return this.list(mark & 15);
    if (mark < 0xc0) return this.text(mark & 31);
    if (mark >= 0xe0) return mark - 256;
    switch (mark) {
      case 0xc0: return null;
      case 0xc2: return false;
      case 0xc3: return true;
      case 0xc4: return this.take(this.number(1, "getUint8")).slice();
      case 0xc5: return this.take(this.number(2, "getUint16")).slice();
      case 0xc6: return this.take(this.number(4, "getUint32")).slice();
      case 0xca: return this.number(4, "getFloat32");
      case 0xcb: return this.number(8, "getFloat64");
      case 0xcc: return this.number(1, "getUint8");
      case 0xcd: return this.number(2, "getUint16");
      case 0xce: return this.number(4, "getUint32");
      case 0xcf: return this.number(8, "getBigUint64");
      case 0xd0: return this.number(1, "getInt8");
      case 0xd1: return this.number(2, "getInt16");
      case 0xd2: return this.number(4, "getInt32");
      case 0xd3: return this.number(8, "getBigInt64");
      case 0xd9: return this.text(this.number(1, "getUint8"));
      case 0xda: return this.text(this.number(2, "getUint16"));
      case 0xdb: return this.text(this.number(4, "getUint32"));
      case 0xdc: return this.list(this.number(2, "getUint16"));
      case 0xdd: return this.list(this.number(4, "getUint32"));
      case 0xde: return this.map(this.number(2, "getUint16"));
      case 0xdf: return this.map(this.number(4, "getUint32"));
      default: throw new TypeError(`0x${mark.toString(16)} is an extension or nothing`);
    }
  }
}

export function unpack(bytes) {
  const unpacking = new Unpacking(bytes);
  const value = unpacking.value();
  if (unpacking.at < bytes.length) throw new RangeError(`${bytes.length - unpacking.at} bytes behind the value`);
  return value;
}
