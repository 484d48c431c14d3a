"""Hypothesis strategies: values of the protocol, and what a peer may say in one session, rightly or wrongly."""

from typing import Any

from hypothesis import strategies as st
from support import frames
from support.frames import Kind

numbers = st.one_of(st.integers(0, 300), st.integers(0, 2**63 - 1), st.sampled_from([2**k for k in range(63)]))
text = st.text(st.characters(codec="utf-8"), max_size=20)
meta = st.dictionaries(text, text, max_size=4)
openings = st.fixed_dictionaries(
    {
        "name": text,
        "meta": meta,
        "mode": st.sampled_from(frames.MODES),
        "priority": st.integers(0, 3),
        "deadline_ms": st.none() | st.integers(0, 2**53),
        "traceparent": st.none() | text,
    }
)

# Sizes around everything that decides: nothing, a PART's least, a frame's and a message's most.
sizes = st.sampled_from([0, 1, 63, 64, 1_023, 1_024, 5_000, 16_383, 16_384, 16_385, 19_936, 20_000])
limits = st.one_of(st.integers(262_144, 600_000), st.sampled_from([0, 262_143, 262_144, 2**53, 2**53 + 1]))


@st.composite
def any_frame(draw: st.DrawFn) -> bytes:
    """One frame with a good form, whatever its sense may be."""
    channel = draw(st.integers(1, 8))
    match draw(st.sampled_from(Kind)):
        case Kind.DATA | Kind.PART as kind:
            return frames.frame(channel, kind, bytes(min(draw(sizes), 16_384)))
        case Kind.OPEN:
            return frames.open(channel, **draw(openings))
        case Kind.CREDIT:
            return frames.credit(channel, draw(limits))
        case Kind.FINISH:
            return frames.finish(channel)
        case Kind.RESET:
            return frames.reset(channel, draw(numbers), draw(text))
        case Kind.BLOCKED:
            return frames.blocked(channel, draw(st.sampled_from([0, 100, 32_768, 2**40])), draw(numbers))
        case _:
            return draw(any_record())


@st.composite
def any_record(draw: st.DrawFn) -> bytes:
    """One record of the time after the handshake with a good form."""
    build: Any = draw(
        st.sampled_from(
            [
                lambda: frames.ping(draw(numbers)),
                lambda: frames.pong(draw(st.integers(1, 3))),
                lambda: frames.goaway(draw(st.integers(0, 10)), draw(st.integers(0, 5)), draw(text)),
                lambda: frames.session_credit(draw(limits)),
                lambda: frames.session_blocked(draw(st.sampled_from([0, 65_536, 2**40])), draw(numbers)),
                lambda: frames.channel_credit(draw(st.sampled_from([1_023, 1_024, 2_000, 2**53, 2**53 + 1]))),
            ]
        )
    )
    made: bytes = build()
    return made


@st.composite
def mangled(draw: st.DrawFn, good: bytes) -> bytes:
    """The same frame with one byte changed; whatever it says now, filler completes it to a whole frame."""
    at = draw(st.integers(0, min(len(good) - 1, 40)))
    return good[:at] + bytes([draw(st.integers(0, 255))]) + good[at + 1 :]


@st.composite
def peer_script(draw: st.DrawFn, *, client: bool, wrong: bool) -> list[bytes]:
    """Frames of a peer (`client` or server) after the handshake with one that announced SMALL; all good unless `wrong`.

    The good ones keep to the rules by construction: ids in order, fragments complete, inside every limit of SMALL.
    """
    script: list[bytes] = []
    opened: list[int] = []
    spent: dict[int, int] = {}
    for _ in range(draw(st.integers(1, 15))):
        if wrong and draw(st.integers(0, 7)) == 0:
            frame = draw(any_frame())
            script.append(draw(mangled(frame)) if draw(st.booleans()) else frame)
            continue
        action = draw(st.sampled_from(["open", "send", "send", "send", "finish", "reset", "credit", "record"]))
        if action == "open" and len(spent) < SMALL["max_channels"]:
            channel = 2 * len(spent) + (1 if client else 2)
            opened.append(channel)
            spent[channel] = 0
            script.append(frames.open(channel, **{**draw(openings), "mode": "rw"}))
        elif action == "record":
            script.append(
                draw(st.sampled_from([frames.ping(7), frames.session_credit(2**30), frames.channel_credit(2_000)]))
            )
        elif action in ("send", "finish", "reset", "credit") and opened:
            channel = draw(st.sampled_from(opened))
            if action == "send":
                size = draw(sizes)
                if spent[channel] + size + 64 <= SMALL["channel_window"] // 2:
                    spent[channel] += size + 64
                    script += message(channel, bytes(size), draw(st.sampled_from([1_024, 3_000, 16_384])))
            elif action == "credit":
                script.append(frames.credit(channel, 2**30))
            else:
                script.append(frames.finish(channel) if action == "finish" else frames.reset(channel, draw(numbers)))
                opened.remove(channel)
    return script


SMALL = {"max_frame": 16_384, "max_message": 20_000, "channel_window": 49_152, "session_window": 98_304,
         "max_channels": 4}  # fmt: skip


def message(channel: int, data: bytes, size: int) -> list[bytes]:
    """The frames of one message in fragments of that size."""
    last = max(len(data) - 1, 0) // size * size
    return [frames.part(channel, data[at : at + size]) for at in range(0, last, size)] + [
        frames.data(channel, data[last:])
    ]
