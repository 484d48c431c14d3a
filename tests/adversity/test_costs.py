"""What a peer costs is what `Config` says. `python tests/adversity/costs.py` is the same by hand, with figures."""

import pytest
from adversity.costs import LARGEST, WAYS, WORST, HalfOpen, Worst, half_open, worst_case

from muxtcp.config import READ, STRANGER, TLS


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.what)
def test_a_stranger_costs_little_before_its_handshake_ends(loop: str, way: HalfOpen) -> None:
    most = STRANGER + (READ * LARGEST if way.says_hello else 0) + (TLS if way.over_tls else 0)
    assert half_open(way, 100, loop).allocated <= most


@pytest.mark.parametrize("way", WORST, ids=lambda way: way.what)
def test_a_session_costs_at_most_what_config_says(way: Worst) -> None:
    result = worst_case(way, "asyncio")
    assert result.allocated <= result.promised
