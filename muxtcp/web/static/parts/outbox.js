/** All that one peer sends: whether it has credit, whose turn it is, and what goes again over another connection. */

import { MessageTooLarge } from "./errors.js";
import { Fifo } from "./fifo.js";
import { Replay } from "./replay.js";
import { queued } from "./waiting.js";
import { Kind, MESSAGE_COST, Type, writeRecord, Writer } from "./wire.js";

const FRAGMENT = 16_384; // bytes: every peer accepts so many, and an urgent message waits for no more
const OVERHEAD = 32; // bytes: more than any header has
const FINISH = null; // in place of a message
const PRIORITIES = 4;

/** A block that nobody uses: one serves all sessions. A fresh one costs as much as all that is written into it, in page faults. */
let spare = new Uint8Array(0);

/** A block for so many bytes; not one that is far too large for them, since somebody may keep it. */
function blockOf(size) {
  if (spare.length < size || spare.length > 4 * size) return new Uint8Array(size);
  const block = spare;
  spare = new Uint8Array(0);
  return block;
}

/** The sending half of a channel. */
export class Sending {
  spent = 0; // cost of all messages that were accepted
  announced = -1; // the limit at which BLOCKED was said
  waiting = new Fifo(); // messages without credit, with who waits for them
  accepted = new Fifo(); // messages with credit, and how far each is written
  turn = false; // it stands in the queue of its priority
  finished = false; // FINISH is written, or there never was such a half

  constructor(id, limit, priority) {
    Object.assign(this, { id, limit, priority });
  }
}

export class Outbox {
  spent = 0;
  queued = 0; // bytes of messages that are accepted and not written
  framesSent = 0;
  bytesSent = 0;
  messagesSent = 0;
  #announced = -1;
  #records = new Map(); // the newest of each type
  #control = new Fifo(); // frames that are written before all messages
  #credits = new Map(); // channels with a new limit
  #turns = Array.from({ length: PRIORITIES }, () => new Fifo());
  #waiting = new Set(); // of Sending, whose turn comes round
  #closed = false;

  /**
   * `theirs` is what the peer announced; `replayLimit` 0: nothing is kept; `finished(sending)` hears of each FINISH;
   * `wake()`, that there is something to write.
   */
  constructor(theirs, { sendBuffer, replayLimit, finished, wake }) {
    this.limit = theirs.sessionLimit;
    this.maxMessage = theirs.maxMessage;
    this.sendBuffer = sendBuffer;
    this.log = replayLimit ? new Replay(replayLimit) : null;
    this.finished = finished;
    this.wake = wake;
  }

  // What is to be sent

  record(type, fields) {
    this.#records.set(type, writeRecord(type, fields));
    this.wake();
  }

  /** A frame before all messages: OPEN, RESET, BLOCKED. */
  urgent(channel, kind, payload) {
    this.#control.push({ channel, kind, payload });
    this.wake();
  }

  credit(channel, limit) {
    this.#credits.set(channel, limit);
    this.wake();
  }

  /** Accept a message, and return true, if it need not wait. */
  offer(sending, message) {
    if (message.length > this.maxMessage) throw new MessageTooLarge(message.length, this.maxMessage);
    if (this.#waiting.size || this.#lacks(sending, message)) return false;
    this.#accept(sending, message);
    return true;
  }

  /** Have it accepted in its turn; one that the signal gives up before is not sent. */
  wait(sending, message, signal) {
    return queued(signal, (one) => {
      const leave = sending.waiting.enter({ message, ...one });
      this.#waiting.add(sending);
      this.#admit();
      return () => {
        leave();
        if (!sending.waiting.length) this.#waiting.delete(sending);
        queueMicrotask(() => this.#admit()); // what stood behind it may have credit, unless the same signal ends it as well
      };
    });
  }

  /** FINISH, behind what waits. */
  finish(sending) {
    if (sending.waiting.length) return this.wait(sending, FINISH);
    this.#accept(sending, FINISH);
    return Promise.resolve();
  }

  /** Nothing more is written for a channel, except what is urgent; who waits gets the error. */
  drop(sending, error) {
    this.#waiting.delete(sending);
    this.#credits.delete(sending.id);
    for (; sending.accepted.length; sending.accepted.shift()) {
      const { message, written } = sending.accepted.at(0);
      if (message === FINISH) continue;
      this.spent -= message.length - written + MESSAGE_COST; // the peer will never see it
      this.queued -= message.length - written;
    }
    const waiting = sending.waiting;
    sending.waiting = new Fifo();
    while (waiting.length) waiting.shift().reject(error);
    this.#admit();
  }

  /** Nothing but records is written any more. */
  close() {
    this.#closed = true;
    this.#control.clear();
    this.#credits.clear();
    this.#waiting.clear();
    this.#turns.forEach((turn) => turn.clear());
  }

  // Credit

  raise(sending, limit) {
    sending.limit = limit;
    this.#admit();
  }

  raiseSession(limit) {
    this.limit = limit;
    this.#admit();
  }

  #lacks(sending, message) {
    if (message === FINISH) return null;
    const cost = message.length + MESSAGE_COST;
    if (this.queued >= this.sendBuffer) return "buffer";
    if (sending.spent + cost > sending.limit) return "channel";
    return this.spent + cost > this.limit ? "session" : null;
  }

  /** Accept what has credit now, a message of each channel in turn, and announce what has not. */
  #admit() {
    for (const sending of this.#waiting) {
      const { message, resolve } = sending.waiting.at(0);
      const lacking = this.#lacks(sending, message);
      if (lacking === "channel") {
        this.#announce(sending, message);
        continue;
      }
      if (lacking === "session") this.#announceSession(message);
      if (lacking) return; // what is smaller does not overtake, or a large message would wait for ever
      sending.waiting.shift();
      this.#waiting.delete(sending);
      if (sending.waiting.length) this.#waiting.add(sending); // and this loop comes to it again
      this.#accept(sending, message);
      resolve();
    }
  }

