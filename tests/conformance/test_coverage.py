"""Every rule of docs/PROTOCOL.md has an id, and every id a case that plays it."""

import json
import re
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
SPEC = (HERE.parent.parent / "docs" / "PROTOCOL.md").read_text()
RULES = SPEC[SPEC.index("\n## 1.") :]  # the introduction speaks about MUSTs


def cited(tree: Any) -> set[str]:
    """All ids under a key `musts`, at any depth."""
    if isinstance(tree, dict):
        return set(tree.get("musts", [])).union(*map(cited, tree.values()))
    return set().union(*map(cited, tree)) if isinstance(tree, list) else set()


def test_every_rule_has_a_case() -> None:
    rules = set(re.findall(r"\*\*\[([A-Z]-\d+)\]\*\*", RULES))
    played = cited([json.loads((HERE.parent / "vectors" / f"{name}.json").read_text()) for name in TABLES])
    for source in HERE.glob("test_*.py"):
        for marked in re.findall(r"\bmusts\(([^)]*)\)", source.read_text()):
            played |= set(re.findall(r'"([A-Z]-\d+)"', marked))
    assert played == rules


TABLES = ["violations", "handshakes"]


def test_every_must_has_an_id() -> None:
    """A paragraph or an item of a list that says MUST carries one."""
    blocks = re.split(r"\n(?=- |\n)", RULES)
    assert [block for block in blocks if "MUST" in block and not re.search(r"\[[A-Z]-\d+\]", block)] == []
