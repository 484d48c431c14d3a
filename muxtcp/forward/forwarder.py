"""Forwarder: the side that dials the gateway, and keeps the link up."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from functools import partial

from muxtcp import (
    Channel,
    ChannelError,
    ChannelRefused,
    ChannelReset,
    Code,
    Connector,
    MuxError,
    Session,
    SessionClosed,
    SessionLost,
    State,
    StateInfo,
    exponential,
)

from .carrier import Carrier, Listening, Told, name_of
from .endpoints import Endpoint, Forwarding
from .socks import SUCCEEDED, BadRequest, SocksClient, reply, reply_to
from .traffic import Link, Traffic

PATIENCE = 10.0  # seconds that a new connection waits for a link, and a SOCKS client has for its request

logger = logging.getLogger(__name__)

Connect = Callable[..., Connector]


class ListenRefused(Exception):
    """The gateway does not listen where `-R` asked for it; the text says where and why."""


class Forwarder:
    """Listens here for what goes out at the gateway, and has the gateway listen for what goes out here.

        async with Forwarder(partial(muxtcp.connect, "tls://gw:7700"), local=[Forwarding.parse("5432:db:5432")]) as it:
            await it.run()

    Args:
        connect: `muxtcp.connect` with an address and what belongs to it, but `handler` and `on_state`.
        local: what this side listens for; without a target the connections are SOCKS clients.
        remote: what the gateway listens for.
        carrier: with the limits for connections.
        link: told of the state.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        local: Iterable[Forwarding] = (),
        remote: Iterable[Forwarding] = (),
        carrier: Carrier | None = None,
        link: Link | None = None,
    ) -> None:
        self.carrier = carrier or Carrier()
        self.link = link or Link("the gateway")
        self._local = {forwarding: Traffic(str(forwarding)) for forwarding in local}
        self._remote = {
            str(number): (forwarding, Traffic(f"{forwarding} (remote)"))
            for number, forwarding in enumerate(remote, start=1)
        }
        self.traffic = [*self._local.values(), *(traffic for _, traffic in self._remote.values())]
        self.listening: list[str] = []
        """Where this side listens, in the order of `local`."""
        self._connector = connect(handler=self._accepted_there, on_state=self._on_state)
        self._open_here: list[Listening] = []
        self._session: Session | None = None
        self._came_up = asyncio.Event()
        self._asking: dict[Channel, str] = {}  # where the gateway listens, once it does

    async def __aenter__(self) -> "Forwarder":
        """Listen.

        Raises:
            OSError: a place cannot be listened on; the text names it.
        """
        try:
            for forwarding, traffic in self._local.items():
                await self._listen(forwarding, traffic)
        except BaseException:
            self._stop_listening()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop_listening()
        self._connector.stop()
        await self.carrier.abort()
        if self._session is not None:
            await self._session.close()

    @property
    def remote_listening(self) -> list[str]:
        """Where the gateway listens now, as it says."""
        return [place for place in self._asking.values() if place]

    @property
    def rtt(self) -> float | None:
        """Smoothed round trip of the link, in seconds; None while there is none."""
        session = self._session
        return None if session is None or session.closed or session.rtt != session.rtt else session.rtt

    async def run(self) -> None:
        """Keep the link up, until `drain()` or an error that another attempt does not mend.

        Raises:
            ListenRefused: the gateway does not listen where it should, at the first time of asking.
            HandshakeError, OSError: what `connect()` finds final.
            ReconnectFailed: its limits are reached.
        """
        async for session in self._connector:
            self._session = session
            self._came_up.set()
            try:
                async with asyncio.TaskGroup() as group:
                    asked = [group.create_task(self._ask(session, number)) for number in self._remote]
                    await session.wait_closed()
                    for task in asked:
                        task.cancel()
            except ExceptionGroup as refused:  # that is all that comes out of asking
                raise refused.exceptions[0] from None

    async def drain(self, timeout: float) -> None:
        """Accept nothing more, let the connections that are open finish for so many seconds, then end."""
        self._stop_listening()
        for channel in list(self._asking):
            await channel.close()
        if self.carrier.open:
            logger.info("draining: %s connections have %g s", f"{self.carrier.open:,}", timeout)
        try:
            async with asyncio.timeout(timeout):
                await self.carrier.finished()
                if self._session is not None:
                    await self._session.drain()
        except TimeoutError:
            logger.warning("%s connections were still open after %g s", f"{self.carrier.open:,}", timeout)
            await self.carrier.abort()
        self._connector.stop()
        if self._session is not None:
            await self._session.close()

    def abort(self) -> None:
        """End now."""
        self._stop_listening()
        self._connector.stop()
        if self._session is not None:
            self._session.abort("the forwarder was stopped")

    # Connections that come in here

    async def _listen(self, forwarding: Forwarding, traffic: Traffic) -> None:
        if forwarding.target is None:
            accepts: Callable[[], asyncio.BaseProtocol] = partial(SocksClient, partial(self._socks_came, traffic))
        else:
            accepts = self.carrier.accepts(traffic, partial(self._open, forwarding.target))
        listening = await self.carrier.listen(forwarding.listen, accepts)
        self._open_here.append(listening)
        self.listening.append(str(listening))
        logger.info("listening on %s for %s", self.listening[-1], forwarding.target or "SOCKS clients")

    def _stop_listening(self) -> None:
        while self._open_here:
            self._open_here.pop().close()

    async def _open(self, target: Endpoint, peer: str) -> Channel:
        """A channel to a target, over the link that is up or comes up in time.

        Raises:
            TimeoutError: none does.
        """
        try:
            async with asyncio.timeout(PATIENCE):
                while self._session is None or self._session.closed or self._session.peer_going_away:
                    self._came_up.clear()
                    await self._came_up.wait()
                return await self._session.open("connect", meta={"to": str(target), "from": peer})
        except TimeoutError:
            raise TimeoutError(f"no link to the gateway within {PATIENCE:g} s") from None

    def _socks_came(self, traffic: Traffic, client: SocksClient) -> None:
        self.carrier.spawn(self._serve_socks(traffic, client))

    async def _serve_socks(self, traffic: Traffic, client: SocksClient) -> None:
        """Hear what a client wants, and carry its connection once the gateway has connected it."""
        transport = client.transport
        try:
            channel = await self._asked_for(client)
            if transport.is_closing():
                await channel.reset()
                raise BadRequest("a client that left before it was connected")
        except (BadRequest, MuxError, OSError) as error:
            traffic.failed += 1
            logger.info("%s: %s", traffic.name, Told(error))
            transport.close()
        except BaseException:
            transport.abort()
            raise
        else:
            end = self.carrier.end(traffic, early=client.early)
            transport.set_protocol(end)
            end.connection_made(transport)
            transport.write(reply(SUCCEEDED))
            await self.carrier.carry_accepted(end, channel)

    async def _asked_for(self, client: SocksClient) -> Channel:
        """A channel that is connected with what the client asks for; the client is told if there is none."""
        try:
            async with asyncio.timeout(PATIENCE):
                target = await client.asked
        except TimeoutError:
            raise BadRequest(f"a client that asked for nothing within {PATIENCE:g} s") from None
        try:
            channel = await self._open(target, name_of(client.transport))
            await channel.recv()
        except (MuxError, OSError) as error:
            client.transport.write(reply_to(error))
            raise
        return channel

    # Connections that come in at the gateway

    async def _ask(self, session: Session, number: str) -> None:
        """Have the gateway listen, for as long as the session lives."""
        forwarding, _ = self._remote[number]
        delays = exponential(1.0, 30.0)()
        while not session.closed:
            failure = await self._asked(session, number, forwarding)
            if failure is None:
                return
            refused = f"the gateway does not listen on {forwarding.listen} for {forwarding.target}: {failure}"
            if self.link.sessions <= 1:
                raise ListenRefused(refused)
            delay = next(delays)  # its end of the last session may not know yet that it is over
            logger.warning("%s; asking again in %.1f s", refused, delay)
            await asyncio.sleep(delay)

    async def _asked(self, session: Session, number: str, forwarding: Forwarding) -> str | None:
        """Ask once, and wait for the end: why it was refused, or None."""
        try:
            async with session.open("listen", meta={"at": str(forwarding.listen), "id": number}) as channel:
                self._asking[channel] = ""
                try:
                    place = self._asking[channel] = (await channel.recv()).decode()
                    logger.info("the gateway listens on %s for %s", place, forwarding.target)
                    async for _ in channel:
                        pass
                finally:
                    del self._asking[channel]
        except (ChannelRefused, ChannelReset) as error:
            return str(Told(error))
        except (ChannelError, SessionClosed, SessionLost) as error:
            logger.debug("no listening any more: %s", error)
        return None

    def _accepted_there(self, channel: Channel) -> None:
        """The gateway has accepted a connection for one of `remote`."""
        self.carrier.spawn(self._carry_there(channel))

    async def _carry_there(self, channel: Channel) -> None:
        forwarding, traffic = self._remote.get(channel.meta.get("id", ""), (None, None))
        if channel.name != "accepted" or forwarding is None or traffic is None or forwarding.target is None:
            await channel.refuse(Code.NOT_FOUND, f"no service {channel.name!r} for that")
            return
        asked_by = channel.meta.get("from", "somebody there")
        await self.carrier.dial(channel, [forwarding.target], traffic, asked_by)

    # The link

    def _on_state(self, state: State, info: StateInfo) -> None:
        link = self.link
        link.state, link.detail = state.value, "" if info.cause is None else str(Told(info.cause))
        match state:
            case State.CONNECTED:
                link.sessions += 1
                logger.info("connected to %s", link.name)
            case State.RESUMED:
                assert info.gap is not None
                link.state = State.CONNECTED.value
                link.resumptions += 1
                link.longest_gap = max(link.longest_gap, info.gap)
                logger.info("resumed after %.1f s; %d frames sent again", info.gap, info.replayed)
            case State.RECONNECTING:
                logger.warning("the link broke, and is being resumed: %s", info.cause)
            case State.LOST:
                logger.warning("the link is lost: %s", info.cause)
            case State.DISCONNECTED if link.sessions:
                ours = isinstance(info.cause, SessionClosed) and not info.cause.remote
                logger.log(logging.INFO if ours else logging.WARNING, "disconnected: %s", info.cause)
            case State.WAITING:
                link.detail = f"next attempt in {info.delay:.1f} s: {Told(info.cause)}"
                logger.warning("no link; attempt %d in %.1f s: %s", info.attempt + 1, info.delay, Told(info.cause))
            case State.DISCONNECTED | State.CONNECTING | State.FAILED | State.STOPPED:
                pass
