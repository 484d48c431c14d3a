"""All attacks, by name."""

import inspect
from dataclasses import fields
from pathlib import Path

from adversity.attacks import channels, floods, flow, handshake, resumption
from adversity.attacks.wire import ATTACKS, Attack

from muxtcp import Config, serve

__all__ = ["ATTACKS", "MODULES", "Attack", "as_markdown"]

MODULES = (handshake, floods, flow, channels, resumption)
HEAD = "| attack | where it was learnt | defence | bounded by | what tells of it | script |\n|---|---|---|---|---|---|"


def bound(field: str) -> str:
    """A field of `Config`, or an argument of `serve()`, with its default."""
    if not field.endswith("="):
        (default,) = (f.default for f in fields(Config) if f.name == field)
    else:
        default = inspect.signature(serve).parameters[field.removesuffix("=")].default
    return f"`{field}` {default:,}"


def as_markdown() -> str:
    """The table of docs/attacks.md."""
    rows = []
    for name, attack in ATTACKS.items():
        script = f"{Path(inspect.getfile(attack.script)).stem}: {name}"
        bounds = ", ".join(map(bound, attack.fields)) or "the protocol"
        rows.append(f"| {attack.row} | {attack.learnt} | {attack.defence} | {bounds} | `{attack.sign}` | {script} |")
    return "\n".join([HEAD, *rows])
