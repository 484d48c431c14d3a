"""Changes to an input: of its bytes, and of the frames that it holds."""

import random
from collections.abc import Callable

from fuzz import speech
from support import frames
from support.frames import NeedMore, Violation

Mutator = Callable[[bytes, bytes, random.Random], bytes]  # the input, another one of the corpus, chance -> a new input

ODD = [bytes([n]) for n in (0, 1, 0x7F, 0x80, 0xFF)] + [frames.varint(n) for n in speech.NUMBERS]
ODD += [b"\x80\x00", b"\xff" * 8 + b"\x7f", b"\xff" * 9, b"\xc3\xa9", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"]


def of_bytes(data: bytes, other: bytes, chance: random.Random) -> bytes:
    """Some changes, each of a few bytes anywhere or of a piece."""
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 3, 8])):
        at, end = sorted(chance.randrange(len(changed) + 1) for _ in range(2))
        match chance.randrange(8):
            case 0 if at < len(changed):
                changed[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(changed):
                changed[at] = chance.randrange(256)
            case 2:
                odd = chance.choice(ODD)
                changed[at : at + len(odd) * chance.randrange(2)] = odd
            case 3:
                changed[at:at] = chance.randbytes(chance.choice([1, 2, 4, 16]))
            case 4:
                del changed[at : min(end, at + chance.choice([1, 2, 8, 64]))]
            case 5:
                changed[at:at] = changed[at : min(end, at + 64)]  # twice
            case 6:
                begin = chance.randrange(len(other) + 1)
                changed[at:end] = other[begin : begin + chance.choice([1, 4, 16, 256])]
            case _:
                del changed[end:]
    return bytes(changed)


def of_frames(head: int) -> Mutator:
    """Changes of whole frames behind the first `head` bytes of an input, or inside one; lengths stay right."""

    def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
        if chance.randrange(4) == 0:
            return of_bytes(data, other, chance)
        if chance.randrange(8) == 0:
            start = of_bytes(data[:head], other[:head], chance)[:head].ljust(head, b"\0")
        else:
            start = data[:head]
        script = cut(data[head:])
        for _ in range(chance.choice([1, 1, 2, 4])):
            at = chance.randrange(len(script) + 1)
            match chance.randrange(7):
                case 0 if at < len(script):
                    del script[at]
                case 1 if at < len(script):
                    script.insert(chance.randrange(len(script) + 1), script[at])
                case 2 if at < len(script):
                    script.insert(chance.randrange(len(script)), script.pop(at))
                case 3:
                    script[at:at] = chance.choices(cut(other[head:]) or [b""], k=chance.choice([1, 2, 5]))
                case 4 | 5 if at < len(script):
                    script[at] = inside(script[at], chance)
                case _:
                    script.insert(at, speech.any_frame(chance))
        return start + b"".join(script)

    return mutate


def cut(data: bytes) -> list[bytes]:
    """The frames of `data`; what is none of them is one piece."""
    found, at = [], 0
    if data.startswith(frames.PREFACE):
        at = len(frames.PREFACE)
        found.append(data[:at])
    while at < len(data):
        try:
            _, end = frames.take_frame(data, at)
        except (NeedMore, Violation):
            end = len(data)
        found.append(data[at:end])
        at = end
    return found


def inside(frame: bytes, chance: random.Random) -> bytes:
    """The same frame with another tag or payload, and the length that it has then."""
    try:
        (channel, kind, payload), _ = frames.take_frame(frame)
    except (NeedMore, Violation):
        return of_bytes(frame, frame, chance)
    match chance.randrange(4):
        case 0:
            channel = chance.choice([max(channel + chance.choice([-2, -1, 1, 2]), 0), *speech.CHANNELS])
        case 1:
            return frames.frame(channel, chance.randrange(8), payload)
        case 2:
            payload = payload.ljust(chance.choice(speech.SIZES), b"x")
        case _:
            payload = of_bytes(payload, payload, chance)
    return frames.frame(channel, kind, payload)


def simple(head: int) -> Mutator:
    """Changes of bytes; the first `head` of them, which choose, are changed less often."""

    def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
        if chance.randrange(8) == 0:
            return of_bytes(data, other, chance)
        return data[:head].ljust(head, b"\0") + of_bytes(data[head:], other[head:], chance)

    return mutate


def of_choices(longest: int) -> Mutator:
    """For inputs that `Drawn` reads: pieces of programs, and programs from nothing."""

    def mutate(data: bytes, other: bytes, chance: random.Random) -> bytes:
        match chance.randrange(6):
            case 0:
                return chance.randbytes(chance.choice([8, 40, longest]))
            case 1:
                return (data + chance.randbytes(chance.choice([4, 40, 200])))[:longest]
            case 2:
                return (data[: chance.randrange(len(data) + 1)] + other)[:longest]
            case _:
                return of_bytes(data, other, chance)[:longest]

    return mutate
