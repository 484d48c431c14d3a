"""grpc.aio: a bidirectional stream for each channel, bytes as they are (no protobuf)."""

import grpc
from driver import Ended, Handler, Open, Peer, main

from muxtcp.bench.stage import Stage

METHOD = "/bench/play"
OPTIONS = [("grpc.max_concurrent_streams", 20_000)]


class Accepted:
    """The server's end of a stream."""

    def __init__(self, context: grpc.aio.ServicerContext) -> None:
        self.context = context
        self.send = context.write

    async def recv(self) -> bytes:
        message = await self.context.read()
        if message is grpc.aio.EOF:
            raise Ended
        return message

    async def close(self) -> None:
        """The end of the handler ends the stream."""


class Opened:
    """The client's."""

    def __init__(self, call: grpc.aio.StreamStreamCall) -> None:
        self.call = call
        self.send = call.write
        self.recv = call.read

    async def close(self) -> None:
        await self.call.done_writing()
        while await self.call.read() is not grpc.aio.EOF:
            pass


class Grpc(Peer):
    async def accept(self, stage: Stage, handler: Handler) -> None:
        async def play(_: object, context: grpc.aio.ServicerContext) -> None:
            await self.run(handler, Accepted(context))

        class Service(grpc.GenericRpcHandler):
            def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler:
                return grpc.stream_stream_rpc_method_handler(play)

        server = grpc.aio.server(options=OPTIONS)
        server.add_generic_rpc_handlers((Service(),))
        # It binds by itself: the number is found by a socket that makes room for it.
        sock = stage.listen()
        port = sock.getsockname()[1]
        sock.close()
        server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        await server.wait_for_termination()

    async def connect(self, stage: Stage) -> Open:
        host, port = stage.address
        channel = grpc.aio.insecure_channel(f"{host}:{port}", options=OPTIONS)
        await channel.channel_ready()
        method = channel.stream_stream(METHOD)

        async def open_channel() -> Opened:
            call = method()
            await call.wait_for_connection()
            return Opened(call)

        return open_channel


if __name__ == "__main__":
    main(Grpc)
