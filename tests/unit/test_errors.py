import copy
import pickle
import re
from pathlib import Path

import pytest

from muxtcp import errors
from muxtcp.errors import (
    ChannelClosed,
    ChannelError,
    ChannelRefused,
    ChannelReset,
    Code,
    CodecError,
    EndOfStream,
    HandshakeError,
    LocalProtocolError,
    MessageTooLarge,
    MuxError,
    ProtocolError,
    ReconnectFailed,
    RemoteProtocolError,
    SessionClosed,
    SessionLost,
)

CHANNEL = {"channel_id": 3, "name": "echo"}
EXAMPLES = {
    "not allowed: DATA_AFTER_FINISH (0x110): send after send_eof": LocalProtocolError(
        code=0x110, reason="send after send_eof"
    ),
    "the peer broke the protocol: BAD_VARINT (0x101)": RemoteProtocolError(code=Code.BAD_VARINT),
    "session closed by this side: NO_ERROR (0x0)": SessionClosed(),
    "session closed by the peer: SHUTDOWN (0x4): deploy": SessionClosed(code=4, reason="deploy", remote=True),
    "session lost: 127.0.0.1:7777 reset the connection (silent for 1.5 s; 2,000 bytes not sent, "
    "3,000 sent and unconfirmed; own loop blocked for 0.2 s)": SessionLost(
        cause="127.0.0.1:7777 reset the connection", silent_for=1.5, queued=2000, loop_lag=0.2, unknown=3000
    ),
    "channel 3 'echo' ended: the peer has sent everything": EndOfStream(**CHANNEL),
    "channel 3 'echo' was closed by this side": ChannelClosed(**CHANNEL),
    "channel 3 'echo' was reset by the peer: code 0x1234: no more": ChannelReset(
        **CHANNEL, code=0x1234, reason="no more"
    ),
    "channel 3 'echo' was reset by this side: CANCELLED (0x2)": ChannelReset(**CHANNEL, code=2, remote=False),
    "channel 3 'echo' was refused by the peer: NOT_FOUND (0x10): no service 'echo'": ChannelRefused(
        **CHANNEL, code=0x10, reason="no service 'echo'"
    ),
    "channel 3 'echo' received a message of 2 bytes that its codec cannot decode: ValueError('no')": CodecError(
        **CHANNEL, message=b"no", cause="ValueError('no')"
    ),
    "message of 5,242,880 bytes is over the peer's max_message of 1,048,576": MessageTooLarge(
        size=5_242_880, limit=1_048_576
    ),
    "handshake refused: BUSY (0x12): full (retry after 1.5 s)": HandshakeError(
        code=0x12, reason="full", retry_after=1.5
    ),
    "gave up after 1 attempt in 2.0 s": ReconnectFailed(attempts=1, elapsed=2.0),
    "gave up after 1,000 attempts in 2.0 s": ReconnectFailed(attempts=1000, elapsed=2.0),
}


@pytest.mark.parametrize(("message", "error"), EXAMPLES.items(), ids=lambda value: type(value).__name__)
def test_messages_name_code_and_reason(message: str, error: MuxError) -> None:
    assert str(error) == message


@pytest.mark.parametrize("twin", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize("error", EXAMPLES.values(), ids=lambda error: type(error).__name__)
def test_survives_pickle_and_copy(error: MuxError, twin) -> None:
    error.add_note("seen by a worker")
    again = twin(error)
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert vars(again) == vars(error)


def test_every_exception_has_an_example() -> None:
    exceptions = {cls for cls in vars(errors).values() if isinstance(cls, type) and issubclass(cls, MuxError)}
    assert exceptions - {type(error) for error in EXAMPLES.values()} == {MuxError, ProtocolError, ChannelError}


def test_tree_in_the_docstring_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        if match := re.match(r" {4}([│├└─ ]*)([A-Z]\w+)", line):
            depth = len(match[1]) // 4
            path[depth:] = [match[2]]
            drawn[match[2]] = path[depth - 1] if depth else "Exception"
    real = {
        name: cls.__mro__[1].__name__
        for name, cls in vars(errors).items()
        if isinstance(cls, type) and issubclass(cls, MuxError)
    }
    assert drawn == real


def test_a_loss_is_a_connection_error_and_an_end_is_not() -> None:
    assert issubclass(SessionLost, ConnectionError)
    assert not issubclass(SessionClosed, OSError)
    assert not issubclass(EndOfStream, ConnectionError)


def test_codes_are_those_of_the_protocol() -> None:
    spec = Path(__file__).parents[2].joinpath("docs", "PROTOCOL.md").read_text()
    table = spec[spec.index("## 12. Codes") :]
    assert {
        name: int(number, 16) for number, name in re.findall(r"^\| (0x\w+) \| ([A-Z_0-9]+) \|", table, re.MULTILINE)
    } == {code.name: code.value for code in Code}


def test_unknown_codes_are_plain_ints() -> None:
    assert Code.of(0x12) is Code.BUSY
    assert type(Code.of(0x1234)) is int
    assert ChannelReset(**CHANNEL, code=0x1234).code == 0x1234
