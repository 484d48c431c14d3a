/**
 * muxtcp for browsers and Node 20 or newer: many independent, flow-controlled channels of messages over one WebSocket,
 * or, in Node, over one TCP connection.
 *
 *     import { connect } from "./muxtcp.js";
 *
 *     const session = await connect("wss://example.org/mux", { resume: 30, auth: "token" });
 *     const channel = await session.open("ticks", { mode: "r", codec: "json" });
 *     for await (const tick of channel) console.log(tick);
 *
 * What waits takes an AbortSignal, and rejects with its reason: then nothing was sent, opened or taken.
 *
 * Times are in seconds, sizes in bytes. Numbers on the wire may have 63 bits: what is counted ends at 2^53, and codes and
 * deadlines above Number.MAX_SAFE_INTEGER are told as bigint.
 */

/** A path of messages between the two peers. Iterating ends at the peer's end, and throws for any other. */
export interface Channel<T = Uint8Array> extends AsyncIterable<T> {
  readonly id: number;
  readonly name: string;
  readonly meta: Readonly<Record<string, string>>;
  /** As the opener sees it: both ways, only receiving, only sending. */
  readonly mode: Mode;
  readonly session: Session;
  /** Send a message; resolves when it is accepted, and waits while credit or the send buffer are used up.
   *  Throws MessageTooLarge before anything is sent. */
  send(message: T, options?: Waiting): Promise<void>;
  /** Send it now, or not at all: false where `send` would wait. */
  trySend(message: T): boolean;
  /** The next message. Throws EndOfStream after the peer's last one. Taking it gives its credit back. */
  recv(options?: Waiting): Promise<T>;
  /** The next message if it is here already, else undefined. */
  tryRecv(): T | undefined;
  /** No more messages from this side; the other direction goes on. Resolves when all before it was accepted. */
  sendEof(): Promise<void>;
  /** Have no more use for it: sendEof(), and give up what still comes. */
  close(): Promise<void>;
  /** End both directions now. Code 2 is CANCELLED; those of the application begin at 0x1000. */
  reset(code?: number | bigint, reason?: string): void;
  /** reset() by a handler that does not serve this: codes 0x10 to 0x1f. */
  refuse(code?: number, reason?: string): void;
}

/** What both peers have of each other, from the handshake to the end; with `resume` it outlives connections. */
export interface Session {
  readonly meta: Readonly<Record<string, string>>;
  /** What the server told of itself. */
  readonly peerMeta: Readonly<Record<string, string>>;
  readonly channels: ReadonlyMap<number, Channel<any>>;
  /** Round-trip time in seconds, smoothed; NaN before the first answer. */
  readonly rtt: number;
  /** Seconds for which the server keeps the session when its connection breaks. */
  readonly granted: number;
  /** Why it ended; undefined while it has not. */
  readonly error: MuxError | undefined;
  /** Resolves, with that error, when it has ended. Never rejects. */
  readonly closed: Promise<MuxError>;
  /** Open a channel; waits while the peer allows no more. Messages may be sent at once. */
  open<C extends CodecName | Codec<any> = "bytes">(name: string, options?: OpenOptions<C> & Waiting): Promise<Channel<Decoded<C>>>;
  /** open(), send(), sendEof(), recv(), and close. Throws a TimeoutError. Whether it was served when the signal ended it
   *  is not known. */
  request<C extends CodecName | Codec<any> = "bytes">(
    name: string, message: Decoded<C>, options?: OpenOptions<C> & Waiting & { timeout?: number },
  ): Promise<Decoded<C>>;
  /** Seconds until the answer came. */
  ping(): Promise<number>;
  stats(): Stats;
  /** Take no more channels, and wait until those that are open have ended. */
  drain(code?: number, reason?: string): Promise<void>;
  /** drain(), for at most `timeout` seconds (5), and end the session in good order. */
  close(options?: { code?: number; reason?: string; timeout?: number }): Promise<void>;
  /** End it now. */
  abort(reason?: string): void;
  /** Drop the connection, as if the network had: a session that can be resumed is. */
  cut(): void;
}

export interface Stats {
  framesSent: number;
  framesReceived: number;
  bytesSent: number;
  bytesReceived: number;
  messagesSent: number;
  messagesReceived: number;
  /** How often the session was carried on over another connection. */
  resumptions: number;
}

/** Awaitable: one session. Async iterable: a new session after each one that ended, until `stop()` or `break`. */
export interface Connector extends PromiseLike<Session>, AsyncIterable<Session>, EventTarget {
  readonly state: State;
  addEventListener(
    type: "state", listener: (event: StateEvent) => void, options?: boolean | AddEventListenerOptions,
  ): void;
  addEventListener(
    type: string, listener: EventListenerOrEventListenerObject | null, options?: boolean | AddEventListenerOptions,
  ): void;
  /** End the wait for the next attempt. */
  reconnectNow(): void;
  /** No more attempts: one that is under way ends, and a session that waits for one is lost, as is one whose connection
   *  breaks later. Iterating ends. */
  stop(): void;
}

export function connect(url: string | URL, options?: ConnectOptions): Connector;

