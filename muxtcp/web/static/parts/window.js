/** Credit that is granted to the peer (section 7 of docs/PROTOCOL.md). */

import { Code, Violation } from "./errors.js";
import { COUNT_LIMIT } from "./wire.js";

/** What may be sent to us on a channel: cumulative counts. */
export class Window {
  received = 0;
  consumed = 0;
  #wanted = 0; // the limit that the peer said it needs
  #lowest = Infinity; // the least that was unread since the peer last stood
  #grown = 0; // the limit with which the window last grew: who stands below it did not know yet

  constructor(size, largest, ceiling) {
    Object.assign(this, { size, granted: size, largest, ceiling: Math.max(ceiling, largest) });
  }

  take(cost) {
    this.received += cost;
    if (this.received > this.granted) {
      throw new Violation(Code.CREDIT_EXCEEDED, `${this.received} is over the limit of ${this.granted}`);
    }
  }

  consume(cost) {
    this.consumed += cost;
    this.#lowest = Math.min(this.#lowest, this.received - this.consumed);
  }

  /** The peer waits at this limit. */
  blocked(limit, need) {
    if (limit > this.granted) throw new Violation(Code.LIMIT_OVERFLOW, `blocked at ${limit}, granted ${this.granted}`);
    this.#wanted = Math.min(need, this.granted + this.largest); // which is all that an honest peer can need
    if (limit >= this.#grown && this.#lowest < this.size / 8) {
      this.grow(2 * this.size); // its reader had taken nearly everything: the window is what holds it up
      this.#grown = this.consumed + this.size;
    }
    this.#lowest = this.received - this.consumed;
    if (need > this.granted) this.grow(Math.min(this.#wanted - this.received, this.largest)); // one message must fit
  }

  grow(size) {
    this.size = Math.max(this.size, Math.min(size, this.ceiling));
  }

  /** The limit that is to be announced now, or 0. */
  raised() {
    const limit = Math.min(this.consumed + this.size, COUNT_LIMIT);
    const step = limit - this.granted;
    const waited = this.#wanted > this.granted && (limit >= this.#wanted || this.consumed === this.received);
    if (step <= 0 || (step < this.size / 4 && !waited)) return 0;
    this.granted = limit;
    return limit;
  }
}

/** What may be sent on all channels together. */
export class SessionWindow extends Window {
  blocked(limit, need) {
    super.blocked(limit, need);
    // It may be full of what nobody reads: one idle channel would hold up all others.
    if (need > this.granted) this.grow(2 * this.size);
  }
}
