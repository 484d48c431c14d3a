"""A short form of `adversity/false_death.py`, with less patience."""

import pytest
from adversity.false_death import KINDS, under_load
from support.network import Network

IMPATIENT = {"keepalive": 2.0, "keepalive_timeout": 2.0}
ENOUGH = 300_000  # bytes of messages that each end receives, at 125,000 a second: the idle session must be asked twice


@pytest.mark.slow
def test_who_is_slow_lives_and_who_is_gone_is_found(loop: str, network: Network) -> None:
    with under_load(network, loop, **IMPATIENT) as ends:
        for end in ends:
            while (figures := end.figures)["received"] < ENOUGH:
                pass
            assert figures["over"] == []
        assert any(end.figures["probes"]["idle"] for end in ends)  # else it proves nothing
        network.black_hole()
        for end in ends:
            losses = end.losses()
            assert set(losses) == set(KINDS)
            assert all("nothing heard for" in why for _, why in losses.values()), losses
