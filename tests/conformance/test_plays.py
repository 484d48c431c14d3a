"""Every play against the library, in both roles, on every loop: the subject lives in this process."""

import asyncio
from collections import defaultdict
from contextlib import AsyncExitStack
from urllib.parse import urlsplit

import pytest
from conformance import subject
from conformance.lab import lab
from conformance.plays import Play
from conformance.stand import Role, Stand, client_stand, server_stand
from conformance.suite import PLAYS

BY_RULE: dict[tuple[Role, str], list[Play]] = defaultdict(list)
for play in PLAYS:
    BY_RULE[play.role, play.musts[0]].append(play)  # the others that it cites come with it


async def stand_for(role: Role, stack: AsyncExitStack) -> Stand:
    if role == "server":
        place = urlsplit(await stack.enter_async_context(subject.serving()))
        return await stack.enter_async_context(server_stand(place.hostname or "", place.port or 0))

    def started(host: str, port: int) -> None:
        dialled.append(asyncio.ensure_future(stack.enter_async_context(subject.dialling(host, port))))

    dialled: list[asyncio.Task[object]] = []
    stand = await stack.enter_async_context(client_stand("127.0.0.1", 0, started))
    await dialled[0]
    return stand


@pytest.mark.parametrize(("role", "rule"), BY_RULE, ids=" ".join)
async def test_rule(role: Role, rule: str) -> None:
    async with AsyncExitStack() as stack:
        stand = await stand_for(role, stack)
        for play in BY_RULE[role, rule]:
            try:
                async with lab(stand) as it:
                    await play.run(it)
            except BaseException as error:
                error.add_note(f"in the play {play}")
                raise
