/**
 * The server's side of a session over TCP: what the module itself, being a client, does not have. For tests only: it looks at
 * every rule of the protocol, and at nothing that keeps a server alive among strangers.
 */

import { randomBytes } from "node:crypto";
import { createServer } from "node:net";
import { configured } from "../../muxtcp/web/static/parts/config.js";
import { hmac, same } from "../../muxtcp/web/static/parts/digest.js";
import { Code, SessionLost, Violation } from "../../muxtcp/web/static/parts/errors.js";
import { checkHandshake, Preface } from "../../muxtcp/web/static/parts/handshake.js";
import { Session } from "../../muxtcp/web/static/parts/session.js";
import { checkOf, derived, limitsOf } from "../../muxtcp/web/static/parts/ticket.js";
import { ofSocket } from "../../muxtcp/web/static/parts/transports.js";
import {
  encodeText, Frames, joined, PREFACE, readRecord, Type, WHY, writeParameters, writeRecord, Writer,
} from "../../muxtcp/web/static/parts/wire.js";

const INCARNATION = new Uint8Array(randomBytes(8));
const MAC = 32;
const random = (size) => new Uint8Array(randomBytes(size));
const key = (id) => Buffer.from(id).toString("hex");
const frame = (type, fields) => new Writer().frame(0, 0, writeRecord(type, fields)).done();

/** A session that can be resumed, and what its client has tried. */
class Kept {
  asked = 0;
  confirmed = 0;
  attempt = null; // the connection that has not proven itself yet
  timer;

  constructor(session, id, secret, limits) {
    Object.assign(this, { session, id, secret, limits });
  }

  /** Why this question is refused, or null (S-4). */
  judge(question, said) {
    const mac = hmac(this.secret, encodeText("RESUME"), question.subarray(0, -MAC));
    if (!same(mac, said.mac)) return "DENIED";
    if (said.generation <= this.confirmed) return "STALE_GENERATION";
    if (said.generation <= this.asked) return "BUSY";
    return same(said.limits, this.limits) ? null : "DIVERGED";
  }
}

/** Listen: {port, close()}. `resume` is in seconds; `onSession` sees each session before its first channel. */
export async function serve(options, host = "127.0.0.1", port = 0) {
  const { resume = 30, psk, onSession = () => {}, ...rest } = options;
  const server = new Server({ ...configured(rest), resume, psk, onSession });
  const listener = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => server.receive(ofSocket(socket)));
  await new Promise((resolve, reject) => listener.once("error", reject).listen(port, host, resolve));
  const close = () => {
    listener.close();
    for (const { session } of server.kept.values()) session.abort("the server is shutting down");
  };
  return { port: listener.address().port, close };
}

export class Server {
  kept = new Map();

  constructor(options) {
    this.options = options;
  }

  /** Begin a handshake on a connection. */
  receive(transport) {
    new Reception(this, transport);
  }

  keep(kept) {
    const { session } = kept;
    this.kept.set(key(kept.id), kept);
    session.onBroken = (reason) => {
      kept.timer ??= setTimeout(() => session.lose(new SessionLost(`${reason}, and nobody came back`)), session.granted * 1000);
    };
    session.closed.then(() => {
      clearTimeout(kept.timer);
      this.kept.delete(key(kept.id));
    });
  }
}

/** One connection, until it belongs to a session. */
class Reception {
  #server;
  #transport;
  #timer;
  #preface = new Preface();
  #seen = new Uint8Array(0);
  #frames = new Frames();
  #greeted = false; // their preface has come
  #answered = false; // ours was sent
  #resuming = null; // {kept, question, answer, frames} while the proof is waited for
  #asked = false;

  constructor(server, transport) {
    this.#server = server;
    this.#transport = transport;
    this.#transport.onData = (chunk) => this.#receive(chunk);
    this.#transport.onEnd = () => this.#leave();
    this.#timer = setTimeout(() => this.#late(), server.options.config.handshakeTimeout * 1000);
  }

