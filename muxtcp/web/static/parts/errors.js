/** What can go wrong, and the codes by which the two peers tell each other (section 12 of docs/PROTOCOL.md). */

export const Code = Object.freeze({
  NO_ERROR: 0x00, INTERNAL: 0x01, CANCELLED: 0x02, CALM: 0x03, SHUTDOWN: 0x04, TIMEOUT: 0x05,
  NOT_FOUND: 0x10, FORBIDDEN: 0x11, BUSY: 0x12, UNSUPPORTED: 0x13,
  UNAUTHENTICATED: 0x20, BAD_VERSION: 0x21, LIMITS: 0x22, HANDSHAKE_TIMEOUT: 0x23, HANDSHAKE_TOO_LARGE: 0x24,
  BAD_PARAMETER: 0x25,
  BAD_PREFACE: 0x100, BAD_VARINT: 0x101, BAD_FRAME: 0x102, BAD_KIND: 0x103, BAD_RECORD: 0x104, FRAME_TOO_LARGE: 0x105,
  MESSAGE_TOO_LARGE: 0x106, BAD_PART: 0x107, CREDIT_EXCEEDED: 0x108, LIMIT_BACKWARDS: 0x109, LIMIT_OVERFLOW: 0x10a,
  BAD_CHANNEL_ID: 0x10b, CHANNEL_REUSED: 0x10c, UNKNOWN_CHANNEL: 0x10d, CHANNEL_ENDED: 0x10e, TOO_MANY_CHANNELS: 0x10f,
  DATA_AFTER_FINISH: 0x110, BAD_OPEN: 0x111, BAD_UTF8: 0x112, EARLY_FRAME: 0x113, BAD_ACK: 0x114,
});

const NAMES = new Map(Object.entries(Code).map(([name, code]) => [code, name]));

/** The name of a code, or the number of one that has none: "BAD_FRAME", "0x1234". */
export function nameOf(code) {
  return NAMES.get(code) ?? `0x${code.toString(16)}`;
}

const told = (code, reason) => (reason ? `${nameOf(code)}: ${reason}` : nameOf(code));

export class MuxError extends Error {
  get name() {
    return this.constructor.name;
  }
}

/** The peer broke a rule; thrown by the readers, and caught by who speaks with that peer. */
export class Violation extends MuxError {
  constructor(code, reason = "") {
    super(told(code, reason));
    this.code = code;
    this.reason = reason;
  }
}

/** We asked for something illegal; nothing was sent. */
export class LocalProtocolError extends MuxError {}

export class ProtocolError extends MuxError {
  constructor(code, reason) {
    super(`the peer broke the rules: ${told(code, reason)}`);
    this.code = code;
    this.reason = reason;
  }
}

export class RemoteProtocolError extends ProtocolError {}

/** The session was closed in good order, by either side. */
export class SessionClosed extends MuxError {
  constructor(code, reason, remote) {
    super(`the ${remote ? "peer" : "user"} closed the session: ${told(code, reason)}`);
    this.code = code;
    this.reason = reason;
    this.remote = remote;
  }
}

/** The session ended otherwise; `why` is the server's word where it could not be resumed: "EXPIRED". */
export class SessionLost extends MuxError {
  constructor(reason, { cause, why } = {}) {
    super(reason, { cause });
    this.why = why;
  }
}

/** No session came to be: refused, by either side. */
export class HandshakeError extends MuxError {
  constructor(code, reason, retryAfter = 0) {
    super(told(code, reason));
    this.code = code;
    this.reason = reason;
    this.retryAfter = retryAfter;
  }
}

export class ChannelError extends MuxError {
  constructor(channel, what) {
    super(`channel ${channel.id} (${JSON.stringify(channel.name)}) ${what}`);
    this.channelId = channel.id;
    this.channelName = channel.name;
  }
}

/** The peer's half is over, and everything it sent was received. */
export class EndOfStream extends ChannelError {
  constructor(channel) {
    super(channel, "has ended: nothing more comes");
  }
}

/** This side closed the channel. */
export class ChannelClosed extends ChannelError {
  constructor(channel, what = "was closed on this side") {
    super(channel, what);
  }
}

export class ChannelReset extends ChannelError {
  constructor(channel, code, reason) {
    super(channel, `was reset by the peer: ${told(code, reason)}`);
    this.code = code;
    this.reason = reason;
  }
}

/** Reset with a code from 0x10 to 0x1f: the peer does not serve it. */
export class ChannelRefused extends ChannelReset {}

/** What came is not what the codec decodes; the channel goes on. */
export class CodecError extends ChannelError {
  constructor(channel, bytes, cause) {
    super(channel, `got a message of ${bytes.length} bytes that cannot be decoded: ${cause.message}`);
    this.bytes = bytes;
    this.cause = cause;
  }
}

/** Thrown before anything is sent. */
export class MessageTooLarge extends MuxError {
  constructor(size, limit) {
    super(`a message of ${size} bytes is over the peer's max_message of ${limit}`);
    this.size = size;
    this.limit = limit;
  }
}

export class TimeoutError extends MuxError {}
