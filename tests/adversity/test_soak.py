"""A short form of `adversity/soak.py`: a number of conversations instead of a time."""

from adversity.soak import STEADY, Soak

CONVERSATIONS = 150
RESUME = 4.0  # seconds: coming to rest may take as long
PAUSE = 0.1  # seconds between two breaks at most


def test_everything_at_once_loses_nothing_and_leaves_nothing(loop: str) -> None:
    with Soak(loop, seed=1, resume=RESUME) as soak:
        for _ in range(2):
            soak.round(conversations=CONVERSATIONS, pause=PAUSE)
    client, server = soak.rows["client"][-1], soak.rows["server"][-1]
    assert client["resumed"] > 0
    assert min(client["cancellations"], server["cancellations"]) > 0
    for rows in soak.rows.values():
        assert all(rows[-1][name] <= rows[0][name] for name in STEADY), rows
