"""What a play is, and how one says what it expected and what came instead."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from conformance.lab import Lab
from conformance.stand import ROLES, Role

Kind = Literal["right", "wrong"]


@dataclass(frozen=True)
class Play:
    """One thing that is tried with an implementation in one role.

    Attributes:
        kind: whether the runner keeps to the rules ("right"), and watches whether the implementation does, or breaks
            them ("wrong"), and watches whether that is found.
        musts: the rules that it is about.
    """

    name: str
    kind: Kind
    role: Role
    musts: tuple[str, ...]
    run: Callable[[Lab], Awaitable[None]]

    def __str__(self) -> str:
        return f"{self.role}: {self.name}"


PLAYS: list[Play] = []


def add(kind: Kind, musts: Iterable[str], role: Role, name: str, run: Callable[[Lab], Awaitable[None]]) -> None:
    assert not any(other.name == name and other.role == role for other in PLAYS), f"two plays are called {name!r}"
    PLAYS.append(Play(name, kind, role, tuple(musts), run))


def _decorator(kind: Kind, musts: tuple[str, ...], roles: Iterable[Role], each: Mapping[str, Any] | None) -> Any:
    def decorate(function: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
        title = function.__name__.replace("_", " ")
        for role in roles:
            if each is None:
                add(kind, musts, role, title, function)
            else:
                for name, value in each.items():
                    add(kind, musts, role, f"{title}: {name}", _with(function, value))
        return function

    return decorate


def _with(function: Callable[..., Awaitable[None]], value: Any) -> Callable[[Lab], Awaitable[None]]:
    return lambda lab: function(lab, value)


def right(*musts: str, roles: Iterable[Role] = ROLES, each: Mapping[str, Any] | None = None) -> Any:
    """The decorated function is a play by the rules; with `each` one for every value, which it gets as well."""
    return _decorator("right", musts, roles, each)


def wrong(*musts: str, roles: Iterable[Role] = ROLES, each: Mapping[str, Any] | None = None) -> Any:
    """The same, of a play that breaks them."""
    return _decorator("wrong", musts, roles, each)


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
