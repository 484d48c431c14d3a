import dataclasses
import math

import pytest

from muxtcp.config import Config

MIB = 1 << 20


def test_defaults_are_valid_and_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Config().max_frame = 1 << 20  # type: ignore[misc]


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Config)])
def test_every_field_has_a_range(name: str) -> None:
    spec = Config.__dataclass_fields__[name].metadata
    related = {
        "memory_limit": 1 << 50,
        "max_message": 1024,
        "session_window": 1024,
        "high_water": 1 << 31,
        "low_water": 0,
    }
    for value in (spec["low"], spec["high"]):
        assert getattr(Config(**(related | {name: value})), name) == value
    for value in (spec["low"] - 1, spec["high"] + 1, -1, "1", True, [], math.nan):
        with pytest.raises(ValueError, match=rf"bad configuration: {name} "):
            Config(**{name: value})


@pytest.mark.parametrize("name", ["notsent_lowat", "keepalive", "user_timeout"])
def test_what_can_be_off(name: str) -> None:
    assert getattr(Config(**{name: None}), name) is None


def test_the_rest_cannot_be_off() -> None:
    with pytest.raises(ValueError, match="close_timeout must be a number, not None"):
        Config(close_timeout=None)  # type: ignore[arg-type]


def test_one_error_lists_every_finding_with_number_and_range() -> None:
    with pytest.raises(ValueError, match="bad configuration") as caught:
        Config(max_frame=1, max_channels=0, keepalive="often")  # type: ignore[arg-type]
    assert str(caught.value) == (
        "bad configuration: max_frame is 1, not between 16,384 and 16,777,216; "
        "max_channels is 0, not between 1 and 2,147,483,648; keepalive must be a number or None, not 'often'"
    )


@pytest.mark.parametrize(
    ("values", "finding"),
    [
        (
            {"max_message": 16 * MIB},
            "memory_limit of 16,777,216 cannot hold a message of max_message, which costs 16,777,280",
        ),
        ({"session_window": 17 * MIB}, "memory_limit of 16,777,216 is below session_window of 17,825,792"),
        ({"high_water": 1000}, "high_water of 1,000 is below low_water of 16,384"),
    ],
)
def test_fields_that_contradict_each_other(values: dict[str, int], finding: str) -> None:
    with pytest.raises(ValueError, match=f"^bad configuration: {finding}$"):
        Config(**values)


def test_a_message_that_just_fits_the_memory() -> None:
    assert Config(max_message=16 * MIB - 64).max_message == 16 * MIB - 64


def test_worst_case_adds_up_and_says_so() -> None:
    cost = Config(memory_limit=64 * MIB).worst_case()
    assert cost.total == cost.received + cost.sent + cost.channels + cost.reading + cost.session
    assert cost.received == 72 * MIB  # room for a message that is arriving grows in eighths
    words = str(cost)
    assert f"at most {cost.total / MIB:.1f} MiB" in words
    assert "72.0 MiB of received messages that nobody consumed (memory_limit)" in words
    assert "16 KiB, and six times what it has said (of at most 16 KiB), for 5 s" in words
    assert "up to 336 KiB more from its first byte on, of the event loop and OpenSSL: 84.0 MiB for those" in words