export interface ConnectOptions {
  /** Seconds for which a session shall survive a broken connection. */
  resume?: number;
  /** Delays between attempts; awaiting tries once unless it is given. Its end is the last attempt. */
  backoff?: Backoff;
  /** Credentials, or who gets them before each dial. */
  auth?: string | Uint8Array | (() => string | Uint8Array | Promise<string | Uint8Array>);
  meta?: Record<string, string>;
  /** Serves the channels that the server opens. When it ends, the channel is closed. None: they are refused. */
  handler?: (channel: Channel<any>) => void | Promise<void>;
  /** Of all channels that are not opened with another. */
  codec?: CodecName | Codec<any>;
  /** Pre-shared key of 16 bytes or more, for resumption where others can read the connection. */
  psk?: Uint8Array;
  config?: Partial<Config>;
  /** Seconds for connecting (10); `config.handshakeTimeout` comes on top. */
  connectTimeout?: number;
  /** In place of the global WebSocket, which Node has from version 22 on. */
  WebSocket?: unknown;
  onState?: (event: StateEvent) => void;
  /** stop(), for as long as a session is awaited, which rejects with the signal's reason; and while iterating. It ends no
   *  session that is connected. */
  signal?: AbortSignal;
}

export interface Config {
  /** Largest payload of a frame that is accepted (65,536), message (1,048,576), open channels of the peer (1,024). */
  maxFrame: number;
  maxMessage: number;
  maxChannels: number;
  /** Credit at the start, of a channel and of the session (262,144 each). They grow while what comes is read at once, the
   *  session's also past what is not... */
  channelWindow: number;
  sessionWindow: number;
  /** ...up to this (16 MiB): so much may the peer have unread here. */
  memoryLimit: number;
  /** What waits to be written before `send` waits (1 MiB). */
  sendBuffer: number;
  /** What is kept until the peer acknowledges it (4 MiB), where the session can be resumed. */
  replayLimit: number;
  /** Seconds of silence before a PING (10; 0: never), and until the connection counts as broken after it (10). */
  keepalive: number;
  keepaliveTimeout: number;
  handshakeTimeout: number;
}

export interface Waiting {
  signal?: AbortSignal;
}

export interface OpenOptions<C = CodecName | Codec<any>> {
  meta?: Record<string, string>;
  mode?: Mode;
  /** Of what is sent, either way: "normal" unless given. A lower one waits while a higher one has something to send. */
  priority?: Priority;
  codec?: C;
  /** Seconds that are left for it, as the peer is told. */
  deadline?: number;
}

export type Mode = "rw" | "r" | "w";
export type Priority = "urgent" | "high" | "normal" | "bulk";
export type CodecName = "bytes" | "json" | "msgpack";
export interface Codec<T> {
  encode(message: T): Uint8Array;
  decode(bytes: Uint8Array): T;
}
export type Decoded<C> = C extends "bytes" ? Uint8Array : C extends Codec<infer T> ? T : any;

export type State =
  | "disconnected" | "connecting" | "connected" | "waiting" | "reconnecting" | "resumed" | "lost" | "failed" | "stopped";

export class StateEvent extends Event {
  readonly state: State;
  /** Counted from the last session that came up. */
  readonly attempt: number;
  /** "waiting": seconds until the next attempt. */
  readonly delay?: number;
  /** Why the attempt failed or the session ended. */
  readonly cause?: unknown;
  /** "resumed": seconds without a connection, and frames that were sent again. */
  readonly gap?: number;
  readonly replayed?: number;
}

export type Backoff = () => Iterable<number>;
export interface BackoffOptions {
  factor?: number;
  /** Part of each delay that is random, 0 to 1 (1). */
  jitter?: number;
  random?: () => number;
}
/** Seconds: 0.1 and 10 unless given. */
export function exponential(initial?: number, maximum?: number, options?: BackoffOptions): Backoff;
export function constant(delay?: number, options?: BackoffOptions): Backoff;

export const Code: Readonly<Record<string, number>>;

export class MuxError extends Error {}
export class ProtocolError extends MuxError { readonly code: number; readonly reason: string }
export class RemoteProtocolError extends ProtocolError {}
export class LocalProtocolError extends MuxError {}
export class SessionClosed extends MuxError { readonly code: number | bigint; readonly reason: string; readonly remote: boolean }
export class SessionLost extends MuxError { readonly why?: string }
export class HandshakeError extends MuxError {
  readonly code: number | bigint;
  readonly reason: string;
  /** Seconds that the server asks to stay away. */
  readonly retryAfter: number;
}
export class ChannelError extends MuxError { readonly channelId: number; readonly channelName: string }
export class EndOfStream extends ChannelError {}
export class ChannelClosed extends ChannelError {}
export class ChannelReset extends ChannelError { readonly code: number | bigint; readonly reason: string }
export class ChannelRefused extends ChannelReset {}
export class CodecError extends ChannelError { readonly bytes: Uint8Array }
export class MessageTooLarge extends MuxError { readonly size: number; readonly limit: number }
export class TimeoutError extends MuxError {}
