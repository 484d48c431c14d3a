"""Reads the vectors of `tests/vectors`."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "vectors"


def load(name: str) -> dict[str, Any]:
    """A file of vectors."""
    loaded: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text())
    return loaded


def raw(pieces: Any) -> bytes:
    """The bytes of a hex string, of a repetition, or of a list of both."""
    match pieces:
        case str():
            return bytes.fromhex(pieces)
        case {"repeat": piece, "times": times}:
            return raw(piece) * times
        case _:
            return b"".join(map(raw, pieces))
