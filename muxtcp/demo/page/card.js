/** One channel on the page: its newest number, a line of those before, and what has been counted. */

const POINTS = 60;
const WINDOW = 8; // looks that a rate is taken over
const PER_SECOND = [0, 1, 2, 4, 8, 16, Infinity]; // what the slider can be set to

const grouped = new Intl.NumberFormat("en");
export const number = (value) => grouped.format(value);

export const perSecond = (value) => (value < 10 ? value.toFixed(1) : value.toFixed(0));

export function size(bytes) {
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return bytes >= 1e3 ? `${(bytes / 1e3).toFixed(1)} kB` : `${bytes.toFixed(0)} B`;
}

const copyOf = (id) => document.getElementById(id).content.firstElementChild.cloneNode(true);

export class Card {
  messages = 0;
  gaps = 0; // messages that were skipped within a session
  doubled = 0; // messages that came again
  perSecond = 0;
  bytesPerSecond = 0;
  #expected = 0;
  #reading = null;
  #readings = [];
  #bytes = 0;
  #looks = []; // messages and bytes at each
  #most = Infinity; // messages a second that are read
  #moved = () => {}; // ends a breath

  constructor(name, priority) {
    this.element = copyOf("card");
    const title = this.element.querySelector("h2");
    title.textContent = name;
    title.id = `card-${name}`;
    this.element.setAttribute("aria-labelledby", title.id);
    this.element.dataset.name = name;
    this.element.querySelector(".priority").textContent = priority;
    if (priority === "urgent") this.element.querySelector("dl").before(copyOf("latency"));
    if (priority === "bulk") this.#throttle(copyOf("throttle"));
  }

  #throttle(label) {
    this.element.querySelector("dl").before(label);
    const slider = label.querySelector("input");
    slider.setAttribute("aria-label", `Messages of ${this.element.dataset.name} to read each second`);
    slider.addEventListener("input", () => {
      this.#most = PER_SECOND[slider.value];
      const text = this.#most === Infinity ? "all" : this.#most ? `${this.#most}/s` : "none";
      label.querySelector("output").textContent = text;
      slider.setAttribute("aria-valuetext", text);
      this.#moved();
    });
  }

  /** In a new session numbers begin at 0 again. */
  begin() {
    this.#expected = 0;
  }

  add(count, reading, size) {
    this.messages += 1;
    this.#bytes += size;
    this.#reading = reading;
    if (count < this.#expected) this.doubled += 1;
    else {
      this.gaps += count - this.#expected;
      this.#expected = count + 1;
    }
  }

  /** Wait before the next message is read, for as long as the slider says. */
  async breath() {
    while (this.#most < Infinity) {
      const most = this.#most;
      let timer;
      await new Promise((resolve) => {
        this.#moved = resolve;
        if (most) timer = setTimeout(resolve, 1_000 / most);
      });
      clearTimeout(timer);
      if (most === this.#most) return;
    }
  }

  latency(seconds) {
    this.element.querySelector(".latency").textContent = Number.isNaN(seconds) ? "–" : `${(seconds * 1_000).toFixed(1)} ms`;
  }

  /** Show what has come, so many seconds after the last look. */
  look(seconds) {
    this.#looks.push([this.messages, this.#bytes]);
    if (this.#looks.length > WINDOW + 1) this.#looks.shift();
    const [[messages, bytes]] = this.#looks;
    const span = Math.max(this.#looks.length - 1, 1) * seconds;
    this.perSecond = (this.messages - messages) / span;
    this.bytesPerSecond = (this.#bytes - bytes) / span;
    if (this.#reading !== null) this.#readings.push(this.#reading);
    if (this.#readings.length > POINTS) this.#readings.shift();
    const { dataset } = this.element;
    Object.assign(dataset, { received: this.messages, gaps: this.gaps, doubled: this.doubled, perSecond: this.perSecond });
    this.#show(".rate", `${perSecond(this.perSecond)}/s · ${size(this.bytesPerSecond)}/s`);
    this.#show(".received", number(this.messages));
    this.#show(".gaps", number(this.gaps));
    this.#show(".doubled", number(this.doubled));
    this.#show(".value data", this.#reading === null ? "–" : this.#reading.toFixed(2));
    this.#draw();
  }

  #show(where, text) {
    const element = this.element.querySelector(where);
    if (element.textContent !== text) element.textContent = text;
  }

  /** A line that ends at the right edge. */
  #draw() {
    const least = Math.min(...this.#readings);
    const span = Math.max(...this.#readings) - least || 1;
    const first = POINTS - this.#readings.length;
    const x = (i) => ((240 * (first + i)) / (POINTS - 1)).toFixed(1);
    const points = this.#readings.map((reading, i) => `${x(i)},${(44 - (40 * (reading - least)) / span).toFixed(1)}`).join(" ");
    this.element.querySelector(".line").setAttribute("points", points);
    this.element.querySelector(".area").setAttribute("points", points && `${x(0)},48 ${points} 240,48`);
  }
}
