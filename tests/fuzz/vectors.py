"""The vectors of `tests/vectors` as inputs to begin with."""

from typing import Any

from support import vectors


def load(name: str, *keys: str) -> list[dict[str, Any]]:
    """The vectors under these keys of a file."""
    loaded = vectors.load(name)
    return [vector for key in keys for vector in loaded[key]]


def raw(pieces: Any) -> bytes:
    """Their bytes; commands in between are left out."""
    if isinstance(pieces, list):
        pieces = [piece for piece in pieces if isinstance(piece, str) or "repeat" in piece]
    return vectors.raw(pieces)
