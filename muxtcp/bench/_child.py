"""The process that plays one side of a contestant in Python.

It keeps to the contract between the runner and any driver, which `bench/README.md` describes: one JSON line, the job,
on standard input; JSON lines on standard output, `{"port": n}` from a server that listens, then `{"result": {...}}`,
or `{"error": "..."}`. Traffic goes on after the result, so that the other side can finish its own interval; the runner
kills both when it has heard from both.
"""

import asyncio
import json
import os
import sys
import traceback
from collections.abc import Awaitable, Callable
from importlib import import_module
from typing import Any

import uvloop

from .stage import Job, Stage, TwoSides

Side = Callable[[Stage], Awaitable[None]]


def perform(choose: Callable[[Job], Side]) -> int:
    """Play the job that standard input gives, on the side that `choose` finds for it. The exit code of the process."""
    job = Job(**json.loads(sys.stdin.readline()))
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_play(job, choose(job)))
    except Exception as failure:
        traceback.print_exc()
        if isinstance(failure, ExceptionGroup):  # of a task group: the first is the cause
            failure = failure.exceptions[0]
        say(error=f"{type(failure).__name__}: {failure}")
        return 1
    return 0


def say(**message: object) -> None:
    """Tell the runner."""
    print(json.dumps(message), flush=True)


async def _play(job: Job, side: Side) -> None:
    """One side of the contestant, until the runner ends it."""
    loop = asyncio.get_running_loop()
    stage = Stage(job, loop.create_future(), loop.create_future())

    def on_loop_exception(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        # What a protocol's callback raises ends up here, and with it the measurement.
        loop.default_exception_handler(context)
        if not stage.result.done():
            stage.result.set_exception(context.get("exception") or RuntimeError(context["message"]))

    loop.set_exception_handler(on_loop_exception)
    loop.add_reader(sys.stdin, os._exit, 1)  # nothing follows the job but the end of the pipe: the runner is gone
    async with asyncio.TaskGroup() as group:  # traffic that fails ends the wait below with its error
        group.create_task(_run(side, stage))
        if job.role == "server":
            say(port=await stage.announce)
        say(result=await stage.result)


async def _run(side: Side, stage: Stage) -> None:
    await side(stage)


def _side_of_contestant(job: Job) -> Side:
    module, name = job.play.split(":")
    contestant: TwoSides = getattr(import_module(module), name)(**job.arguments)
    return contestant.serve if job.role == "server" else contestant.drive


if __name__ == "__main__":
    sys.exit(perform(_side_of_contestant))
