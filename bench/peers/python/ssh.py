"""asyncssh: a session channel for each channel, with a length before each message; encrypted, as SSH is."""

import asyncio

import asyncssh
from driver import Handler, Open, Peer, Prefixed, main

from muxtcp.bench.stage import Stage


class Channel(Prefixed):
    """One end of a session channel."""

    async def close(self) -> None:
        self.writer.channel.close()


class Anybody(asyncssh.SSHServer):
    """Whoever connects is let in, without a question."""

    def begin_auth(self, username: str) -> bool:
        return False


class Ssh(Peer):
    async def accept(self, stage: Stage, handler: Handler) -> None:
        async def play(process: asyncssh.SSHServerProcess[bytes]) -> None:
            await self.run(handler, Channel(process.stdin, process.stdout))
            process.exit(0)

        async with asyncssh.listen(
            sock=stage.listen(),
            server_factory=Anybody,
            server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
            process_factory=play,
            encoding=None,
        ):
            await asyncio.Event().wait()

    async def connect(self, stage: Stage) -> Open:
        connection = await asyncssh.connect(*stage.address, known_hosts=None, config=None, client_keys=None)

        async def open_channel() -> Channel:
            writer, reader, _ = await connection.open_session(encoding=None)
            return Channel(reader, writer)

        return open_channel


if __name__ == "__main__":
    main(Ssh)
