"""Sessions whose clients are gone cost what the server said, and give it back.

`python tests/adversity/parked.py --sessions 10000` is the same by hand, with figures.
"""

import os

from adversity.parked import WARM, Server, crowd
from adversity.peers import Peer

MEMORY = 4 << 20  # bytes: about 270 of the sessions below


def test_parked_sessions_stay_inside_their_budget_and_give_it_back(loop: str) -> None:
    with Server(loop, most=10_000, memory=MEMORY, granted=2.0) as server:
        with Peer("client", loop, port=server.port) as live:
            live.ask("echo", 10, answer="echoed")
            crowd(server, WARM)
            start = server.settled(gone=WARM)
            full = crowd(server, 600)
            assert full.counters["evicted"] > 0
            assert 0 < full.cost <= MEMORY
            if "libasan" not in os.environ.get("LD_PRELOAD", ""):  # which keeps what was freed
                assert full.resident - start.resident <= MEMORY
            assert live.ask("echo", 10, answer="echoed") == [20]
            over = server.settled(gone=WARM + 600)
            assert (over.sessions, over.waiting, over.cost) == (1, 0, 0)
            again = crowd(server, 600)
            if "libasan" not in os.environ.get("LD_PRELOAD", ""):
                assert again.resident - start.resident <= MEMORY
