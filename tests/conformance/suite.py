"""All plays, and how some are chosen."""

import re
from collections.abc import Iterable

from conformance import behaviour, resuming, resuming_client, resuming_server, tables
from conformance.plays import PLAYS, Play
from conformance.stand import Role

__all__ = ["PLAYS", "behaviour", "chosen", "resuming", "resuming_client", "resuming_server", "tables"]


def chosen(patterns: Iterable[str], roles: Iterable[Role]) -> list[Play]:
    """Plays of these roles, of a rule (`S-4`), of a section (`S`), or with a text in their name."""
    wanted = list(patterns)

    def fits(play: Play) -> bool:
        return not wanted or any(_fits(play, pattern) for pattern in wanted)

    return [play for play in PLAYS if play.role in roles and fits(play)]


def _fits(play: Play, pattern: str) -> bool:
    if re.fullmatch(r"[A-Z]-\d+", pattern):
        return pattern in play.musts
    if re.fullmatch(r"[A-Z]", pattern):
        return any(must.startswith(pattern) for must in play.musts)
    return pattern in play.name
