"""What a play is, and how one says what it expected and what came instead."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from conformance.lab import Lab
from conformance.stand import ROLES, Role

Kind = Literal["right", "wrong"]
F = TypeVar("F", bound=Callable[..., Awaitable[None]])


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


def _decorator(
    kind: Kind, musts: tuple[str, ...], roles: Iterable[Role], each: Mapping[str, Any] | None
) -> Callable[[F], F]:
    def decorate(function: F) -> F:
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


def right(*musts: str, roles: Iterable[Role] = ROLES, each: Mapping[str, Any] | None = None) -> Callable[[F], F]:
    """The decorated function is a play by the rules; with `each` one for every value, which it gets as well."""
    return _decorator("right", musts, roles, each)


def wrong(*musts: str, roles: Iterable[Role] = ROLES, each: Mapping[str, Any] | None = None) -> Callable[[F], F]:
    """The same, of a play that breaks them."""
    return _decorator("wrong", musts, roles, each)
