"""The subset of SOCKS 5, byte by byte and at once."""

import pytest

from muxtcp import ChannelRefused, ChannelReset, Code
from muxtcp.forward.faults import Fault
from muxtcp.forward.socks import BadRequest, Conversation, reply_to

GREETING = bytes([5, 1, 0])
ACCEPTED = bytes([5, 0])
REQUESTS = {
    "db:5432": bytes([5, 1, 0, 3, 2]) + b"db" + (5432).to_bytes(2, "big"),
    "10.1.2.3:80": bytes([5, 1, 0, 1, 10, 1, 2, 3, 0, 80]),
    "[2001:db8::1]:443": bytes([5, 1, 0, 4]) + bytes.fromhex("20010db8000000000000000000000001") + bytes([1, 187]),
}


@pytest.mark.parametrize(("target", "request_bytes"), REQUESTS.items())
@pytest.mark.parametrize("step", [1, 3, 1_000])
def test_a_request_is_understood_however_it_is_cut(target: str, request_bytes: bytes, step: int) -> None:
    conversation, answers = Conversation(), b""
    said = GREETING + request_bytes + b"early"
    for at in range(0, len(said), step):
        answers += conversation.feed(said[at : at + step])
    assert answers == ACCEPTED
    assert str(conversation.target) == target
    assert conversation.rest == b"early"


def test_nothing_is_answered_too_early() -> None:
    conversation = Conversation()
    assert conversation.feed(bytes([5, 2, 1])) == b""
    assert conversation.feed(bytes([0])) == ACCEPTED
    assert conversation.target is None


@pytest.mark.parametrize(
    ("said", "what", "answer"),
    [
        (b"GET / HTTP/1.1\r\n", "does not speak SOCKS 5", b""),
        (bytes([4, 1, 0, 80, 1, 2, 3, 4, 0]), "does not speak SOCKS 5", b""),
        (bytes([5, 1, 2]), "insists on authentication", bytes([5, 0xFF])),
        (bytes([5, 0]), "insists on authentication", bytes([5, 0xFF])),
        (GREETING + bytes([5, 2, 0, 1, 0, 0, 0, 0, 0, 0]), "only CONNECT", bytes([5, 7, 0, 1, 0, 0, 0, 0, 0, 0])),
        (GREETING + bytes([5, 1, 0, 9, 0]), "address of type 9", bytes([5, 8, 0, 1, 0, 0, 0, 0, 0, 0])),
        (GREETING + bytes([4, 1, 0, 1, 0]), "request of version 4", b""),
        (GREETING + bytes([5, 1, 0, 3, 0, 0, 80]), "no place", bytes([5, 4, 0, 1, 0, 0, 0, 0, 0, 0])),
        (GREETING + bytes([5, 1, 0, 1, 1, 2, 3, 4, 0, 0]), "no place", bytes([5, 4, 0, 1, 0, 0, 0, 0, 0, 0])),
        (GREETING + bytes([5, 1, 0, 3, 1, 255, 0, 80]), "not a name", bytes([5, 4, 0, 1, 0, 0, 0, 0, 0, 0])),
    ],
)
def test_what_is_not_in_the_subset_is_refused(said: bytes, what: str, answer: bytes) -> None:
    with pytest.raises(BadRequest, match=what) as caught:
        Conversation().feed(said)
    assert caught.value.answer == answer


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ChannelRefused(channel_id=1, name="connect", code=Code.FORBIDDEN), 2),
        (ChannelReset(channel_id=1, name="connect", code=Fault.UNREACHABLE), 4),
        (ChannelReset(channel_id=1, name="connect", code=Fault.REFUSED), 5),
        (ChannelReset(channel_id=1, name="connect", code=Code.INTERNAL), 1),
        (TimeoutError("no link"), 1),
    ],
)
def test_why_it_failed_is_told(error: Exception, code: int) -> None:
    assert reply_to(error) == bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0])
