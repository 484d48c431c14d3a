/** What both peers need to know each other again: section 11 of docs/PROTOCOL.md, as a client sees it. */

import { hkdf, hmac, same, sha256 } from "./digest.js";
import { Code, Violation } from "./errors.js";
import { encodeText, joined, readRecord, Type, VERSION, writeRecord } from "./wire.js";

const MAC = 32;

export const nonce = () => crypto.getRandomValues(new Uint8Array(16));

export const checkOf = (secret) => hmac(secret, encodeText("muxtcp check")).subarray(0, 16);

/** The secret of a pre-shared key; it never travels. */
export const derived = (psk, clientNonce, serverNonce, id, incarnation) =>
  hkdf(psk, joined([clientNonce, serverNonce]), joined([encodeText("muxtcp resume"), id, incarnation]));

/** Over the parameters of HELLO and WELCOME as they were sent. */
export const limitsOf = (hello, welcome) => sha256(hello, welcome).subarray(0, 16);

export class Ticket {
  generation = 0;
  #question; // fields of the newest RESUME
  #answer; // fields of its RESUME_OK

  constructor(id, incarnation, secret, limits) {
    Object.assign(this, { id, incarnation, secret, limits });
  }

  /** Of the parameter in WELCOME; a Violation if the server is not who it must be. */
  static ofWelcome(wire, clientNonce, psk, limits) {
    const [id, incarnation, serverNonce, kind] = [wire.slice(0, 16), wire.slice(16, 24), wire.subarray(24, 40), wire[40]];
    if (wire.length !== (kind === 0 ? 89 : kind === 1 ? 57 : NaN)) {
      throw new Violation(Code.BAD_PARAMETER, `a ticket of kind ${kind} and ${wire.length} bytes`);
    }
    if ((kind === 1) !== (psk !== undefined)) {
      const [with_, without] = psk ? ["this side", "the server"] : ["the server", "this side"];
      throw new Violation(Code.UNAUTHENTICATED, `${with_} has a pre-shared key, and ${without} has none`);
    }
    const secret = psk ? derived(psk, clientNonce, serverNonce, id, incarnation) : wire.slice(41, 73);
    if (!same(checkOf(secret), wire.subarray(-16))) {
      throw new Violation(Code.UNAUTHENTICATED, psk ? "the server has another pre-shared key" : "the check is wrong");
    }
    return new Ticket(id, incarnation, secret, limits);
  }

  #mac(name, ...pieces) {
    return hmac(this.secret, encodeText(name), ...pieces);
  }

  /** The next RESUME. */
  ask(position) {
    this.generation += 1;
    const { id, incarnation, generation, limits } = this;
    const said = { version: VERSION, id, incarnation, generation, nonce: nonce(), limits, ...position };
    const open = writeRecord(Type.RESUME, { ...said, mac: new Uint8Array(MAC) });
    const mac = this.#mac("RESUME", open.subarray(1, -MAC));
    open.set(mac, open.length - MAC);
    this.#question = open.subarray(1);
    return open;
  }

  /** The server's position, out of the fields of its RESUME_OK; a Violation if it is not the answer to our question. */
  believe(answer) {
    const mac = this.#mac("RESUME_OK", this.#question, answer.subarray(0, -MAC));
    if (!same(mac, answer.subarray(-MAC))) throw new Violation(Code.UNAUTHENTICATED, "RESUME_OK with a wrong mac");
    const { generation, frames, bytes, oldest } = readRecord(Type.RESUME_OK, answer);
    if (generation !== this.generation) throw new Violation(Code.UNAUTHENTICATED, `generation ${generation} answers`);
    this.#answer = answer.slice();
    return { frames, bytes, oldest };
  }

  /** RESUME_CONFIRM. */
  prove() {
    return writeRecord(Type.RESUME_CONFIRM, { mac: this.#mac("RESUME_CONFIRM", this.#question, this.#answer) });
  }
}
