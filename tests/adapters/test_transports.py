"""The same plays over a TCP socket and over a channel: the protocols are called in the same way, in the same order."""

import copy
from pathlib import Path

import adapters.ends  # noqa: F401  # its plays are cases, too
import pytest
from adapters.cases import CASES
from adapters.deviations import DEVIATIONS
from adapters.stage import stage

GUIDE = Path(__file__).parents[2] / "docs" / "adapters.md"


def test_the_guide_explains_each_deviation() -> None:
    guide = GUIDE.read_text().replace("`", "")
    assert [name for name, deviation in DEVIATIONS.items() if deviation.why not in guide] == []


@pytest.mark.parametrize("name", CASES)
async def test_a_channel_is_as_a_socket(name: str, loop_name: str) -> None:
    seen = {}
    for kind in ("socket", "channel"):
        async with stage(kind) as played:
            seen[kind] = copy.deepcopy(await CASES[name](played))  # as it is now: the end of the stage is another play
    deviation = DEVIATIONS.get(name)
    if deviation is None or loop_name not in deviation.loops:
        assert seen["channel"] == seen["socket"]
    else:
        assert seen == {"socket": deviation.socket, "channel": deviation.channel}
