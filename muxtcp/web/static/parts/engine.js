/** The state machine of one session after its handshake, without I/O: bytes and commands in, bytes and calls out. */

import { Code, LocalProtocolError, Violation } from "./errors.js";
import { Outbox, Sending } from "./outbox.js";
import { SessionWindow, Window } from "./window.js";
import {
  COUNT_LIMIT, encodeText, Frames, isRecord, joined, Kind, MESSAGE_COST, Reader, readOpen, readReason, readRecord,
  REASON_LIMIT, RECORD_LIMIT, SHORTEST_PART, Type, writeOpen, Writer,
} from "./wire.js";

const ACK_FRAMES = 256;
const ACK_BYTES = 65_536;
const HANDSHAKE = [Type.HELLO, Type.WELCOME, Type.REFUSED, Type.RESUME, Type.RESUME_OK, Type.RESUME_CONFIRM,
  Type.RESUME_FAILED];

/** One channel: what both halves have come to. `user` is whatever the user of the engine keeps with it. */
export class ChannelState {
  parts = []; // of the message that is arriving
  partial = 0; // their bytes
  remoteOver = false; // the peer finished, or never had a half
  discarding = false; // we reset it, or came to it after our GOAWAY: what arrives is given back
  closing = null; // the user has no more use for it: what then waits to send hears of this error
  ended = false;
  released = false; // nobody here looks at it any more
  user = null;

  constructor(id, opening, sending, window) {
    Object.assign(this, { id, opening, sending, window });
  }
}

/**
 * `sink` is told what happened: opened(channel), message(channel, bytes), finished(channel), reset(channel, code, reason),
 * unserved(channel, code, reason), ended(channel), canOpen(), pong(n), leaving(code, reason), wake(), and one of
 * closed(code, reason), lost(reason), broken(reason), violated(code, reason) at the end.
 */
