"""What a peer costs is what `Config` says. `python tests/adversity/costs.py` is the same by hand, with figures."""

import pytest
from adversity.costs import LARGEST, WAYS, WORST, HalfOpen, Worst, half_open, worst_case

from muxtcp.config import READ, STRANGER

PLAIN = [way for way in WAYS if not way.over_tls]


@pytest.mark.parametrize("way", PLAIN, ids=lambda way: way.what)
def test_a_stranger_costs_little_before_its_handshake_ends(loop: str, way: HalfOpen) -> None:
    said = 0 if way is PLAIN[0] else LARGEST
    assert half_open(way, 100, loop).allocated <= STRANGER + READ * said


@pytest.mark.parametrize("way", WORST, ids=lambda way: way.what)
def test_a_session_costs_at_most_what_config_says(way: Worst) -> None:
    result = worst_case(way, "asyncio")
    assert result.allocated <= result.promised
