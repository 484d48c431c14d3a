/** What the user holds of one peer: an engine, its connection, and the channels. */

import { Channel } from "./channel.js";
import { resolveCodec } from "./codecs.js";
import {
  ChannelError, Code, EndOfStream, LocalProtocolError, MuxError, RemoteProtocolError, SessionClosed, SessionLost, TimeoutError,
} from "./errors.js";
import { Engine } from "./engine.js";
import { Fifo } from "./fifo.js";
import { queued, within } from "./waiting.js";

const WRITE = 65_536; // bytes given to the connection at once
const EARLY = 16; // blocks that may go before a turn of the event loop is over
const ACK_DELAY = 15; // ms: the peer may count on 20
const CLOSE_TIMEOUT = 5; // seconds
const PRIORITIES = { urgent: 0, high: 1, normal: 2, bulk: 3 };

export const now = () => performance.now() / 1000;

/** Call later, when all that is under way has been done: what was sent meanwhile is written as one. */
const soon = globalThis.setImmediate ?? (() => {
  const { port1, port2 } = new MessageChannel();
  const calls = [];
  port1.onmessage = () => calls.shift()();
  return (call) => { calls.push(call); port2.postMessage(null); };
})();

export class Session {
  channels = new Map();
  error = undefined;
  onBroken = () => {}; // told the reason when the connection broke and the session has not ended
  #engine;
  #transport = null;
  #options;
  #codec;
  #scheduled = false;
  #early = 0; // of EARLY
  #full = false; // a block is about to go early
  #opens = new Fifo(); // who waits to open a channel
  #pings = []; // who waits for a PONG
  #idle = []; // who waits for all channels to end, or for everything to be acknowledged
  #ackTimer;
  #watch;
  #resumptions = 0;
  #end; // resolves `closed`