export class Engine {
  channels = new Map();
  framesReceived = 0;
  bytesReceived = 0; // of sequenced frames
  messagesReceived = 0;
  heard = 0; // when the peer last said anything
  rtt = NaN;
  over = false;
  said = null; // our GOAWAY
  leaving = null; // the peer's
  #frames = new Frames();
  #acknowledged = { frames: 0, bytes: 0 };
  #ackDue = false;
  #pings = []; // without an answer
  #pinged = 0;
  #ended = false; // END was said
  #released = 0; // channels of the peer's that have ended
  #check = (channel, kind, size) => {
    const most = channel === 0 ? RECORD_LIMIT : this.ours.maxFrame;
    if (size > most) throw new Violation(Code.FRAME_TOO_LARGE, `${size} bytes, more than ${most}`);
  };

  constructor({ client, ours, theirs, resumable, sink }) {
    Object.assign(this, { ours, theirs, resumable, sink });
    this.nextLocal = client ? 1 : 2;
    this.nextRemote = client ? 2 : 1;
    this.mayOpen = theirs.maxChannels;
    this.opened = 0;
    this.remoteOpened = 0;
    this.remoteMayOpen = ours.maxChannels;
    this.window = new SessionWindow(ours.sessionWindow, ours.maxMessage + MESSAGE_COST, ours.memoryLimit);
    this.outbox = new Outbox(theirs, {
      sendBuffer: ours.sendBuffer,
      replayLimit: resumable ? ours.replayLimit : 0,
      finished: (sending) => this.#onFinished(this.channels.get(sending.id)),
      wake: () => sink.wake(),
    });
  }

  // Commands

  /** Open a channel, or null: wait for canOpen(). */
  open(opening) {
    if (this.leaving || this.said) throw new LocalProtocolError("no channels are opened any more: a side is going away");
    if (this.opened >= this.mayOpen) return null;
    const payload = writeOpen(opening);
    readOpen(payload); // what the peer would refuse is not sent
    this.opened += 1;
    const channel = this.#channel(this.nextLocal, opening, opening.mode);
    this.nextLocal += 2;
    this.outbox.urgent(channel.id, Kind.OPEN, payload);
    return channel;
  }

  #channel(id, opening, mode) {
    const { ours, theirs } = this;
    const sending = new Sending(id, theirs.channelLimit, opening.priority);
    const window = new Window(ours.channelWindow, ours.maxMessage + MESSAGE_COST, ours.memoryLimit);
    const channel = new ChannelState(id, opening, sending, window);
    sending.finished = mode === "r";
    channel.remoteOver = mode === "w";
    this.channels.set(id, channel);
    return channel;
  }

  /** Kill a channel; `error` is what those hear who wait to send on it. */
  reset(channel, code, reason, error) {
    if (channel.ended || channel.discarding) return;
    const payload = new Writer().varint(code).raw(encodeText(cut(reason))).done();
    this.outbox.drop(channel.sending, error);
    channel.sending.finished = true;
    channel.discarding = true;
    this.#giveBack(channel);
    this.outbox.urgent(channel.id, Kind.RESET, payload);
    this.#settle(channel);
  }

  /** End a channel in good order: what was accepted is sent, and the peer told that nothing more is taken. */
  shut(channel, error) {
    if (channel.closing || channel.discarding) return;
    channel.closing = error;
    if (!channel.sending.finished) this.outbox.finish(channel.sending).catch(() => {});
    else this.#onFinished(channel);
  }

  #onFinished(channel) {
    if (channel.closing && !channel.remoteOver) this.reset(channel, Code.CANCELLED, "", channel.closing);
    else this.#settle(channel);
  }

  /** The user has taken a message of so many bytes. */
  consume(channel, size) {
    this.window.consume(size + MESSAGE_COST);
    this.#grantSession();
    if (channel.ended || channel.discarding) return;
    channel.window.consume(size + MESSAGE_COST);
    this.#grant(channel);
  }

  /** Nobody looks at the channel any more: another may take its place as soon as it has ended. */
  release(channel) {
    if (channel.released) return;
    channel.released = true;
    if (channel.ended) this.#giveSlot(channel);
  }

  ping(now) {
    this.#pinged += 1;
    this.#pings.push({ n: this.#pinged, at: now });
    this.outbox.record(Type.PING, { n: this.#pinged });
    return this.#pinged;
  }

  /** Seconds for which a PING has waited; 0: none does. */
  unanswered(now) {
    return this.#pings.length ? now - this.#pings[0].at : 0;
  }

  /** GOAWAY: we serve no channel that has not arrived by now. */
  goAway(code = Code.NO_ERROR, reason = "") {
    reason = cut(reason);
    this.said = { last: this.said?.last ?? Math.max(this.nextRemote - 2, 0), code, reason };
    this.outbox.record(Type.GOAWAY, this.said);
  }

  /** The last words; nothing more is processed. */
  close(code = Code.NO_ERROR, reason = "") {
    if (this.over) return;
    this.over = true;
    this.outbox.close();
    if (this.resumable || this.said?.code !== code) this.goAway(code, reason);
    if (this.resumable) this.outbox.record(Type.END);
  }

  // Bytes in

  receive(chunk, now) {
    if (this.over) return;
    this.heard = now;
    this.#frames.push(chunk);
    try {
      for (let frame; !this.over && (frame = this.#frames.next(this.#check)); ) this.#frame(frame, now);
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.close(error.code, error.message);
      this.sink.violated(error.code, error.reason);
    }
  }

  receiveEof() {
    if (this.over) return;
    const words = this.resumable ? this.#ended : this.said || this.leaving;
    if (words && this.#frames.whole) return this.#closed();
    const reason = this.#frames.whole ? "the connection ended without a goodbye" : "the connection ended inside a frame";
    this.broke(reason);
  }

  /** The connection is gone. */
  broke(reason) {
    if (this.over) return;
    if (this.resumable) {
      this.#frames.rest();
      this.sink.broken(reason);
    } else {
      this.over = true;
      this.sink.lost(reason);
    }
  }

  #closed() {
    this.over = true;
    const { code, reason } = this.leaving ?? this.said;
    this.sink.closed(code, reason, this.leaving !== null);
  }

  #frame({ channel: id, kind, payload, size }, now) {
    if (id === 0) {
      if (kind !== 0) throw new Violation(Code.BAD_KIND, `kind ${kind} on channel 0`);
      this.#record(payload, now);
      return;
    }
    if (kind > Kind.BLOCKED) throw new Violation(Code.BAD_KIND, `kind ${kind}`);
    this.framesReceived += 1;
    this.bytesReceived += size;
    if (this.resumable) this.#owe();
    if (typeof id === "bigint") throw new Violation(kind === Kind.OPEN ? Code.BAD_CHANNEL_ID : Code.UNKNOWN_CHANNEL, `${id}`);
    if (kind === Kind.OPEN) this.#onOpen(id, payload);
    else this.#onChannel(id, kind, payload);
  }

  #onOpen(id, payload) {
    if (id % 2 !== this.nextRemote % 2 || id > this.nextRemote) {
      throw new Violation(Code.BAD_CHANNEL_ID, `channel ${id} in place of ${this.nextRemote}`);
    }
    if (id < this.nextRemote) throw new Violation(Code.CHANNEL_REUSED, `channel ${id}`);
    if (this.remoteOpened === this.remoteMayOpen) {
      throw new Violation(Code.TOO_MANY_CHANNELS, `more than ${this.remoteMayOpen}`);
    }
    const opening = readOpen(payload);
    this.remoteOpened += 1;
    this.nextRemote += 2;
    const channel = this.#channel(id, opening, { r: "w", w: "r", rw: "rw" }[opening.mode]);
    if (this.said && id > this.said.last) {
      channel.discarding = channel.sending.finished = channel.released = true;
    } else {
      this.sink.opened(channel);
    }
  }

  #onChannel(id, kind, payload) {
    const channel = this.channels.get(id);
    if (channel === undefined) {
      if (!(id < (id % 2 === this.nextLocal % 2 ? this.nextLocal : this.nextRemote))) {
        throw new Violation(Code.UNKNOWN_CHANNEL, `channel ${id}`);
      }
      if (kind === Kind.CREDIT || kind === Kind.RESET) return;
      throw new Violation(Code.CHANNEL_ENDED, `channel ${id}`);
    }
    if (kind === Kind.DATA || kind === Kind.PART) this.#onData(channel, kind, payload);
    else if (kind === Kind.CREDIT) this.#onCredit(channel, payload);
    else if (kind === Kind.FINISH) this.#onFinish(channel, payload);
    else if (kind === Kind.RESET) this.#onReset(channel, payload);
    else this.#onBlocked(channel, payload);
  }

  #onData(channel, kind, payload) {
    if (channel.remoteOver) throw new Violation(Code.DATA_AFTER_FINISH, `channel ${channel.id}`);
    const whole = kind === Kind.DATA;
    if (!whole && payload.length < SHORTEST_PART) throw new Violation(Code.BAD_PART, `${payload.length} bytes`);
    const size = channel.partial + payload.length;
    if (size > this.ours.maxMessage) {
      throw new Violation(Code.MESSAGE_TOO_LARGE, `${size} bytes, more than ${this.ours.maxMessage}`);
    }
    const cost = payload.length + (whole ? MESSAGE_COST : 0);
    channel.window.take(cost);
    this.window.take(cost);
    channel.partial = whole ? 0 : size;
    if (channel.discarding) {
      this.window.consume(cost);
      this.#grantSession();
    } else if (!whole) {
      // What arrived may be much larger than what is kept of it.
      channel.parts.push(4 * payload.length < payload.buffer.byteLength ? payload.slice() : payload);
    } else {
      this.messagesReceived += 1;
      const message = channel.parts.length ? joined([...channel.parts, payload], size) : payload.slice();
      channel.parts = [];
      this.sink.message(channel, message);
    }
  }

  #onCredit(channel, payload) {
    const limit = readLimit(payload, channel.sending.limit);
    this.outbox.raise(channel.sending, limit);
  }

  #onFinish(channel, payload) {
    new Reader(payload).end();
    if (channel.remoteOver) throw new Violation(Code.DATA_AFTER_FINISH, `a second FINISH on channel ${channel.id}`);
    if (channel.partial) throw new Violation(Code.BAD_PART, "FINISH inside a message");
    channel.remoteOver = true;
    if (!channel.discarding) this.sink.finished(channel);
    this.#settle(channel);
  }

  #onReset(channel, payload) {
    const reader = new Reader(payload);
    const code = reader.varint();
    const reason = readReason(reader);
    channel.remoteOver = true;
    if (!channel.discarding) {
      const answer = !channel.sending.finished;
      this.outbox.drop(channel.sending, this.sink.reset(channel, code, reason));
      channel.sending.finished = true;
      this.#giveBack(channel);
      if (answer) this.outbox.urgent(channel.id, Kind.RESET, new Uint8Array([Code.CANCELLED]));
    }
    this.#settle(channel);
  }

  #onBlocked(channel, payload) {
    const reader = new Reader(payload);
    const [limit, need] = [reader.varint(), reader.varint()];
    reader.end();
    channel.window.blocked(limit, need);
    if (!channel.discarding) this.#grant(channel);
  }

  #record(payload, now) {
    const [type] = payload;
    const plain = type === Type.ACK || type === Type.END ? this.resumable : !HANDSHAKE.includes(type);
    if (!isRecord(type) || !plain) throw new Violation(Code.BAD_RECORD, `record ${type ?? "of no bytes"}`);
    const fields = readRecord(type, payload.subarray(1));
    switch (type) {
      case Type.PING:
        return this.outbox.record(Type.PONG, fields);
      case Type.PONG:
        return this.#onPong(fields.n, now);
      case Type.GOAWAY:
        return this.#onGoAway(fields);
      case Type.SESSION_CREDIT:
        return this.outbox.raiseSession(checkLimit(fields.limit, this.outbox.limit));
      case Type.SESSION_BLOCKED:
        this.window.blocked(fields.limit, fields.need);
        return this.#grantSession();
      case Type.CHANNEL_CREDIT:
        this.mayOpen = checkLimit(fields.limit, this.mayOpen);
        return this.sink.canOpen();
      case Type.ACK:
        if (fields.frames > this.outbox.log.sent) throw new Violation(Code.BAD_ACK, `${fields.frames} frames`);
        this.outbox.log.release(fields.frames);
        return this.sink.wake(); // there may be room in the log
      default:
        if (!this.leaving) throw new Violation(Code.BAD_RECORD, "END without GOAWAY");
        return this.#closed();
    }
  }

  #onPong(n, now) {
    if (n < 1 || n > this.#pinged) throw new Violation(Code.BAD_RECORD, `PONG ${n} answers nothing`);
    while (this.#pings.length && this.#pings[0].n <= n) {
      const { at } = this.#pings.shift();
      this.rtt = Number.isNaN(this.rtt) ? now - at : this.rtt + (now - at - this.rtt) / 8;
    }
    this.sink.pong(n);
  }

  #onGoAway(fields) {
    if (this.leaving && fields.last > this.leaving.last) {
      throw new Violation(Code.LIMIT_BACKWARDS, `GOAWAY raises its last channel to ${fields.last}`);
    }
    this.leaving = fields;
    for (const channel of [...this.channels.values()]) {
      if (channel.id % 2 !== this.nextLocal % 2 || channel.id <= fields.last) continue;
      this.outbox.drop(channel.sending, this.sink.unserved(channel, fields.code, fields.reason));
      channel.sending.finished = channel.remoteOver = true;
      this.#settle(channel);
    }
    this.sink.leaving(fields.code, fields.reason);
  }

  // Credit, and the end of a channel

  #grant(channel) {
    const limit = channel.remoteOver ? 0 : channel.window.raised();
    if (limit) this.outbox.credit(channel.id, limit);
  }

  #grantSession() {
    const limit = this.window.raised();
    if (limit) this.outbox.record(Type.SESSION_CREDIT, { limit });
  }

  /** What has arrived of an unfinished message is nobody's. */
  #giveBack(channel) {
    this.window.consume(channel.parts.reduce((sum, part) => sum + part.length, 0));
    channel.parts = [];
    this.#grantSession();
  }

  #settle(channel) {
    if (!channel.sending.finished || !channel.remoteOver || channel.ended) return;
    channel.ended = true;
    this.channels.delete(channel.id);
    if (channel.released) this.#giveSlot(channel);
    this.sink.ended(channel);
  }

  #giveSlot(channel) {
    if (channel.id % 2 !== this.nextRemote % 2) return;
    this.#released += 1;
    const limit = this.ours.maxChannels + this.#released;
    const exhausted = this.remoteOpened === this.remoteMayOpen;
    if (!exhausted && limit - this.remoteMayOpen < this.ours.maxChannels / 4) return;
    this.remoteMayOpen = limit;
    this.outbox.record(Type.CHANNEL_CREDIT, { limit });
  }

  // Bytes out

  get pending() {
    return this.#ackDue || this.outbox.pending;
  }

  write(most) {
    if (this.resumable && !this.over && this.framesReceived > this.#acknowledged.frames) {
      this.#acknowledged = { frames: this.framesReceived, bytes: this.bytesReceived };
      this.outbox.record(Type.ACK, { frames: this.framesReceived });
    }
    this.#ackDue = false;
    return this.outbox.write(most);
  }

  // Resumption

  /** Whether the peer waits for an ACK, which is due in 20 ms at most. */
  get owesAck() {
    return this.resumable && !this.over && this.framesReceived > this.#acknowledged.frames;
  }

  acknowledge() {
    this.#ackDue = true;
    this.sink.wake();
  }

  #owe() {
    const bytes = this.bytesReceived - this.#acknowledged.bytes;
    const frames = this.framesReceived - this.#acknowledged.frames;
    const most = Math.min(ACK_BYTES, this.theirs.replayLimit / 2 || ACK_BYTES);
    if (!this.#ackDue && (frames >= ACK_FRAMES || bytes >= most)) this.acknowledge();
  }

  get position() {
    return { frames: this.framesReceived, bytes: this.bytesReceived, oldest: this.outbox.log.oldest };
  }

  /** Whether the peer's position fits ours: null, or why not. */
  judge({ frames, bytes, oldest }) {
    if (oldest > this.framesReceived + 1) return "POSITION_LOST";
    return this.outbox.log.judge(frames, bytes);
  }

  /** There is another connection, and the peer has so many frames: how many go again. */
  rejoin(frames, now) {
    this.heard = now;
    this.#acknowledged = { frames: this.framesReceived, bytes: this.bytesReceived };
    this.#ackDue = false;
    const { outbox } = this;
    outbox.record(Type.SESSION_CREDIT, { limit: this.window.granted });
    outbox.record(Type.CHANNEL_CREDIT, { limit: this.remoteMayOpen });
    if (this.said) outbox.record(Type.GOAWAY, this.said);
    if (this.#pings.length) {
      this.#pings = [{ n: this.#pinged, at: now }];
      outbox.record(Type.PING, { n: this.#pinged });
    }
    return outbox.rejoin(frames);
  }

  /** Whether everything that was sent has arrived. */
  get settled() {
    return !this.resumable || this.outbox.log.size === 0;
  }
}

/** A reason of at most 255 bytes. */
function cut(reason) {
  const bytes = encodeText(reason);
  return bytes.length <= REASON_LIMIT ? reason : new TextDecoder().decode(bytes.subarray(0, REASON_LIMIT - 3), { stream: true });
}

function readLimit(payload, before) {
  const reader = new Reader(payload);
  const limit = reader.varint();
  reader.end();
  return checkLimit(limit, before);
}

function checkLimit(limit, before) {
  if (limit > COUNT_LIMIT) throw new Violation(Code.LIMIT_OVERFLOW, `${limit} is over 2^53`);
  if (limit < before) throw new Violation(Code.LIMIT_BACKWARDS, `${limit} after ${before}`);
  return limit;
}
