"""A fork's child has copies of what its parent has open, and keeps its hands off it."""

import os
import weakref
from typing import Protocol


class Owner(Protocol):
    """What has something open that a child must not touch."""

    def _forked(self) -> None:
        """This process is the child now: give up what is the parent's, without using it and without telling anyone."""


_owners: weakref.WeakSet[Owner] = weakref.WeakSet()


def watch(owner: Owner) -> None:
    """Tell it if this process is forked."""
    _owners.add(owner)


def _in_child() -> None:
    for owner in list(_owners):
        owner._forked()
    _owners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
