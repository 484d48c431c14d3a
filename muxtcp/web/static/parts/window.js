/** Credit that is granted to the peer (section 7 of docs/PROTOCOL.md). */

import { Code, Violation } from "./errors.js";
import { COUNT_LIMIT } from "./wire.js";

/** What may be sent to us on a channel: cumulative counts. */
export class Window {
  received = 0;
  consumed = 0;
  wanted = 0; // the limit that the peer said it needs
  #lowest = Infinity; // the least that was unread since the peer last stood
  #grown = 0; // the limit with which the window last grew: who stands below it did not know yet

  constructor(size, largest, ceiling) {
    Object.assign(this, { size, granted: size, smallest: size, largest, ceiling: Math.max(ceiling, largest) });
  }

  get unread() {
    return this.received - this.consumed;
  }

  take(cost) {
    this.received += cost;
    if (this.received > this.granted) {
      throw new Violation(Code.CREDIT_EXCEEDED, `${this.received} is over the limit of ${this.granted}`);
    }
  }

  consume(cost) {
    this.consumed += cost;
    this.#lowest = Math.min(this.#lowest, this.unread);
  }

  /** The peer waits at this limit, and needs the other. */
  blocked(limit, need) {
    if (limit > this.granted) throw new Violation(Code.LIMIT_OVERFLOW, `blocked at ${limit}, granted ${this.granted}`);
    this.wanted = Math.min(Number(need), this.granted + this.largest); // which is all that an honest peer can need
    const { size } = this;
    if (limit >= this.#grown) this.#grow(this.wider(Math.min(this.#lowest, this.unread)));
    if (need > this.granted) this.#grow(this.fitting());
    if (this.size > size) this.#grown = this.consumed + this.size;
    this.#lowest = this.unread;
  }

  #grow(size) {
    this.size = Math.max(this.size, Math.min(size, this.ceiling));
  }

  /** The size when the peer has used up all it had, while so much lay unread all the time. A slow reader gets no more. */
  wider(unread) {
    return unread < this.size / 8 ? 2 * this.size : this.size;
  }

  /** The size that lets the message through for which the peer waits, once all before it is read. */
  fitting() {
    return Math.min(this.wanted - this.received, this.largest);
  }

  /** The limit that is to be announced now, or 0. */
  raised() {
    const limit = Math.min(this.consumed + this.size, COUNT_LIMIT);
    const step = limit - this.granted;
    const waited = this.wanted > this.granted && (limit >= this.wanted || this.unread === 0);
    if (step <= 0 || (step < this.size / 4 && !waited)) return 0;
    this.granted = limit;
    return limit;
  }
}

/** What may be sent on all channels together. What lies in idle ones holds up no other. */
export class SessionWindow extends Window {
  wider(idle) {
    return idle + Math.max(2 * (this.size - idle), this.smallest);
  }

  fitting() {
    return this.wanted - this.consumed;
  }
}
