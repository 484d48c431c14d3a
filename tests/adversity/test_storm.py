"""A crowd comes back to a server that was killed; by hand, with figures: `python tests/adversity/storm.py`."""

from adversity.storm import storm


def test_all_clients_of_a_killed_server_come_back() -> None:
    limits = {"max_handshakes": 8, "max_handshakes_per_address": 1}
    result = storm("asyncio", clients=50, processes=2, limits=limits)
    assert len(result.attempts) == result.counters["sessions"] == 50
    refused = result.counters.get("over_max_handshakes_per_address", 0)
    assert refused > 0  # or nothing was shown of the limit
    assert result.counters["accepted"] == 50 + refused
