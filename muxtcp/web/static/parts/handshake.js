/** The client's side of a handshake: what is said before both go on with frames. No I/O. */

import { Code, HandshakeError, Violation } from "./errors.js";
import {
  Frames, HANDSHAKE_LIMIT, joined, Kind, PREFACE, Reader, readRecord, Type, VERSION, writeParameters, writeRecord, Writer,
} from "./wire.js";

const record = (payload) => joined([PREFACE, new Writer().frame(0, 0, payload).done()]);

/** Looks at the first bytes of a peer until its preface is whole. Gives what is behind it, or null. */
export class Preface {
  #seen = new Uint8Array(0);

  push(chunk) {
    this.#seen = joined([this.#seen, chunk]);
    const count = Math.min(this.#seen.length, PREFACE.length);
    if (PREFACE.some((byte, i) => i < count && byte !== this.#seen[i])) {
      throw new Violation(Code.BAD_PREFACE, "this is not muxtcp");
    }
    return count < PREFACE.length ? null : this.#seen.subarray(PREFACE.length);
  }
}

/** Refuse, from its header, a frame that does not belong into a handshake. */
export function checkHandshake(channel, kind, size) {
  if (channel !== 0 || kind !== Kind.DATA) throw new Violation(Code.EARLY_FRAME, "a frame of a channel");
  if (size > HANDSHAKE_LIMIT) throw new Violation(Code.HANDSHAKE_TOO_LARGE, `a record of ${size} bytes`);
}

class Handshake {
  #preface = new Preface();
  #frames = new Frames();
  #greeted = false;

  /** Take bytes in: the answer, when it is whole. Throws HandshakeError if there is none that could be accepted. */
  receive(chunk) {
    try {
      const behind = this.#greeted ? chunk : this.#preface.push(chunk);
      if (behind === null) return null;
      this.#greeted = true;
      if (behind.length) this.#frames.push(behind);
      const frame = this.#frames.next(checkHandshake);
      return frame && this.answered(new Reader(frame.payload));
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      throw new HandshakeError(error.code, error.reason);
    }
  }

  /** What came behind the handshake. */
  rest() {
    return this.#frames.rest();
  }
}

function typeOf(reader) {
  const [type] = reader.left ? reader.take(1) : [0];
  return type;
}

function refused(fields) {
  const { code, reason, retryAfter } = readRecord(Type.REFUSED, fields);
  return new HandshakeError(code, reason, Number(retryAfter) / 1000);
}

/** HELLO, and the WELCOME that answers it. */
export class Greeting extends Handshake {
  constructor(ours) {
    super();
    this.ours = { version: [VERSION, VERSION], ...ours };
  }

  begin() {
    return record(writeRecord(Type.HELLO, this.ours));
  }

  /** What the server announced, and the parameters of both as they were sent. */
  answered(reader) {
    const type = typeOf(reader);
    const said = reader.rest();
    if (type === Type.REFUSED) throw refused(said);
    if (type !== Type.WELCOME) throw new Violation(Code.EARLY_FRAME, `record ${type} in place of WELCOME`);
    const theirs = readRecord(Type.WELCOME, said);
    const [version] = theirs.version;
    if (version !== VERSION) throw new Violation(Code.BAD_VERSION, `the server chose version ${version}`);
    const wish = this.ours.resume ?? 0;
    if (theirs.resume > wish) {
      throw new Violation(Code.BAD_PARAMETER, `${theirs.resume} ms to resume in, and ${wish} were wished`);
    }
    return { theirs, hello: writeParameters(Type.HELLO, this.ours), welcome: said.slice() };
  }
}

/** RESUME, and what answers it: {ok: fields of RESUME_OK} or {failed: fields of RESUME_FAILED}. */
export class Return extends Handshake {
  constructor(question) {
    super();
    this.question = question;
  }

  begin() {
    return record(this.question);
  }

  answered(reader) {
    const type = typeOf(reader);
    const said = reader.rest();
    if (type === Type.REFUSED) throw refused(said);
    if (type === Type.RESUME_OK) return { ok: said.slice() };
    if (type === Type.RESUME_FAILED) return { failed: readRecord(type, said) };
    throw new Violation(Code.EARLY_FRAME, `record ${type} in place of RESUME_OK`);
  }
}
