/** Credit that is granted to the peer (section 7 of docs/PROTOCOL.md). */

import { Code, Violation } from "./errors.js";
import { COUNT_LIMIT } from "./wire.js";

/** What may be sent to us, on a channel or in the session: cumulative counts. */
export class Window {
  received = 0;
  consumed = 0;
  #wanted = 0; // the limit that the peer said it needs

  constructor(size, largest, ceiling) {
    Object.assign(this, { size, granted: size, largest, ceiling: Math.max(ceiling, largest) });
  }

  take(cost) {
    this.received += cost;
    if (this.received > this.granted) {
      throw new Violation(Code.CREDIT_EXCEEDED, `${this.received} is over the limit of ${this.granted}`);
    }
  }

  /** The peer waits at this limit: grow, so that any message fits, and a busy peer waits less often. */
  blocked(limit, need) {
    if (limit > this.granted) throw new Violation(Code.LIMIT_OVERFLOW, `blocked at ${limit}, granted ${this.granted}`);
    if (need <= this.granted) return; // an answer is on its way
    this.#wanted = need;
    this.size = Math.min(Math.max(2 * this.size, this.largest), this.ceiling);
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
