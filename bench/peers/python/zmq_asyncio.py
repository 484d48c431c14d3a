"""pyzmq on asyncio: a DEALER and a ROUTER, as many do it by hand: the first frame of a message says its channel.

One way it is PUSH to PULL, which is what zmq has for it. Nothing is lost at the high-water mark: both wait there.
"""

import asyncio
import socket
from itertools import cycle, islice
from time import perf_counter

import zmq
import zmq.asyncio
from driver import SENDS_PER_TURN, Handler, Open, Peer, main

from muxtcp.bench.stage import Stage


class Zmq(Peer):
    """Both plays are written for what a socket is here: one queue for all channels."""

    def listen(self, stage: Stage, kind: int) -> zmq.asyncio.Socket:
        with socket.create_server(("127.0.0.1", 0)) as free:  # zmq binds by itself
            port = free.getsockname()[1]
        sock = zmq.asyncio.Context.instance().socket(kind)
        sock.bind(f"tcp://127.0.0.1:{port}")
        stage.announce.set_result(port)
        return sock

    def dial(self, stage: Stage, kind: int) -> zmq.asyncio.Socket:
        host, port = stage.address
        sock = zmq.asyncio.Context.instance().socket(kind)
        sock.connect(f"tcp://{host}:{port}")
        return sock

    async def serve_flood(self, stage: Stage) -> None:
        sock = self.listen(stage, zmq.PULL)
        await sock.recv_multipart()
        stage.begin()
        while True:
            for _ in range(SENDS_PER_TURN):  # what is there already is received without a turn of the loop
                await sock.recv_multipart(copy=self.size < 65_536)  # without a copy where that pays
                stage.count += 1
            await asyncio.sleep(0)

    async def drive_flood(self, stage: Stage) -> None:
        sock = self.dial(stage, zmq.PUSH)
        message = bytes(self.size)
        copy = self.size < 65_536
        parts = cycle([[str(channel).encode(), message] for channel in range(self.channels)])
        stage.begin()
        while True:
            for part in islice(parts, SENDS_PER_TURN):
                await sock.send_multipart(part, copy=copy)
            await asyncio.sleep(0)

    async def serve_echo(self, stage: Stage) -> None:
        sock = self.listen(stage, zmq.ROUTER)
        stage.begin()
        while True:
            await sock.send_multipart(await sock.recv_multipart())

    async def drive_echo(self, stage: Stage) -> None:
        sock = self.dial(stage, zmq.DEALER)
        message, timed = bytes(self.size), self.channels == 1
        for channel in range(self.channels):
            await sock.send_multipart([str(channel).encode(), message])
        stage.begin()
        sent = perf_counter()
        while True:
            parts = await sock.recv_multipart()
            stage.count += 1
            if timed:
                now = perf_counter()
                stage.latencies.append(now - sent)
                sent = now
            await sock.send_multipart(parts)

    async def accept(self, stage: Stage, handler: Handler) -> None:
        raise NotImplementedError("zmq has no channels to accept")

    async def connect(self, stage: Stage) -> Open:
        raise NotImplementedError("zmq has no channels to open")


if __name__ == "__main__":
    main(Zmq)
