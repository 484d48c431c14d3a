"""The process that plays one side of one contestant.

The runner writes one JSON line, the job, to standard input. The answers are JSON lines on standard output: `{"port":
n}` from a server that listens, then `{"result": {...}}`, or `{"error": "..."}`. Traffic goes on after the result, so
that the other side can finish its own interval; the runner kills both when it has heard from both.
"""

import asyncio
import json
import os
import sys
import traceback
from importlib import import_module
from typing import Any

import uvloop

from .stage import Contestant, Job, Stage


def say(**message: object) -> None:
    """Tell the runner."""
    print(json.dumps(message), flush=True)


async def play(job: Job, contestant: Contestant) -> None:
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
    side = contestant.serve if job.role == "server" else contestant.drive
    async with asyncio.TaskGroup() as group:  # traffic that fails ends the wait below with its error
        group.create_task(side(stage))
        if job.role == "server":
            say(port=await stage.announce)
        say(result=await stage.result)


def main() -> int:
    """Play the job that standard input gives."""
    job = Job(**json.loads(sys.stdin.readline()))
    os.sched_setaffinity(0, {job.cpu})
    module, name = job.contestant.split(":")
    try:
        contestant: Contestant = getattr(import_module(module), name)(**job.arguments)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(play(job, contestant))
    except Exception as failure:
        traceback.print_exc()
        if isinstance(failure, ExceptionGroup):  # of a task group: the first is the cause
            failure = failure.exceptions[0]
        say(error=f"{type(failure).__name__}: {failure}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
