"""Every attack in a short form: it is refused by name, or counted, and another session does not lose a message."""

import asyncio
import inspect
from pathlib import Path

import pytest
from adversity.attacks.table import ATTACKS, as_markdown
from adversity.attacks.target import Target
from adversity.attacks.wire import Allowance

from muxtcp import connect

PAGE = Path(__file__).parents[2] / "docs" / "attacks.md"
PATIENCE = 20.0  # seconds: only an attack that nobody notices gets there
SOURCE = 200_000  # messages: a server that cannot be interrupted sends them all at once, and fails, but goes on


@pytest.mark.parametrize("name", ATTACKS)
async def test_it_is_noticed_and_others_go_on(name: str) -> None:
    attack = ATTACKS[name]
    async with Target(attack.config, attack.served) as target:
        target.source = SOURCE
        async with connect(*target.place) as session, session.open("echo") as channel:
            allowance = Allowance(PATIENCE, attack.bytes)
            before = target.seen[attack.sign]
            playing = asyncio.create_task(asyncio.to_thread(attack.play, target.place, allowance))
            exchanged = 0
            while not playing.done():
                exchanged += 1
                await channel.send(exchanged.to_bytes(8))
                assert await channel.recv() == exchanged.to_bytes(8)
                if allowance.connections and target.seen[attack.sign] > before:
                    allowance.stop()
            await playing
            assert target.seen[attack.sign] > before, target.seen
            assert allowance.connections > 0


def test_the_page_has_the_table() -> None:
    assert as_markdown() in PAGE.read_text(), "python tests/adversity/attacks --docs prints it"


def test_every_script_says_what_it_needs() -> None:
    for attack in ATTACKS.values():
        assert inspect.isgeneratorfunction(attack.script), attack.name
        assert attack.row
        assert attack.defence
