"""picows: a WebSocket connection, whose frames arrive in a callback, without channels."""

import asyncio
from itertools import repeat
from time import perf_counter

from driver import SENDS_PER_TURN, Handler, Open, Peer, main
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_connect, ws_create_server

from muxtcp.bench.stage import Stage


class Count(WSListener):
    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        self.stage.begin()
        self.stage.count += 1


class Return(WSListener):
    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        transport.send(WSMsgType.BINARY, frame.get_payload_as_bytes())


class Flood(WSListener):
    """Writes until the transport is full, and again when it is not."""

    def __init__(self, stage: Stage, message: bytes) -> None:
        self.stage = stage
        self.message = message
        self.writable = asyncio.Event()
        self.writable.set()

    def pause_writing(self) -> None:
        self.writable.clear()

    def resume_writing(self) -> None:
        self.writable.set()


class Play(WSListener):
    """Keeps one message under way and times each round trip."""

    def __init__(self, stage: Stage, message: bytes) -> None:
        self.stage = stage
        self.message = message

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.stage.begin()
        self.sent = perf_counter()
        transport.send(WSMsgType.BINARY, self.message)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        now = perf_counter()
        self.stage.latencies.append(now - self.sent)
        self.stage.count += 1
        self.sent = now
        transport.send(WSMsgType.BINARY, self.message)


class PicoWS(Peer):
    async def serve_flood(self, stage: Stage) -> None:
        await self.listen(stage, lambda: Count(stage))

    async def serve_echo(self, stage: Stage) -> None:
        stage.begin()
        await self.listen(stage, Return)

    async def listen(self, stage: Stage, listener: type[WSListener]) -> None:
        def accept(request: WSUpgradeRequest) -> WSListener:
            return listener()

        server = await ws_create_server(accept, sock=stage.listen())
        await server.serve_forever()

    async def drive_flood(self, stage: Stage) -> None:
        flood = Flood(stage, bytes(self.size))
        transport, _ = await self.dial(stage, flood)
        stage.begin()
        while True:
            for message in repeat(flood.message, SENDS_PER_TURN):
                transport.send(WSMsgType.BINARY, message)
                if not flood.writable.is_set():
                    break
            await flood.writable.wait()
            await asyncio.sleep(0)

    async def drive_echo(self, stage: Stage) -> None:
        await self.dial(stage, Play(stage, bytes(self.size)))
        await asyncio.Event().wait()

    async def dial(self, stage: Stage, listener: WSListener) -> tuple[WSTransport, WSListener]:
        host, port = stage.address
        return await ws_connect(lambda: listener, f"ws://{host}:{port}/")

    async def accept(self, stage: Stage, handler: Handler) -> None:
        raise NotImplementedError("its frames arrive in callbacks")

    async def connect(self, stage: Stage) -> Open:
        raise NotImplementedError("its frames arrive in callbacks")


if __name__ == "__main__":
    main(PicoWS)