  #receive(chunk) {
    try {
      let behind = chunk;
      if (!this.#greeted) {
        this.#seen = joined([this.#seen, chunk]);
        behind = this.#preface.push(chunk);
        if (behind === null) return;
        this.#greeted = true;
      }
      if (behind.length) this.#frames.push(behind);
      const found = this.#frames.next(checkHandshake);
      if (found) this.#take(found.payload[0], found.payload.subarray(1));
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.#refuse(error);
    }
  }

  #take(type, fields) {
    if (this.#resuming) return this.#confirm(type, fields);
    if (type !== Type.HELLO && (type !== Type.RESUME || this.#asked)) throw new Violation(Code.EARLY_FRAME, `record ${type}`);
    const rest = this.#frames.rest();
    if (rest.length) throw new Violation(Code.EARLY_FRAME, "something behind the first record");
    if (type === Type.HELLO) this.#greet(fields.slice());
    else this.#resume(fields.slice());
  }

  #write(bytes) {
    this.#transport.write(this.#answered ? bytes : joined([PREFACE, bytes]));
    this.#answered = true;
  }

  // HELLO

  #greet(hello) {
    const theirs = readRecord(Type.HELLO, hello);
    if (theirs.version[0] > 1 || theirs.version[1] < 1) throw new Violation(Code.BAD_VERSION, `versions ${theirs.version}`);
    const { config, resume, psk, onSession } = this.#server.options;
    const granted = theirs.resume < resume * 1000 ? theirs.resume : resume * 1000;
    const said = {
      version: [1], maxFrame: config.maxFrame, maxMessage: config.maxMessage, channelLimit: config.channelWindow,
      sessionLimit: config.sessionWindow, maxChannels: config.maxChannels,
    };
    const id = random(16);
    const nonce = random(16);
    const secret = psk ? derived(psk, theirs.ticket, nonce, id, INCARNATION) : random(32);
    if (granted) {
      said.resume = granted;
      said.ticket = joined([id, INCARNATION, nonce, [psk ? 1 : 0], psk ? [] : secret, checkOf(secret)]);
      said.replayLimit = config.replayLimit;
    }
    const session = new Session({ client: false, theirs, granted: granted / 1000, ticket: null, options: this.#server.options });
    if (granted) this.#server.keep(new Kept(session, id, secret, limitsOf(hello, writeParameters(Type.WELCOME, said))));
    this.#write(frame(Type.WELCOME, said));
    onSession(session);
    this.#done();
    session.attach(this.#transport, this.#frames.rest());
  }

  // RESUME

  #resume(question) {
    this.#asked = true;
    const said = readRecord(Type.RESUME, question);
    if (!same(said.incarnation, INCARNATION)) return this.#fail("WRONG_INCARNATION");
    const kept = this.#server.kept.get(key(said.id));
    const why = kept ? kept.judge(question, said) : "UNKNOWN";
    if (why) return this.#fail(why);
    kept.asked = said.generation;
    kept.attempt?.end();
    kept.attempt = this.#transport;
    kept.session.cut();
    const lost = kept.session.judge(said);
    if (lost) {
      kept.session.lose(new SessionLost(`the client came back, and the two have lost each other: ${lost}`));
      return this.#fail(lost);
    }
    const answer = writeRecord(Type.RESUME_OK, {
      generation: said.generation, nonce: random(16), ...kept.session.position, mac: new Uint8Array(MAC),
    });
    const mac = hmac(kept.secret, encodeText("RESUME_OK"), question, answer.subarray(1, -MAC));
    answer.set(mac, answer.length - MAC);
    this.#resuming = { kept, question, answer: answer.subarray(1), said };
    this.#write(new Writer().frame(0, 0, answer).done());
  }

  #fail(why) {
    this.#write(frame(Type.RESUME_FAILED, { why: WHY.indexOf(why), retryAfter: why === "BUSY" ? 10 : 0, known: null }));
  }

  #confirm(type, fields) {
    const { kept, question, answer, said } = this.#resuming;
    const proof = hmac(kept.secret, encodeText("RESUME_CONFIRM"), question, answer);
    if (type !== Type.RESUME_CONFIRM || !same(fields, proof) || kept.attempt !== this.#transport || kept.session.error) {
      return this.#leave();
    }
    kept.confirmed = said.generation;
    kept.attempt = null;
    clearTimeout(kept.timer);
    kept.timer = undefined;
    this.#done();
    kept.session.rejoin(this.#transport, this.#frames.rest(), Number(said.frames));
  }

  // The end of it

  #done() {
    clearTimeout(this.#timer);
  }

  #leave() {
    this.#done();
    this.#transport.onData = () => {};
    this.#transport.end();
  }

  #late() {
    if (this.#resuming) this.#leave();
    else this.#refuse(new Violation(Code.HANDSHAKE_TIMEOUT, "no handshake in time"));
  }

  #refuse({ code, reason }) {
    if (this.#resuming) return this.#leave();
    const text = !this.#greeted && this.#seen.every((byte) => byte >= 9 && byte < 127);
    if (code === Code.BAD_PREFACE && text) this.#transport.write(encodeText("this is muxtcp: not a protocol of text\n"));
    else this.#write(frame(Type.REFUSED, { code, retryAfter: 0, reason }));
    this.#leave();
  }
}
