"""The peer's stream ends in the middle of a session over TLS, with TLS's own goodbye (close_notify) or without."""

import logging
import os
import socket

import pytest
from support import frames
from support.leftovers import sockets, timers
from support.raw import RawPeer
from support.rawpeer import facing

from muxtcp import SessionLost

HALF_A_FRAME = frames.data(1, bytes(100))[:50]


def with_goodbye(peer: RawPeer) -> None:
    peer.writer.close()


def without(peer: RawPeer) -> None:
    """What anybody on the way can do: end the TCP stream under TLS."""
    with socket.socket(fileno=os.dup(peer.writer.get_extra_info("socket").fileno())) as connection:
        connection.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("role", ["server", "client"])
@pytest.mark.parametrize("end", [with_goodbye, without])
@pytest.mark.parametrize(
    ("rest", "where"),
    [(b"", "without a goodbye"), (HALF_A_FRAME, "inside a frame")],
    ids=["between frames", "inside a frame"],
)
async def test_it_is_a_loss(role: str, end, rest: bytes, where: str, caplog: pytest.LogCaptureFixture) -> None:
    """What came before the end is received, then everybody is told; nothing is logged, and nothing is left behind."""
    caplog.set_level(logging.WARNING)
    connected, pending = sockets(), timers()
    async with facing(role, tls=True) as (peer, user):
        await peer.greet()
        number = 1 if role == "server" else 2
        await peer.send(frames.open(number, "feed"), frames.data(number, b"all there is"))
        channel = await user.channel(number)
        session = channel.session
        assert session.ssl_object is not None
        assert await channel.recv() == b"all there is"
        receiving = user.later(channel.recv())
        await peer.probe()
        await peer.send(rest)
        end(peer)
        with pytest.raises(SessionLost) as lost:
            await receiving
        await session.wait_closed()
        assert lost.value.cause == f"the connection ended {where}"
        for attempt in (channel.recv, lambda: channel.send(b"more"), lambda: session.open("another"), session.ping):
            with pytest.raises(SessionLost) as again:
                await attempt()
            assert again.value.cause == lost.value.cause
    assert [record.getMessage() for record in caplog.records] == []
    assert timers() == pending
    assert sockets() == connected
