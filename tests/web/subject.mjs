/**
 * The JavaScript module under test: the test service of docs/conformance.md, as a server or as a client.
 *
 *     node tests/web/subject.mjs --listen 127.0.0.1:7000
 *     node tests/web/subject.mjs --connect 127.0.0.1:7000
 */

import { parseArgs } from "node:util";
import { crc32 } from "./crc32.mjs";
import { serve } from "./server.mjs";
import {
  ChannelReset, connect, constant, EndOfStream, HandshakeError, MessageTooLarge, RemoteProtocolError, SessionClosed, SessionLost,
} from "../../muxtcp/web/static/muxtcp.js";

const CONTROL = "conformance/control";
const AT_ONCE = constant(0, { jitter: 0 });
const LIMITS = {
  max_frame: "maxFrame", max_message: "maxMessage", max_channels: "maxChannels", replay_limit: "replayLimit",
  channel_limit: "channelWindow", session_limit: "sessionWindow",
};

/** The message of that number on its channel. */
const pattern = (number, size) => Uint8Array.from({ length: size }, (_, i) => (number + i) % 251);

class NoSuchSession extends Error {}

/** Why something failed, or how a session ended, in the words of the page. */
function how(error) {
  if (error instanceof ChannelReset) return `reset ${error.code} ${error.reason}`.trim();
  if (error instanceof MessageTooLarge) return "too_large";
  if (error instanceof RemoteProtocolError) return `violation ${error.code}`;
  if (error instanceof HandshakeError) return `refused ${error.code} ${Math.round(error.retryAfter * 1000)} ${error.reason}`.trim();
  if (error instanceof SessionClosed) return `closed ${error.code}`;
  if (error instanceof SessionLost) return "lost";
  return error instanceof NoSuchSession ? "unknown" : "not_allowed";
}

/** The options of a command, as the module wants them. */
function optionsOf(words) {
  const { resume, key, handshake_timeout: timeout, ...limits } = Object.fromEntries(words.map((word) => word.split("=")));
  const config = Object.fromEntries(Object.entries(limits).map(([name, value]) => [LIMITS[name], Number(value)]));
  if (timeout) config.handshakeTimeout = Number(timeout) / 1000;
  return { config, resume: resume && Number(resume) / 1000, psk: key && Uint8Array.from(Buffer.from(key, "hex")) };
}

/** What the runner has to do with one session: its channels, which nobody touches before it says so. */
class Held {
  channels = new Map();
  sent = new Map();
  waiting = [];

  constructor(session) {
    this.session = session;
  }

  hold(channel) {
    this.channels.set(channel.id, channel);
    this.waiting.splice(0).forEach((wake) => wake());
  }

  /** The channel of that number, as soon as it is here. */
  async channel(number) {
    while (!this.channels.has(+number)) await new Promise((wake) => this.waiting.push(wake));
    return this.channels.get(+number);
  }
}

const named = new Map();
const held = new WeakMap();
let host = "127.0.0.1";

function of(session) {
  if (!held.has(session)) held.set(session, new Held(session));
  return held.get(session);
}

function known(name) {
  if (!named.has(name)) throw new NoSuchSession(name);
  return named.get(name);
}

async function handler(channel) {
  if (channel.name === "echo") for await (const message of channel) await channel.send(message);
  else if (channel.name === "sink") for await (const _ of channel);
  else if (channel.name === CONTROL) await obey(channel);
  else {
    of(channel.session).hold(channel);
    await channel.session.closed;
  }
}

/** Carry out each command of the runner beside the others, for some take long. */
async function obey(control) {
  for await (const message of control) answer(control, Buffer.from(message).toString());
}

async function answer(control, command) {
  const [number, verb, ...words] = command.split(" ");
  let told = "failed unsupported";
  try {
    if (Object.hasOwn(COMMANDS, verb)) told = `ok ${(await COMMANDS[verb](...words)) ?? ""}`.trim();
  } catch (error) {
    told = `failed ${how(error)}`;
  }
  await control.send(Buffer.from(`${number} ${told}`)).catch(() => {}); // the runner may have gone
}

async function listen(port, words) {
  const { resume = 30, ...options } = optionsOf(words);
  const onSession = (session) => {
    const name = session.peerMeta.conformance;
    if (name !== undefined) named.set(name, of(session));
  };
  return (await serve({ ...options, resume, handler, onSession }, host, port)).port;
}

const COMMANDS = {
  listen: (...words) => listen(0, words),
  async connect(name, port, ...words) {
    const { resume, ...options } = optionsOf(words);
    let asked = 0; // the first delays are for a session that does not come about: it gets one attempt
    const how = resume ? { resume, backoff: () => (asked++ ? AT_ONCE() : []) } : {};
    named.set(name, of(await connect(`tcp://${host}:${port}`, { ...options, ...how, handler })));
  },
  async ping(name) {
    await known(name).session.ping();
  },
  async leave(name, code = "0", ...reason) {
    await known(name).session.drain(Number(code), reason.join(" "));
  },
  async close(name) {
    await known(name).session.close();
  },
  abort(name) {
    known(name).session.abort();
  },
  async ended(name) {
    return how(await known(name).session.closed);
  },

  async open(name, title, mode) {
    const it = known(name);
    const channel = await it.session.open(title, { mode });
    it.hold(channel);
    return channel.id;
  },
  async send(name, number, size, count = "1") {
    const it = known(name);
    const channel = await it.channel(number);
    for (let left = +count; left > 0; left--) {
      const sent = it.sent.get(channel.id) ?? 0;
      it.sent.set(channel.id, sent + 1);
      await channel.send(pattern(sent, +size));
    }
  },
  async read(name, number) {
    const channel = await known(name).channel(number);
    try {
      const message = await channel.recv();
      return `${message.length} ${crc32(message)}`;
    } catch (error) {
      if (error instanceof EndOfStream) return "end";
      throw error;
    }
  },
  async finish(name, number) {
    await (await known(name).channel(number)).sendEof();
  },
  async reset(name, number, code) {
    (await known(name).channel(number)).reset(Number(code));
  },
  async drop(name, number) {
    await (await known(name).channel(number)).close();
  },
};

const { values } = parseArgs({ options: { listen: { type: "string" }, connect: { type: "string" }, loop: { type: "string" } } });
const place = (values.listen ?? values.connect).split(":");
host = place[0];
if (values.connect) {
  const session = await connect(`tcp://${values.connect}`, { handler });
  await session.closed;
  process.exit();
}
console.log(`listening on tcp://${host}:${await listen(+place[1], [])}`);
