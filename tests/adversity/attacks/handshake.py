"""Before a session is up: connections that cost more than their bytes."""

from collections.abc import Iterator
from contextlib import ExitStack

from adversity.attacks.wire import Wire, attack
from support import frames
from support.frames import PREFACE

CROWD = 64  # connections that a client holds at once: four times what its address may have in their handshake


@attack(
    row="slowloris: handshakes that come a byte at a time",
    learnt="slowloris, 2009",
    defence="a deadline for the whole handshake, caps for a listener and for each address, 16 KiB for a record",
    fields=("handshake_timeout", "max_handshakes", "max_handshakes_per_address"),
    sign="HANDSHAKE_TIMEOUT",
    config={"handshake_timeout": 0.3},
    wires=CROWD,
)
def slowloris(wire: Wire) -> Iterator[None]:
    with ExitStack() as stack:
        crowd = [wire, *(stack.enter_context(wire.another()) for _ in range(CROWD - 1))]
        for byte in PREFACE + frames.hello(auth=bytes(8_000)):
            for each in list(crowd):
                try:
                    each.say(bytes([byte]))
                except ConnectionError:
                    crowd.remove(each)
            if not crowd:
                return
            yield


@attack(
    row="connections by the thousand, each with a HELLO and no wish to hear the answer",
    learnt="reconnect storms; clients that were thrown out and come back at once",
    defence="caps on unfinished handshakes; few connections are taken in one wake-up",
    fields=("max_handshakes", "max_handshakes_per_address"),
    sign="over_max_handshakes_per_address",
    wires=CROWD,
)
def connection_flood(wire: Wire) -> Iterator[None]:
    wire.say(PREFACE)
    with ExitStack() as stack:
        crowd = [wire]
        for _ in range(CROWD):
            crowd.append(stack.enter_context(wire.another()))
            crowd[-1].say(PREFACE)
            yield
        for each in crowd:
            each.say(frames.hello())
            yield


@attack(
    row="a handshake without end",
    learnt="CONTINUATION floods, 2024",
    defence="16 KiB, judged by the header before anything is stored",
    fields=("handshake_timeout",),
    sign="HANDSHAKE_TOO_LARGE",
)
def endless_hello(wire: Wire) -> Iterator[None]:
    wire.say(PREFACE + frames.varint(200_000_000) + b"\0\1")
    while True:
        wire.say(bytes(1 << 16))
        yield


@attack(
    row="frames before the handshake has ended (prefix truncation, first frame unchecked)",
    learnt="Terrapin, CVE-2023-48795; CVE-2026-32314",
    defence="nothing may come before the answer; counters begin behind it; a resumption's MAC covers all that was said",
    fields=("handshake_timeout",),
    sign="EARLY_FRAME",
)
def early_frames(wire: Wire) -> Iterator[None]:
    wire.say(PREFACE + frames.hello() + frames.open(1, "sink") + frames.data(1, b"too early"))
    wire.linger()
    yield


@attack(
    row="a client of another protocol",
    learnt="port scans; cross-protocol requests",
    defence="a preface that no other protocol begins with; one readable line in answer",
    fields=("handshake_timeout",),
    sign="BAD_PREFACE",
)
def other_protocol(wire: Wire) -> Iterator[None]:
    wire.say(b"GET / HTTP/1.1\r\nHost: example.com\r\n\r\n")
    wire.linger()
    yield


@attack(
    row="metadata of thousands of tiny pairs",
    learnt="header tables, as CVE-2016-1544",
    defence="at most 64 pairs; kept as the bytes that came, and decoded when they are looked at",
    fields=("handshake_timeout",),
    sign="BAD_PARAMETER",
)
def crowded_hello(wire: Wire) -> Iterator[None]:
    wire.say(PREFACE + frames.hello(meta={f"{number:x}": "" for number in range(2_500)}))
    wire.linger()
    yield
