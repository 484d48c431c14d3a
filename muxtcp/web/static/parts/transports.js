/**
 * Connections as byte streams: a WebSocket anywhere, TCP and TLS in Node.
 *
 * Each has write(bytes), which returns whether they may be overwritten at once; room, whether to go on writing; end(), abort();
 * and calls onData(chunk), onRoom(), and once onEnd(reason): null when the peer ended its direction.
 */

import { within } from "./waiting.js";

const FULL = 65_536; // bytes that wait in a WebSocket: what is urgent waits behind them
const LOOK_AGAIN = 1; // ms: a WebSocket does not say when it has room

class Transport {
  onData = () => {};
  onRoom = () => {};
  onEnd = () => {};
  #ended = false;
  #held = null; // what happened since hold()

  /** Keep what comes until somebody is there for it: release(). */
  hold() {
    this.#held = [];
  }

  release() {
    const held = this.#held ?? [];
    this.#held = null;
    held.forEach((tell) => tell());
  }

  received(chunk) {
    if (this.#held) this.#held.push(() => this.onData(chunk));
    else this.onData(chunk);
  }

  ended(reason) {
    if (this.#ended) return;
    this.#ended = true;
    if (this.#held) this.#held.push(() => this.onEnd(reason));
    else this.onEnd(reason);
  }
}

class WebSocketTransport extends Transport {
  #socket;
  #timer;

  constructor(socket) {
    super();
    this.#socket = socket;
    socket.onmessage = ({ data }) => {
      if (typeof data !== "string") return this.received(new Uint8Array(data));
      this.abort();
      this.ended("the server sent text, which muxtcp does not");
    };
    socket.onclose = ({ wasClean, code, reason }) => {
      clearTimeout(this.#timer);
      const clean = wasClean && (code === 1000 || code === 1005);
      this.ended(clean ? null : `the WebSocket was closed with ${code} ${reason}`.trim());
    };
    socket.onerror = () => {};
  }

  write(bytes) {
    this.#socket.send(bytes, this.#look); // the library `ws` calls back when they are gone, which the standard does not
    return this.#socket.bufferedAmount === 0;
  }

  get room() {
    if (this.#socket.bufferedAmount < FULL) return true;
    this.#timer ??= setTimeout(this.#look, LOOK_AGAIN);
    return false;
  }

  #look = () => {
    if (this.#timer === undefined) return; // nobody waits
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.onRoom();
  };

  end() {
    this.#socket.close(1000);
  }

  abort() {
    clearTimeout(this.#timer);
    this.#socket.close(4000, "aborted");
  }
}

class SocketTransport extends Transport {
  #socket;

  constructor(socket) {
    super();
    this.#socket = socket;
    // A Buffer is a Uint8Array whose slice() is no copy.
    socket.on("data", ({ buffer, byteOffset, length }) => this.received(new Uint8Array(buffer, byteOffset, length)));
    socket.on("drain", () => this.onRoom());
    socket.on("end", () => this.ended(null));
    socket.on("error", (error) => this.ended(error.message));
    socket.on("close", () => this.ended("the connection is gone"));
  }

  write(bytes) {
    this.#socket.write(bytes);
    return this.#socket.writableLength === 0; // the kernel has them, or TLS a copy
  }

  get room() {
    return !this.#socket.writableNeedDrain;
  }

  end() {
    this.#socket.end();
  }

  abort() {
    this.#socket.destroy();
  }
}

/** A connected net.Socket, which must have been made with allowHalfOpen. */
export const ofSocket = (socket) => new SocketTransport(socket);

/** An open WebSocket whose binaryType is "arraybuffer". */
export const ofWebSocket = (socket) => new WebSocketTransport(socket);

/** Connect to a ws:, wss:, tcp: or tls: URL, for at most so many seconds, and until the signal. */
export async function dial(url, { WebSocket = globalThis.WebSocket, connectTimeout, signal }) {
  signal.throwIfAborted();
  const { protocol } = new URL(url, globalThis.location?.href);
  if (protocol === "ws:" || protocol === "wss:") return dialWebSocket(url, WebSocket, connectTimeout, signal);
  if (protocol === "tcp:" || protocol === "tls:") return dialSocket(new URL(url), connectTimeout, signal);
  throw new TypeError(`${url} begins with none of ws: wss: tcp: tls:`);
}

function dialWebSocket(url, WebSocket, timeout, signal) {
  if (!WebSocket) throw new TypeError("there is no WebSocket here: give one in the options, or use Node 22 or newer");
  return connected(url, timeout, signal, (resolve, reject) => {
    const socket = new WebSocket(url, "muxtcp");
    socket.binaryType = "arraybuffer";
    socket.onopen = () => resolve(ofWebSocket(socket));
    socket.onerror = () => reject(new Error(`${url}: no WebSocket came about`));
    socket.onclose = ({ code, reason }) => reject(new Error(`${url}: the WebSocket was closed with ${code} ${reason}`.trim()));
    return () => {
      socket.onopen = socket.onclose = null;
      socket.onerror = () => {}; // the library `ws` tells of it, and ends the process if nobody hears
      socket.close();
    };
  });
}

async function dialSocket({ protocol, hostname, port }, timeout, signal) {
  const secure = protocol === "tls:";
  const net = await import("node:net");
  const { connect } = secure ? await import("node:tls") : net;
  const host = hostname.replace(/^\[|\]$/g, "");
  return connected(`${host}:${port}`, timeout, signal, (resolve, reject) => {
    const socket = connect({ host, port: +port, servername: net.isIP(host) ? undefined : host, noDelay: true, allowHalfOpen: true });
    socket.once("error", reject);
    socket.once(secure ? "secureConnect" : "connect", () => {
      socket.off("error", reject);
      resolve(ofSocket(socket));
    });
    return () => socket.destroy();
  });
}

/** The connection that `begin(resolve, reject)` tries to make; it returns how to drop it, whether it failed or was given up. */
async function connected(place, timeout, signal, begin) {
  let drop = () => {};
  const connecting = new Promise((resolve, reject) => { drop = begin(resolve, reject); });
  try {
    return await within(timeout, connecting, `${place}: no connection`, signal);
  } catch (error) {
    drop();
    throw error;
  }
}
