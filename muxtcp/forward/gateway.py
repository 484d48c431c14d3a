"""Gateway: the side that forwarders dial; it goes where its allow list lets it, and nowhere else."""

import asyncio
import logging
from collections.abc import Callable
from functools import partial

from muxtcp import Channel, Code, MuxError, Server, Session
from muxtcp.isolation import Sparing

from .allow import AllowList, Forbidden
from .carrier import Carrier, Listening, Told
from .endpoints import Endpoint
from .faults import Fault
from .traffic import Traffic

ROWS = 100  # of targets whose traffic is told apart; beyond that, those without connections are forgotten

logger = logging.getLogger(__name__)
sparing = Sparing(__name__)

Serve = Callable[..., Server]


class Gateway:
    """Dials for its clients, and listens for them.

        async with Gateway(partial(muxtcp.serve, host="127.0.0.1", port=7700), AllowList.of(["db:5432"])) as gateway:
            await gateway.wait_closed()

    Args:
        serve: `muxtcp.serve` with a place and what belongs to it, but the handler.
        allow: replace it at any time; connections that are open stay.
        carrier: with the limits for connections.
    """

    def __init__(self, serve: Serve, allow: AllowList, *, carrier: Carrier | None = None) -> None:
        self.allow = allow
        self.carrier = carrier or Carrier()
        self._targets: dict[str, Traffic] = {}
        self._server = serve(self._handler)
        self._listening: set[Channel] = set()

    async def __aenter__(self) -> "Gateway":
        """Start.

        Raises:
            OSError: the place cannot be listened on; the text names it.
        """
        await self._server
        logger.info("serving on %s", " and ".join(self.addresses))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop_listening()
        await self.carrier.abort()
        await self._server.close()

    @property
    def addresses(self) -> list[str]:
        """Where forwarders reach it, as URLs."""
        return self._server.addresses

    @property
    def sessions(self) -> set[Session]:
        """Of its clients."""
        return self._server.sessions

    @property
    def traffic(self) -> list[Traffic]:
        """By target, and by place that it listens on."""
        return list(self._targets.values())

    async def wait_closed(self) -> None:
        """Wait until it is closed."""
        await self._server.wait_closed()

    async def drain(self, timeout: float) -> None:
        """Accept nothing more, let the connections that are open finish for so many seconds, then end."""
        if self.carrier.open:
            logger.info("draining: %s connections have %g s", f"{self.carrier.open:,}", timeout)
        await self._stop_listening()
        try:
            async with asyncio.timeout(timeout):
                await self._server.drain(timeout)
                await self.carrier.finished()
        except TimeoutError:
            logger.warning("%s connections were still open after %g s", f"{self.carrier.open:,}", timeout)
        await self.carrier.abort()
        await self._server.close()

    def abort(self) -> None:
        """End every session now."""
        for session in list(self.sessions):
            session.abort("the gateway was stopped")

    async def _stop_listening(self) -> None:
        for channel in list(self._listening):
            await channel.close()

    # Channels

    def _handler(self, channel: Channel) -> None:
        self.carrier.spawn(self._serve(channel))

    async def _serve(self, channel: Channel) -> None:
        asked_by = _who(channel.session)
        try:
            match channel.name, channel.meta:
                case "connect", {"to": target}:
                    await self._connect(channel, Endpoint.parse(target), asked_by)
                case "listen", {"at": place, "id": number}:
                    await self._listen(channel, Endpoint.listening(place), number, asked_by)
                case _:
                    await channel.refuse(Code.NOT_FOUND, f"a gateway has no service {channel.name!r} of that kind")
        except Forbidden as error:
            sparing.warning("refused to %s: %s", asked_by, error)
            await channel.refuse(Code.FORBIDDEN, str(error))
        except ValueError as error:
            await channel.refuse(Code.UNSUPPORTED, str(error))
        except OSError as error:
            sparing.info("%s: %s", asked_by, Told(error))
            await channel.reset(Fault.of(error), str(Told(error)))
        except Exception:
            sparing.exception("%s: channel %d (%r) failed on this side", asked_by, channel.id, channel.name)
            await channel.reset(Code.INTERNAL, "the gateway failed")
        finally:
            await channel.close()

    async def _connect(self, channel: Channel, target: Endpoint, asked_by: str) -> None:
        places = await self.allow.target(target)
        await self.carrier.dial(channel, places, self._row(str(target)), asked_by)

    async def _listen(self, channel: Channel, place: Endpoint, number: str, asked_by: str) -> None:
        """Listen until the client wants it no more; what was accepted goes on."""
        row = self._row(f"{place} (for {asked_by})")
        open_here: list[Listening] = []
        try:
            for allowed in await self.allow.bind(place):
                accepts = self.carrier.accepts(row, partial(self._accepted, channel.session, number))
                open_here.append(await self.carrier.listen(allowed, accepts))
            where = " and ".join(map(str, open_here))
            logger.info("listening on %s for %s", where, asked_by)
            self._listening.add(channel)
            await channel.send(where.encode())
            async for _ in channel:
                pass
        except MuxError as error:
            logger.debug("%s wants it no more: %s", asked_by, error)
        finally:
            self._listening.discard(channel)
            for listening in open_here:
                listening.close()

    async def _accepted(self, session: Session, number: str, peer: str) -> Channel:
        return await session.open("accepted", meta={"id": number, "from": peer})

    def _row(self, name: str) -> Traffic:
        if name not in self._targets and len(self._targets) >= ROWS:
            self._targets = {name: row for name, row in self._targets.items() if row.open}
        return self._targets.setdefault(name, Traffic(name))


def _who(session: Session) -> str:
    """A client, for the log: as it was authenticated, and where it is."""
    place = session.peername
    where = str(Endpoint(*place[:2])) if isinstance(place, tuple) else "a local client"
    return f"{session.peer_identity} ({where})" if session.peer_identity else where
