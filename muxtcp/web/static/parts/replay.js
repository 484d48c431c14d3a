/** Sequenced frames that were sent, kept until the peer acknowledges them. */

import { Fifo } from "./fifo.js";

export class Replay {
  #kept = new Fifo(); // the bytes of whole frames
  #again = 0; // index of the next one to send again; beyond the end: none
  size = 0; // bytes that are kept
  #released = { frames: 0, bytes: 0 };

  constructor(limit) {
    this.limit = limit;
  }

  get sent() {
    return this.#released.frames + this.#kept.length;
  }

  /** Number of the oldest frame that can be sent again, from 1. */
  get oldest() {
    return this.#released.frames + 1;
  }

  keep(frame) {
    this.#kept.push(frame);
    this.size += frame.length;
    this.#again++;
  }

  /** The peer has so many frames. */
  release(frames) {
    while (this.#released.frames < frames) {
      const frame = this.#kept.shift();
      this.size -= frame.length;
      this.#released.frames += 1;
      this.#released.bytes += frame.length;
      this.#again--;
    }
  }

  /** Whether a peer that claims to have so many frames, of so many bytes, can be ours: null, or why not. */
  judge(frames, bytes) {
    if (frames < this.#released.frames || frames > this.sent) return "POSITION_LOST";
    let sum = this.#released.bytes;
    for (let i = 0; i < frames - this.#released.frames; i++) sum += this.#kept.at(i).length;
    return bytes == sum ? null : "DIVERGED"; // one of them may be a BigInt
  }

  /** Send everything again that is kept: how many frames. */
  rewind() {
    this.#again = 0;
    return this.#kept.length;
  }

  get rewound() {
    return this.#again < this.#kept.length;
  }

  next() {
    return this.#kept.at(this.#again++);
  }
}