  constructor({ client, theirs, granted, ticket, options }) {
    this.#options = options;
    this.#codec = resolveCodec(options.codec);
    this.meta = options.meta ?? {};
    this.peerMeta = theirs.meta;
    this.granted = granted;
    this.ticket = ticket;
    this.closed = new Promise((resolve) => { this.#end = resolve; });
    this.#engine = new Engine({ client, ours: options.config, theirs, resumable: granted > 0, sink: this.#sink() });
    if (options.config.keepalive) this.#watchAfter(options.config.keepalive);
  }

  // Channels

  async open(name, { meta, mode = "rw", priority = "normal", codec, deadline, signal } = {}) {
    if (!Object.hasOwn(PRIORITIES, priority)) throw new RangeError(`priority is ${priority}, not urgent, high, normal or bulk`);
    if (!["rw", "r", "w"].includes(mode)) throw new RangeError(`mode is ${mode}, not rw, r or w`);
    const opening = { name, meta, mode, priority: PRIORITIES[priority] };
    opening.deadline = deadline === undefined ? null : Math.max(0, Math.round(deadline * 1000));
    const how = codec === undefined ? this.#codec : resolveCodec(codec);
    if (this.error) throw this.error;
    signal?.throwIfAborted();
    const state = this.#opens.length ? null : this.#engine.open(opening);
    if (state) return this.#channel(state, how);
    return queued(signal, (one) => this.#opens.enter({ opening, how, ...one }));
  }

  #channel(state, codec) {
    const channel = new Channel(this, this.#engine, state, codec);
    this.channels.set(channel.id, channel);
    return channel;
  }

  async request(name, message, { timeout, signal, ...options } = {}) {
    const opening = this.open(name, { signal, ...options });
    const answering = opening.then(async (channel) => {
      await channel.send(message);
      await channel.sendEof();
      return channel.recv();
    });
    try {
      const answer = await within(timeout, answering, `no answer of ${JSON.stringify(name)}`, signal);
      await (await opening).close();
      return answer;
    } catch (error) {
      const code = error instanceof TimeoutError ? Code.TIMEOUT : Code.CANCELLED;
      opening.then((channel) => channel.reset(code, "the request was given up"), () => {});
      throw error;
    }
  }

  // Facts

  get rtt() {
    return this.#engine.rtt;
  }

  async ping() {
    if (this.error) throw this.error;
    const began = now();
    const n = this.#engine.ping(began);
    await new Promise((resolve, reject) => this.#pings.push({ n, resolve, reject }));
    return now() - began;
  }

  stats() {
    const { outbox, framesReceived, bytesReceived, messagesReceived } = this.#engine;
    const { framesSent, bytesSent, messagesSent } = outbox;
    return { framesSent, framesReceived, bytesSent, bytesReceived, messagesSent, messagesReceived, resumptions: this.#resumptions };
  }

  // The end

  async drain(code = Code.NO_ERROR, reason = "") {
    if (this.error) throw this.error;
    this.#engine.goAway(code, reason);
    await this.#until(() => this.#engine.channels.size === 0);
  }

  async close({ code = Code.NO_ERROR, reason = "", timeout = CLOSE_TIMEOUT } = {}) {
    if (this.error) return;
    this.#engine.goAway(code, reason);
    const orderly = this.#until(() => this.#engine.channels.size === 0 && this.#engine.settled && !this.#engine.owesAck);
    this.#engine.acknowledge();
    await within(timeout, orderly, "").catch((error) => {
      if (!(error instanceof MuxError)) throw error; // it took too long, or has ended meanwhile
    });
    this.#leave(code, reason);
    await this.closed;
  }

  abort(reason = "") {
    this.#leave(Code.CANCELLED, reason);
  }

  /** Say the last words, and hear none. */
  #leave(code, reason) {
    if (this.error) return;
    this.#engine.close(code, reason);
    this.#flush();
    this.#finish(new SessionClosed(code, reason, false));
  }

  cut() {
    const transport = this.#transport;
    if (!transport) return;
    this.#detach();
    transport.abort();
    this.#engine.broke("the connection was cut on this side");
  }

  /** Give up a session that waits for a connection. */
  lose(error) {
    this.#engine.over = true;
    this.#finish(error);
  }

  #until(condition) {
    if (condition()) return Promise.resolve();
    return new Promise((resolve, reject) => this.#idle.push({ condition, resolve, reject }));
  }

  #checkIdle() {
    if (!this.#idle.length) return;
    const [done, waiting] = [[], []];
    for (const waiter of this.#idle) (waiter.condition() ? done : waiting).push(waiter);
    this.#idle = waiting;
    done.forEach(({ resolve }) => resolve());
  }

  #finish(error) {
    if (this.error) return;
    this.error = error;
    clearTimeout(this.#ackTimer);
    clearTimeout(this.#watch);
    if (this.#transport) this.#bound(this.#transport);
    for (const channel of this.channels.values()) channel.lost(error);
    for (const state of this.#engine.channels.values()) this.#engine.outbox.drop(state.sending, error);
    this.channels.clear();
    while (this.#opens.length) this.#opens.shift().reject(error);
    for (const { reject } of [...this.#pings.splice(0), ...this.#idle.splice(0)]) reject(error);
    this.#end(error);
  }

  // The connection

  /** Go on over this connection, on which `rest` has arrived behind the handshake. */
  attach(transport, rest) {
    this.#transport = transport;
    transport.onData = (chunk) => this.#receive(chunk);
    transport.onRoom = () => this.#flush();
    transport.onEnd = (reason) => this.#onEnd(transport, reason);
    this.#engine.heard = now();
    if (rest.length) this.#receive(rest);
    transport.release();
    this.#flush();
  }

  /** Carry on over this connection: the peer has so many of our frames. How many go again. */
  rejoin(transport, rest, frames) {
    this.#resumptions += 1;
    const replayed = this.#engine.rejoin(frames, now());
    this.attach(transport, rest);
    return replayed;
  }

  get position() {
    return this.#engine.position;
  }

  judge(position) {
    return this.#engine.judge(position);
  }

  /** What is still to be said has so much time: a peer that takes nothing holds nobody. */
  #bound(transport) {
    const timer = setTimeout(() => {
      if (this.#transport !== transport) return;
      this.#detach();
      transport.abort();
    }, CLOSE_TIMEOUT * 1000);
    timer.unref?.();
  }

  #detach() {
    this.#transport.onData = this.#transport.onRoom = this.#transport.onEnd = () => {};
    this.#transport = null;
    clearTimeout(this.#ackTimer);
    this.#ackTimer = undefined;
  }

  #receive(chunk) {
    this.#engine.receive(chunk, now());
    if (this.#engine.owesAck && this.#ackTimer === undefined) {
      this.#ackTimer = setTimeout(() => {
        this.#ackTimer = undefined;
        if (this.#engine.owesAck) this.#engine.acknowledge();
      }, ACK_DELAY);
    }
    this.#checkIdle();
  }

  #onEnd(transport, reason) {
    if (this.#transport === transport) this.#detach();
    if (reason === null) this.#engine.receiveEof();
    else this.#engine.broke(reason);
    transport.end();
  }

  #wake() {
    if (!this.#scheduled) {
      this.#scheduled = true;
      soon(() => {
        this.#scheduled = false;
        this.#early = 0;
        this.#flush();
      });
    }
    if (this.#engine.outbox.queued >= WRITE && !this.#full && this.#early < EARLY) this.#flushEarly();
  }

  /** A block is full: have it on its way while the next one is filled. Not without end, since nothing is read meanwhile. */
  #flushEarly() {
    this.#full = true;
    this.#early += 1;
    queueMicrotask(() => {
      this.#full = false;
      this.#flush();
    });
  }

  #flush() {
    const transport = this.#transport;
    if (!transport) return;
    while (this.#engine.pending && transport.room) {
      const bytes = this.#engine.write(WRITE);
      if (!bytes.length) break;
      if (transport.write(bytes)) this.#engine.outbox.recycle(bytes);
    }
    if (this.#engine.over && !this.#engine.pending) this.#part(transport);
    this.#checkIdle();
  }

  /** Everything is said: end our direction, and the connection when the peer has ended its own, or does not in time. */
  #part(transport) {
    this.#detach();
    transport.end();
    const timer = setTimeout(() => transport.abort(), CLOSE_TIMEOUT * 1000);
    timer.unref?.();
    transport.onEnd = () => clearTimeout(timer);
  }

  // Liveness

  #watchAfter(seconds) {
    const due = now() + seconds;
    this.#watch = setTimeout(() => this.#look(now() - due), seconds * 1000);
    this.#watch.unref?.();
  }

  /** Ask a silent peer whether it lives, and give up one that does not answer. */
  #look(late) {
    const { keepalive, keepaliveTimeout } = this.#options.config;
    const silent = now() - this.#engine.heard;
    if (!this.#transport || silent < keepalive) return this.#watchAfter(this.#transport ? keepalive - silent : keepalive);
    const asked = this.#engine.unanswered(now());
    if (!asked) this.#engine.ping(now());
    // A timer that comes late says that it was us who did not look: what has arrived meanwhile is read first.
    if (late > 1) return this.#watchAfter(1);
    if (asked < keepaliveTimeout) return this.#watchAfter(keepaliveTimeout - asked);
    const transport = this.#transport;
    this.#detach();
    transport.abort();
    this.#engine.broke(`nothing was heard for ${silent.toFixed(1)} s`);
    if (!this.error) this.#watchAfter(keepalive);
  }

  // What the engine tells

  #sink() {
    return {
      wake: () => this.#wake(),
      opened: (state) => this.#onOpened(state),
      message: (state, message) => state.user.deliver(message),
      finished: (state) => state.user.finished(),
      reset: (state, code, reason) => state.user.wasReset(code, reason),
      unserved: (state, code, reason) => state.user.wasReset(Code.SHUTDOWN, reason),
      ended: (state) => {
        this.channels.delete(state.id);
        state.user?.ended();
        soon(() => this.#checkIdle());
      },
      canOpen: () => this.#onCanOpen(),
      pong: (n) => {
        while (this.#pings.length && this.#pings[0].n <= n) this.#pings.shift().resolve();
      },
      leaving: () => {
        const error = new LocalProtocolError("no channels are opened any more: the peer is going away");
        while (this.#opens.length) this.#opens.shift().reject(error);
      },
      closed: (code, reason, remote) => {
        this.#finish(new SessionClosed(code, reason, remote));
        this.#wake();
      },
      lost: (reason) => this.#finish(new SessionLost(reason)),
      broken: (reason) => this.onBroken(reason),
      violated: (code, reason) => this.#finish(new RemoteProtocolError(code, reason)),
    };
  }

  #onCanOpen() {
    while (this.#opens.length) {
      const { opening, how, resolve, reject } = this.#opens.at(0);
      let state;
      try {
        state = this.#engine.open(opening);
      } catch (error) {
        this.#opens.shift();
        reject(error);
        continue;
      }
      if (!state) return;
      this.#opens.shift();
      resolve(this.#channel(state, how));
    }
  }

  #onOpened(state) {
    const channel = this.#channel(state, this.#codec);
    const { handler } = this.#options;
    if (!handler) channel.refuse(Code.NOT_FOUND, `no service ${JSON.stringify(channel.name)}`);
    else this.#serve(channel, handler);
  }

  async #serve(channel, handler) {
    await undefined; // the engine is at rest when user code runs
    try {
      await handler(channel);
      await channel.close();
    } catch (error) {
      const ours = error === this.error || (error instanceof ChannelError && error.channelId === channel.id);
      if (ours && error instanceof EndOfStream) return channel.close();
      if (!ours) console.error(`the handler of channel ${channel.id} (${channel.name}) failed:`, error);
      channel.reset(ours ? Code.CANCELLED : Code.INTERNAL, ours ? "the handler gave up" : "the handler failed");
    }
  }
}
