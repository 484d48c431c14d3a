// node's http2, without TLS: a stream for each channel. Its streams carry bytes, and messages all have one size here, so
// they are cut at that size, without a length: a little less work than the others do.

import { connect as connectTo, createServer } from "node:http2";
import { cut, main } from "./stage.mjs";

const SETTINGS = { maxConcurrentStreams: 20_000, initialWindowSize: 262_144 }; // the window that most others start with

class Channel {
  constructor(stream, size) {
    this.stream = stream;
    stream.on("data", cut(size, (message) => this.onMessage(message)));
    stream.on("drain", () => this.onWritable?.());
    stream.on("error", () => stream.destroy());
  }

  send(message) {
    return this.stream.write(message);
  }

  end() {
    this.stream.end();
  }
}

main(`${process.versions.nghttp2} of node ${process.versions.node}`, (size) => ({
  serve: (onChannel) =>
    new Promise((resolve) => {
      const server = createServer({ settings: SETTINGS });
      server.on("stream", (stream) => {
        stream.respond({ ":status": 200 });
        stream.on("end", () => stream.end());
        onChannel(new Channel(stream, size));
      });
      server.listen(0, "127.0.0.1", () => resolve(server.address().port));
    }),

  connect: (port) =>
    new Promise((resolve) => {
      const session = connectTo(`http://127.0.0.1:${port}`, { settings: SETTINGS });
      const open = async () => new Channel(session.request({ ":method": "POST" }, { endStream: false }), size);
      session.once("remoteSettings", () => resolve(open));
    }),
}));