  #announce(sending, message) {
    if (sending.announced === sending.limit) return;
    sending.announced = sending.limit;
    const need = sending.spent + message.length + MESSAGE_COST;
    this.urgent(sending.id, Kind.BLOCKED, new Writer().varint(sending.limit).varint(need).done());
  }

  #announceSession(message) {
    if (this.#announced === this.limit) return;
    this.#announced = this.limit;
    this.record(Type.SESSION_BLOCKED, { limit: this.limit, need: this.spent + message.length + MESSAGE_COST });
  }

  #accept(sending, message) {
    sending.accepted.push({ message, written: 0 });
    if (message !== FINISH) {
      sending.spent += message.length + MESSAGE_COST;
      this.spent += message.length + MESSAGE_COST;
      this.queued += message.length;
      this.messagesSent += 1;
    }
    if (!sending.turn) {
      sending.turn = true;
      this.#turns[sending.priority].push(sending);
    }
    this.wake();
  }

  // Writing

  /** Whether `write()` would give anything. */
  get pending() {
    if (this.#records.size || this.#closed) return this.#records.size > 0;
    if (this.log && (this.log.rewound || this.#full(0))) return this.log.rewound;
    return this.#control.length + this.#credits.size > 0 || this.#turns.some((turn) => turn.length);
  }

  #full(size) {
    return this.log !== null && this.log.size > 0 && this.log.size + size + FRAGMENT + OVERHEAD > this.log.limit;
  }

  /** About `most` bytes of whole frames; none if there is nothing to send. */
  write(most) {
    const size = Math.min(this.queued + 1_024, most + FRAGMENT + 1_024);
    const writer = new Writer(this.log ? new Uint8Array(size) : blockOf(size));
    for (const payload of this.#records.values()) writer.frame(0, Kind.DATA, payload);
    this.#records.clear();
    if (this.#closed) return writer.done();
    while (this.log?.rewound && writer.at < most) writer.raw(this.log.next());
    const first = writer.at;
    const ends = []; // of the frames that are kept
    while (writer.at < most && !this.log?.rewound && !this.#full(writer.at - first) && this.#next(writer)) ends.push(writer.at);
    const bytes = writer.done();
    this.framesSent += ends.length;
    this.bytesSent += bytes.length;
    if (this.log) ends.forEach((end, i) => this.log.keep(bytes.subarray(i ? ends[i - 1] : first, end)));
    if (ends.length) this.#admit(); // there may be room in the buffer
    return bytes;
  }

  /** The connection needs what `write()` gave no more. */
  recycle(bytes) {
    if (!this.log && bytes.buffer.byteLength > spare.length) spare = new Uint8Array(bytes.buffer);
  }

  /** Write one sequenced frame, if there is one. */
  #next(writer) {
    if (this.#control.length) {
      const { channel, kind, payload } = this.#control.shift();
      writer.frame(channel, kind, payload);
      return true;
    }
    for (const [channel, limit] of this.#credits) {
      this.#credits.delete(channel);
      writer.frame(channel, Kind.CREDIT, new Writer().varint(limit).done());
      return true;
    }
    for (const turn of this.#turns) {
      while (turn.length) {
        const sending = turn.shift();
        sending.turn = sending.accepted.length > 0;
        if (!sending.turn) continue; // it was dropped
        this.#fragment(sending, writer);
        sending.turn = sending.accepted.length > 0;
        if (sending.turn) turn.push(sending);
        return true;
      }
    }
    return false;
  }

  #fragment(sending, writer) {
    const item = sending.accepted.at(0);
    const { message, written } = item;
    if (message === FINISH) {
      sending.accepted.shift();
      writer.frame(sending.id, Kind.FINISH, new Uint8Array(0));
      sending.finished = true;
      this.finished(sending);
      return;
    }
    const end = Math.min(written + FRAGMENT, message.length);
    this.queued -= end - written;
    if (end < message.length) {
      writer.frame(sending.id, Kind.PART, message.subarray(written, end));
      item.written = end;
    } else {
      writer.frame(sending.id, Kind.DATA, written ? message.subarray(written) : message);
      sending.accepted.shift();
    }
  }

  /** There is another connection: send again what the peer lacks. How many frames. */
  rejoin(frames) {
    this.log.release(frames);
    this.#announced = -1;
    this.#admit();
    this.wake();
    return this.log.rewind();
  }
}
