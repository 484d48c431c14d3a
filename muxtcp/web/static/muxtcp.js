/** muxtcp for browsers and Node 20 or newer; what there is and what it does is said in muxtcp.d.ts. */

import { Connector } from "./parts/connector.js";

export const connect = (url, options = {}) => new Connector(url, options);

export { constant, exponential } from "./parts/backoff.js";
export { StateEvent } from "./parts/connector.js";
export {
  ChannelClosed, ChannelError, ChannelRefused, ChannelReset, Code, CodecError, EndOfStream, HandshakeError,
  LocalProtocolError, MessageTooLarge, MuxError, ProtocolError, RemoteProtocolError, SessionClosed, SessionLost, TimeoutError,
} from "./parts/errors.js";
