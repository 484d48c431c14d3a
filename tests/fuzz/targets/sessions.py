"""Two engines under users who do anything, bytes in pieces: the state machine of `tests/property/test_session.py`.

There Hypothesis draws the steps, here the input does. Nobody breaks a rule, so nothing may be lost, nobody may wait for
ever, and in the end all credit and all channels have come back.
"""

from collections.abc import Iterator

from fuzz import mutate
from fuzz.drawn import Drawn
from property.test_session import Sessions

STEPS = 60
SIZES = [0, 1, 100, 5_000, 16_385, 40_000, 150_000]
CARRIED = [70_000, 5_000, 100, 5, 1]
MODES = ["rw", "rw", "r", "w"]
PAIRS = [("engine", "engine")] * 6 + [("engine", "model"), ("model", "engine")]


def one(data: bytes) -> None:
    chance = Drawn(data)
    sessions = Sessions(*chance.choice(PAIRS))
    modes = tuple([chance.choice(MODES) for _ in range(chance.choice(range(1, 4)))] for _ in range(2))
    sessions.begin(modes=modes)
    for _ in range(STEPS):
        if not chance.left:
            break
        step(sessions, chance)
        sessions.what_arrived_is_a_prefix_of_what_was_sent()
    sessions.teardown()


def step(sessions: Sessions, chance: Drawn) -> None:
    side, which = chance.choice([0, 1]), chance.choice(range(21))
    match chance.choice(["send", "send", "carry", "carry", "consume", "consume", "open", "finish", "reset", "release",
                         "tick", "go_away"]):  # fmt: skip
        case "send":
            messages = [(side, which + index, chance.choice(SIZES)) for index in range(chance.choice([1, 1, 2, 5]))]
            sessions.send(messages=messages, side=1 - side, carried=chance.choice(CARRIED))
        case "carry":
            sessions.carry(side=side, size=chance.choice(CARRIED))
        case "open":
            if sessions.users[side].may_open and not sessions.users[side].wants_open:
                sessions.open(side=side, mode=chance.choice(MODES), priority=chance.choice(range(4)))
        case "tick":
            sessions.ping_and_tick(side=side, seconds=chance.choice([0.001, 11.0]))
        case "go_away":
            if all(user.may_open and user.ends for user in sessions.users):
                sessions.go_away(side=side, luck=chance.choice(range(5)))
        case name:
            getattr(sessions, name)(side=side, which=which)


def seeds() -> Iterator[bytes]:
    for number in range(32):
        yield bytes((number * 53 + index * (2 * number + 1)) % 256 for index in range(60 + number * 4))


change = mutate.of_choices(400)
