"""The transitions of a channel, against the specification's table; the table from id to channel, against a set."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from muxtcp import _table

PAGE = Path(__file__).parents[2] / "docs" / "PROTOCOL.md"
COLUMNS = {"R DATA/PART": "R_DATA"} | {step.replace("_", " "): step for step in _table.STEPS if step != "R_DATA"}
# What the page calls the outcomes that are no states. A frame on a CLOSED channel never gets as far as the table.
OUTCOMES = {"\N{EN DASH}": "ILLEGAL", "discarded": "DISCARD", "ignored": "DISCARD",
            "DATA_AFTER_FINISH": "AFTER_FINISH", "CHANNEL_ENDED": "AFTER_FINISH"}  # fmt: skip


def rows_of_the_page() -> list[tuple[str, str, str]]:
    table = re.search(r"^\| state \|.*?(?=\n\n)", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert table
    head, _, *rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table[0].splitlines()]
    return [(row[0], COLUMNS[column], cell) for row in rows for column, cell in zip(head[1:], row[1:], strict=True)]


@pytest.mark.parametrize(("state", "step", "cell"), rows_of_the_page())
def test_each_transition_is_the_specification_s(state: str, step: str, cell: str) -> None:
    outcome = cell.removesuffix(", answer RESET")
    assert _table.transition(state, step) == OUTCOMES.get(outcome, outcome)


def test_the_page_has_every_state_and_step() -> None:
    told = {(state, step) for state, step, _ in rows_of_the_page()}
    assert told == {(state, step) for state in _table.STATES for step in _table.STEPS}


# Ids of both parities close together, as of two peers, and some far away that fall on the same places.
ids = st.integers(1, 40) | st.integers(1, 10).map(lambda n: n * 64) | st.integers(1, 2**60 - 1)
operations = st.lists(st.tuples(st.sampled_from(["add", "add", "remove", "find"]), ids), max_size=200)


@given(operations)
def test_the_table_is_a_set_of_ids(operations: list[tuple[str, int]]) -> None:
    present: set[int] = set()
    seen = []
    for name, number in operations:
        match name:
            case "add":
                present.add(number)
            case "remove":
                present.discard(number)
            case "find":
                seen.append(number in present)
    every = sorted({number for _, number in operations})
    asked = [*operations, *(("find", number) for number in every)]
    assert _table.exercise(asked) == seen + [number in present for number in every]


def test_a_row_of_neighbours_is_taken_out_one_by_one() -> None:
    """Each in a few steps: if each removal looked at the whole row, this would take minutes."""
    row = range(1, 800_000, 2)
    operations = [("add", number) for number in row]
    for number in row:
        operations += [("remove", number), ("find", number), ("find", number + 2)]
    assert _table.exercise(operations) == [False, True] * (len(row) - 1) + [False, False]
