"""What is said of a cause that comes again and again."""

import asyncio
import logging

import pytest

from muxtcp import Code, HandshakeError, isolation
from muxtcp.isolation import CAUSES, PERIOD, Sparing, callback_failed

TIMES = 10_000


class Clock:
    now = 1_000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(isolation, "time", clock)
    return clock


@pytest.fixture
def logger() -> Sparing:
    return Sparing("muxtcp.test")


def fails(message: str) -> Exception:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def fails_elsewhere(message: str) -> Exception:
    try:
        raise ValueError(message)
    except ValueError as error:
        return error


def test_a_burst_is_a_handful_of_lines_that_count_the_others(
    clock: Clock, logger: Sparing, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(1, TIMES + 1):
        logger.error("channel %d failed", number, exc_info=fails(f"at {number}"))
    assert caplog.messages == [
        "channel 1 failed",
        "channel 10 failed (and 8 more in the last 0.0 s)",
        "channel 100 failed (and 89 more in the last 0.0 s)",
        "channel 1000 failed (and 899 more in the last 0.0 s)",
        "channel 10000 failed (and 8,999 more in the last 0.0 s)",
    ]
    assert {record.filename for record in caplog.records} == {"test_isolation.py"}


def test_what_goes_on_is_said_every_period(clock: Clock, logger: Sparing, caplog: pytest.LogCaptureFixture) -> None:
    for number in range(1, TIMES + 1):
        logger.error("channel %d failed", number)
        clock.now += PERIOD / 5
    first, tenth, *later = caplog.messages
    assert first == "channel 1 failed"
    assert tenth == "channel 6 failed (and 4 more in the last 60.0 s)"
    assert len(later) == (TIMES - 6) // 5
    assert all("(and 4 more in the last 60.0 s)" in line for line in later)


def test_causes_are_told_apart_by_kind_and_place_but_not_by_what_a_peer_says(
    logger: Sparing, caplog: pytest.LogCaptureFixture
) -> None:
    for said in "one", "two":
        logger.error("%r failed", said)
        logger.error("%r: failed", said)
        logger.error("failed", exc_info=fails(said))
        logger.error("failed", exc_info=fails_elsewhere(said))
        logger.error("refused: %s", HandshakeError(code=Code.BUSY, reason=said))
        logger.error("refused: %s", HandshakeError(code=Code.FORBIDDEN, reason=said))
        logger.error("refused: %s", HandshakeError(code=0x123456 + len(said), reason=said))
        logger.error("refused: %s", HandshakeError(code=0x654321 + len(said), reason=said))
        logger.error("refused: %s", ConnectionResetError(said))
    assert len(caplog.records) == 8
    assert "two" not in caplog.text


def test_what_is_remembered_is_bounded(logger: Sparing) -> None:
    for number in range(2 * CAUSES):
        logger.error(f"message {number}")
    assert len(Sparing.causes) == CAUSES


def test_two_threads_may_forget_the_same_cause(logger: Sparing, monkeypatch: pytest.MonkeyPatch) -> None:
    class Shared(dict):
        """Another thread is always a little faster."""

        def pop(self, key: object, *default: object) -> object:
            del self[key]
            return super().pop(key, *default)

    monkeypatch.setattr(Sparing, "causes", Shared())
    for number in range(CAUSES + 1):
        logger.error(f"message {number}")
    assert len(Sparing.causes) == CAUSES


def test_the_current_exception_is_told_apart_as_one_that_is_given(
    logger: Sparing, caplog: pytest.LogCaptureFixture
) -> None:
    for error in ValueError("one"), KeyError("two"), ValueError("three"):
        try:
            raise error
        except LookupError:
            logger.exception("failed")
        except ValueError:
            logger.error("failed", exc_info=True)
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, KeyError]


def test_what_nobody_listens_to_is_not_counted(logger: Sparing) -> None:
    logger.debug("nothing")
    assert not Sparing.causes


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=repr)
def test_who_wants_to_leave_the_loop_leaves_it(
    error: BaseException, logger: Sparing, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.new_event_loop()
    after = []
    callback_failed(loop, logger, error, "failed")
    loop.call_soon(after.append, "the rest goes on, later")
    with pytest.raises(type(error)) as caught:
        loop.run_forever()
    assert caught.value is error
    assert not caplog.records
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert after
    loop.close()


def test_a_cancellation_that_is_none_is_a_failure(logger: Sparing, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.new_event_loop()
    callback_failed(loop, logger, asyncio.CancelledError(), "a callback of %d failed", 7)
    assert caplog.messages == ["a callback of 7 failed"]
    assert caplog.records[0].levelno == logging.ERROR
    loop.close()
