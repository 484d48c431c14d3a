/** connect(): dial, try again, carry a session on over another connection. */

import { exponential } from "./backoff.js";
import { configured } from "./config.js";
import { Code, HandshakeError, LocalProtocolError, SessionLost, Violation } from "./errors.js";
import { Greeting, Return } from "./handshake.js";
import { now, Session } from "./session.js";
import { limitsOf, nonce, Ticket } from "./ticket.js";
import { dial } from "./transports.js";
import { within } from "./waiting.js";
import { encodeText, Type, WHY, writeRecord, Writer } from "./wire.js";

const LATER = [Code.BUSY, Code.LIMITS, Code.SHUTDOWN]; // refusals that another attempt may not meet
const LONGEST_STAY = 300; // seconds: a server that asks for more is not believed
const HEALTHY = 10; // seconds: the end of a session that lasted so long begins a new series of attempts

export class StateEvent extends Event {
  constructor(state, info) {
    super("state");
    Object.assign(this, { state }, info);
  }
}

export class Connector extends EventTarget {
  state = "disconnected";
  #url;
  #options;
  #once;
  #session = null;
  #attempt = 0;
  #stopping = new AbortController();
  #wake = () => {};

  constructor(url, options) {
    super();
    const target = new URL(url, globalThis.location?.href);
    this.#url = target.href.replace(/^http/, "ws");
    this.#options = { connectTimeout: 10, ...configured(options) };
    if (options.onState) this.addEventListener("state", options.onState);
  }

  then(resolve, reject) {
    this.#once ??= this.#first();
    return this.#once.then(resolve, reject);
  }

