"""Every rule of docs/PROTOCOL.md has an id, and every id its plays: right and wrong, in both roles, or a reason."""

import re
from pathlib import Path

import pytest
from conformance.rules import RULES, SECTIONS
from conformance.stand import ROLES
from conformance.suite import PLAYS

SPEC = (Path(__file__).parents[2] / "docs" / "PROTOCOL.md").read_text()
RULES_OF_SPEC = SPEC[SPEC.index("\n## 1.") :]  # the introduction speaks about MUSTs
WAYS = [(kind, role) for kind in ("right", "wrong") for role in ROLES]


def test_every_rule_has_a_row() -> None:
    assert re.findall(r"\*\*\[([A-Z]-\d+)\]\*\*", RULES_OF_SPEC) == list(RULES)
    assert list(dict.fromkeys(rule[0] for rule in RULES)) == list(SECTIONS)


def test_every_must_has_an_id() -> None:
    """A paragraph or an item of a list that says MUST carries one."""
    blocks = re.split(r"\n(?=- |\n)", RULES_OF_SPEC)
    assert [block for block in blocks if "MUST" in block and not re.search(r"\[[A-Z]-\d+\]", block)] == []


def test_plays_cite_rules_that_are() -> None:
    assert {must for play in PLAYS for must in play.musts} == set(RULES)


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_is_played_right_and_wrong_in_both_roles(rule: str) -> None:
    played = {(play.kind, play.role) for play in PLAYS if rule in play.musts}
    unplayed = RULES[rule].unplayed
    excused = {(kind, role) for kind, role in WAYS if {kind, role, f"{kind} {role}"} & unplayed.keys()}
    assert not played & excused, "a play that cannot be"
    assert sorted(set(WAYS) - played) == sorted(excused)
