/** What the user holds of one channel. */

import { ChannelClosed, ChannelRefused, ChannelReset, Code, CodecError, EndOfStream, LocalProtocolError } from "./errors.js";
import { Fifo } from "./fifo.js";
import { queued } from "./waiting.js";

export class Channel {
  #engine;
  #state;
  #codec;
  #inbox = new Fifo(); // messages that nobody has taken
  #readers = new Fifo(); // who waits for one
  #over = null; // what those hear who want more than is in the inbox
  #closed = null; // what those hear who want to send

  constructor(session, engine, state, codec) {
    this.session = session;
    this.#engine = engine;
    this.#state = state;
    this.#codec = codec;
    this.id = state.id;
    this.name = state.opening.name;
    this.meta = state.opening.meta ?? {};
    this.mode = state.opening.mode;
    state.user = this;
    if (state.remoteOver) this.#over = new LocalProtocolError(`channel ${this.id} only sends`);
    if (state.sending.finished) this.#closed = new LocalProtocolError(`channel ${this.id} only receives`);
  }

  // Receiving

  async recv({ signal } = {}) {
    signal?.throwIfAborted();
    if (this.#inbox.length) return this.#taken(this.#inbox.shift());
    if (this.#over) throw this.#over;
    return this.#taken(await queued(signal, (one) => this.#readers.enter(one)));
  }

  tryRecv() {
    return this.#inbox.length ? this.#taken(this.#inbox.shift()) : undefined;
  }

  async *[Symbol.asyncIterator]() {
    try {
      while (true) yield await this.recv();
    } catch (error) {
      if (!(error instanceof EndOfStream)) throw error;
    }
  }

  #taken(bytes) {
    this.#engine.consume(this.#state, bytes.length);
    this.#releaseIfDone();
    try {
      return this.#codec.decode(bytes);
    } catch (error) {
      throw new CodecError(this, bytes, error);
    }
  }

  // Sending

  async send(message, { signal } = {}) {
    if (this.#closed) throw this.#closed;
    signal?.throwIfAborted();
    const bytes = this.#codec.encode(message);
    const { outbox } = this.#engine;
    if (!outbox.offer(this.#state.sending, bytes)) await outbox.wait(this.#state.sending, bytes, signal);
  }

  trySend(message) {
    if (this.#closed) throw this.#closed;
    return this.#engine.outbox.offer(this.#state.sending, this.#codec.encode(message));
  }

  async sendEof() {
    if (this.#closed) throw this.#closed;
    this.#closed = new ChannelClosed(this, "has sent its end");
    await this.#engine.outbox.finish(this.#state.sending);
  }

  // Ends

  async close() {
    const error = new ChannelClosed(this);
    this.#end(error, error);
    this.#engine.shut(this.#state, error);
    this.#engine.release(this.#state);
  }

  reset(code = Code.CANCELLED, reason = "") {
    if (!(code >= 0 && code < 2 ** 62)) throw new RangeError(`code is ${code}, not 0 to 2^62`);
    const error = new ChannelClosed(this, "was reset on this side");
    this.#end(error, error);
    this.#engine.reset(this.#state, code, reason, error);
    this.#engine.release(this.#state);
  }

  refuse(code = Code.NOT_FOUND, reason = "") {
    if (!(code >= 0x10 && code <= 0x1f)) throw new RangeError(`code is ${code}, not 0x10 to 0x1f`);
    this.reset(code, reason);
  }

  /** Nobody gets what is still here, and all who wait hear why. */
  #end(receiving, sending) {
    this.#over = receiving;
    this.#closed = sending;
    while (this.#inbox.length) this.#engine.consume(this.#state, this.#inbox.shift().length);
    while (this.#readers.length) this.#readers.shift().reject(receiving);
  }

  #releaseIfDone() {
    if (this.#state.ended && this.#inbox.length === 0) this.#engine.release(this.#state);
  }

  // What the session tells it

  deliver(message) {
    if (this.#state.closing) this.#engine.consume(this.#state, message.length);
    else if (this.#readers.length) this.#readers.shift().resolve(message);
    else this.#inbox.push(message);
  }

  finished() {
    this.#over ??= new EndOfStream(this);
    while (this.#readers.length) this.#readers.shift().reject(this.#over);
  }

  wasReset(code, reason) {
    const Kind = code >= 0x10 && code <= 0x1f ? ChannelRefused : ChannelReset;
    const error = new Kind(this, code, reason);
    this.#end(error, error);
    return error;
  }

  /** The session is over: what has arrived can still be taken, and then comes its error. */
  lost(error) {
    if (!(this.#over instanceof EndOfStream)) this.#over = error;
    this.#closed = error;
    while (this.#readers.length) this.#readers.shift().reject(error);
  }

  ended() {
    this.#releaseIfDone();
  }
}