  async #first() {
    const heeded = this.#heed();
    try {
      return await this.#up(this.#delays(this.#options.backoff ? undefined : []));
    } finally {
      heeded();
    }
  }

  async *[Symbol.asyncIterator]() {
    let delays = this.#delays();
    const heeded = this.#heed();
    try {
      while (!this.#stopped) {
        const session = await this.#up(delays);
        const began = now();
        try {
          yield session;
        } finally {
          await session.close();
        }
        if (now() - began >= HEALTHY) delays = this.#delays();
        if (!this.#stopped) await this.#wait(delays, session.error);
      }
    } catch (error) {
      if (!this.#stopped) throw error;
    } finally {
      heeded();
    }
  }

  /** Stop when the signal of the options says so; the answer is how not to any more. */
  #heed() {
    const { signal } = this.#options;
    const abort = () => this.#stop(signal.reason);
    if (signal?.aborted) abort();
    else signal?.addEventListener("abort", abort);
    return () => signal?.removeEventListener("abort", abort);
  }

  reconnectNow() {
    this.#wake();
  }

  stop() {
    this.#stop(new LocalProtocolError("the connector was stopped"));
  }

  #stop(reason) {
    if (this.#stopped) return;
    this.#stopping.abort(reason);
    this.#wake();
    if (this.state === "reconnecting") this.#session.lose(new SessionLost("the connector was stopped", { cause: reason }));
    this.#tell("stopped");
  }

  get #stopped() {
    return this.#stopping.signal.aborted;
  }

  #tell(state, info = {}) {
    this.state = state;
    this.dispatchEvent(new StateEvent(state, { attempt: this.#attempt, ...info }));
  }

  #delays(among = (this.#options.backoff ?? exponential())()) {
    return among[Symbol.iterator]();
  }

  /** Wait until the next attempt; the end of the delays is the last one, and throws the cause. */
  async #wait(delays, cause) {
    const { value, done } = delays.next();
    if (done) {
      this.#tell("failed", { cause });
      throw cause;
    }
    const stay = Math.min(cause?.retryAfter ?? 0, LONGEST_STAY) * (1 + Math.random());
    const delay = value + stay;
    const slept = this.#sleep(delay); // before it is told: whoever hears of it may end it at once
    this.#tell("waiting", { delay, cause });
    await slept;
  }

  async #sleep(seconds) {
    let timer;
    await new Promise((resolve) => {
      this.#wake = resolve;
      timer = setTimeout(resolve, seconds * 1000);
      globalThis.addEventListener?.("online", resolve, { once: true });
    });
    clearTimeout(timer);
    globalThis.removeEventListener?.("online", this.#wake);
  }

  // A new session

  async #up(delays) {
    for (this.#attempt = 1; ; this.#attempt++) {
      this.#stopping.signal.throwIfAborted();
      this.#tell("connecting");
      try {
        this.#session = await this.#begin();
      } catch (error) {
        this.#stopping.signal.throwIfAborted();
        const final = error instanceof TypeError || (error instanceof HandshakeError && !LATER.includes(error.code));
        await this.#wait(final ? [].values() : delays, error);
        continue;
      }
      if (this.#stopped) this.#session.abort("the connector was stopped");
      this.#stopping.signal.throwIfAborted();
      this.#tell("connected");
      this.#attempt = 0;
      return this.#session;
    }
  }

  async #begin() {
    const { resume = 0, auth, meta, psk, config } = this.#options;
    const wish = Math.round(resume * 1000);
    const said = {
      maxFrame: config.maxFrame, maxMessage: config.maxMessage, maxChannels: config.maxChannels,
      channelLimit: config.channelWindow, sessionLimit: config.sessionWindow, keepalive: Math.round(config.keepalive * 1000),
    };
    const credentials = await within(this.#options.connectTimeout, (async () => (typeof auth === "function" ? auth() : auth))(),
      "no credentials", this.#stopping.signal);
    if (credentials?.length) said.auth = typeof credentials === "string" ? encodeText(credentials) : credentials;
    if (meta && Object.keys(meta).length) said.meta = meta;
    if (wish) Object.assign(said, { resume: wish, ticket: nonce(), replayLimit: config.replayLimit });
    const transport = await this.#dial();
    const greeting = new Greeting(said);
    const { theirs, hello, welcome } = await this.#converse(transport, greeting);
    const granted = Number(theirs.resume) / 1000;
    let ticket = null;
    try {
      if (granted) ticket = Ticket.ofWelcome(theirs.ticket, said.ticket, psk, limitsOf(hello, welcome));
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      farewell(transport, error);
      throw new HandshakeError(error.code, error.reason);
    }
    const session = new Session({ client: true, theirs, granted, ticket, options: this.#options });
    session.closed.then((cause) => this.#tell(cause instanceof SessionLost ? "lost" : "disconnected", { cause }));
    session.onBroken = (reason) => this.#resume(session, reason);
    session.attach(transport, greeting.rest());
    return session;
  }

  #dial() {
    return dial(this.#url, { ...this.#options, signal: this.#stopping.signal });
  }

  /** Play the client's side of a handshake over a new connection: the answer, or a rejection and no connection. */
  async #converse(transport, handshake) {
    const answering = new Promise((resolve, reject) => {
      transport.onData = (chunk) => {
        try {
          const answer = handshake.receive(chunk);
          if (!answer) return;
          transport.hold(); // what comes next is the session's
          resolve(answer);
        } catch (error) {
          reject(error);
        }
      };
      transport.onEnd = (reason) => reject(new Error(`the connection ended in the handshake${reason ? `: ${reason}` : ""}`));
      transport.write(handshake.begin());
    });
    try {
      return await within(this.#options.config.handshakeTimeout, answering, "no answer to the handshake", this.#stopping.signal);
    } catch (error) {
      transport.onData = transport.onEnd = () => {};
      if (error instanceof HandshakeError) transport.end();
      else transport.abort();
      throw error;
    }
  }

  // The same session

  async #resume(session, reason) {
    if (this.#stopped) return session.lose(new SessionLost(`${reason}, and the connector was stopped`));
    const began = now();
    this.#tell("reconnecting", { cause: reason });
    const left = () => session.granted - (now() - began);
    const lose = (why, cause) => {
      if (session.error) return;
      session.lose(new SessionLost(`${reason}, and the session was not resumed: ${why}`, { cause, why }));
    };
    const delays = this.#delays();
    let last;
    while (!session.error && left() > 0) {
      let retryAfter = 0;
      this.#attempt += 1;
      try {
        const { why, later, replayed } = await this.#return(session);
        if (replayed !== undefined) {
          this.#tell("resumed", { gap: now() - began, replayed });
          this.#attempt = 0;
          return;
        }
        if (why !== "BUSY") return lose(why);
        [retryAfter, last] = [later, why];
      } catch (error) {
        if (error instanceof HandshakeError && !LATER.includes(error.code)) return lose(error.message, error);
        [retryAfter, last] = [error?.retryAfter ?? 0, error];
      }
      const { value, done } = delays.next();
      if (done || session.error) break;
      await this.#sleep(Math.min(value + Math.min(retryAfter, LONGEST_STAY), Math.max(left(), 0)));
    }
    lose(last?.message ?? last ?? "its time is over", last);
  }

  /** One attempt: {replayed} if it came through, {why, later} if the server says no. */
  async #return(session) {
    const { ticket } = session;
    const question = ticket.ask(session.position);
    const transport = await this.#dial();
    if (session.error) { // it ended meanwhile
      transport.abort();
      return { why: "BUSY", later: 0 };
    }
    const returning = new Return(question);
    const { ok, failed } = await this.#converse(transport, returning);
    if (session.error || failed) {
      transport.end();
      return { why: WHY[failed?.why ?? 8], later: Number(failed?.retryAfter ?? 0) / 1000 };
    }
    try {
      const position = ticket.believe(ok);
      const why = session.judge(position);
      if (why) throw new Violation(Code.INTERNAL, why);
      transport.write(frame(ticket.prove()));
      return { replayed: session.rejoin(transport, returning.rest(), Number(position.frames)) };
    } catch (error) {
      transport.end();
      if (!(error instanceof Violation)) throw error;
      return { why: error.reason };
    }
  }
}

const frame = (record) => new Writer().frame(0, 0, record).done();

/** Tell a server that is not to be believed, and leave. */
function farewell(transport, { code, reason }) {
  transport.write(frame(writeRecord(Type.GOAWAY, { last: 0, code, reason })));
  transport.end();
}
