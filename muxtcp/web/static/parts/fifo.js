/** A queue. An array's own shift() moves all that is behind. */
export class Fifo {
  #items = [];
  #head = 0;

  get length() {
    return this.#items.length - this.#head;
  }

  push(item) {
    this.#items.push(item);
  }

  /** push(), and how to take the item out again, if it is still there. */
  enter(item) {
    this.push(item);
    return () => {
      const place = this.#items.indexOf(item, this.#head);
      if (place >= 0) this.#items.splice(place, 1);
    };
  }

  at(index) {
    return this.#items[this.#head + index];
  }

  shift() {
    const item = this.#items[this.#head];
    this.#items[this.#head++] = undefined;
    if (this.#head === this.#items.length) this.clear();
    else if (this.#head > 1_024 && 2 * this.#head > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  clear() {
    this.#items = [];
    this.#head = 0;
  }
}
