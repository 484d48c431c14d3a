// mux-demux over net: objects as JSON lines. JSON has no bytes, so a message is a string of as many characters.

import net from "node:net";
import { createRequire } from "node:module";
import { main } from "./stage.mjs";

const require = createRequire(import.meta.url);
const MuxDemux = require("mux-demux");

class Channel {
  constructor(stream) {
    this.stream = stream;
    stream.on("data", (message) => this.onMessage(message));
    stream.on("drain", () => this.onWritable?.());
    stream.on("end", () => stream.end());
  }

  send(message) {
    return this.stream.write(message) !== false;
  }

  end() {
    this.stream.end();
  }
}

function join(socket, onStream) {
  socket.setNoDelay(true);
  const mux = MuxDemux(onStream);
  socket.pipe(mux).pipe(socket);
  return mux;
}

main(require("mux-demux/package.json").version, (size) => ({
  message: "x".repeat(size),

  serve: (onChannel) =>
    new Promise((resolve) => {
      const server = net.createServer((socket) => join(socket, (stream) => onChannel(new Channel(stream))));
      server.listen(0, "127.0.0.1", () => resolve(server.address().port));
    }),

  connect: (port) =>
    new Promise((resolve) => {
      const socket = net.connect(port, "127.0.0.1", () => {
        const mux = join(socket);
        resolve(async () => new Channel(mux.createStream("bench")));
      });
    }),
}));
