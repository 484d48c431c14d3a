"""The vectors of `tests/vectors` as inputs to begin with."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "vectors"


def load(name: str, *keys: str) -> list[dict[str, Any]]:
    """The vectors under these keys of a file."""
    loaded = json.loads((FOLDER / f"{name}.json").read_text())
    return [vector for key in keys for vector in loaded[key]]


def raw(pieces: Any) -> bytes:
    """The bytes of a hex string, of a repetition, or of a list of both; commands in between are left out."""
    match pieces:
        case str():
            return bytes.fromhex(pieces)
        case {"repeat": piece, "times": times}:
            return raw(piece) * times
        case list():
            return b"".join(map(raw, pieces))
        case _:
            return b""
