"""What every test gets: a loop for each `async def` test, and guards around it.

An `async def` test runs once on each loop of `LOOPS`. It fails, beside its own assertions, when

- a callback or a task ended with an exception that nobody saw (the loop's exception handler),
- an exception could not be raised, or a transport, socket or file was left open (pytest's own unraisable hook; every
  warning is an error),
- a task is still there when the test is over,
- it takes longer than `DEADLINE`.
"""

import asyncio
import gc
import inspect
import math
import signal
import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis.internal.conjecture import engine as shrinking

from muxtcp.isolation import Sparing

try:
    import uvloop
except ImportError:
    uvloop = None

# A shell without job control starts what it puts in the background with SIGINT ignored, and children inherit that: the
# programs that tests interrupt would not notice.
signal.signal(signal.SIGINT, signal.default_int_handler)

DEADLINE = 60.0  # seconds: only a test that hangs gets there
shrinking.MAX_SHRINKING_SECONDS = 20  # of 300: a failing test, too, ends within the time that each module has
TURNS = 10  # of the loop that cancelled tasks and closed transports are given to end

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop] | None] = {
    "asyncio": asyncio.SelectorEventLoop,
    "asyncio-debug": asyncio.SelectorEventLoop,
    "uvloop": uvloop and uvloop.new_event_loop,
}


@pytest.fixture(params=list(LOOPS))
def loop_name(request: pytest.FixtureRequest) -> str:
    """The loop an `async def` test runs on; a test may ask for it by name."""
    if LOOPS[request.param] is None:
        pytest.skip(f"{request.param} is not installed")
    return request.param


@pytest.fixture(autouse=True)
def nothing_said() -> None:
    """What another test had logged is said again in this one."""
    Sparing.causes.clear()


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> None:
    """Give each `async def` test the loop matrix."""
    if inspect.iscoroutinefunction(obj) and collector.funcnamefilter(name):  # type: ignore[attr-defined]
        pytest.mark.usefixtures("loop_name")(obj)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run an `async def` test on its loop, within the guards."""
    test = pyfuncitem.obj
    if not inspect.iscoroutinefunction(test):
        return None
    name = pyfuncitem.funcargs["loop_name"]
    arguments = {arg: pyfuncitem.funcargs[arg] for arg in inspect.signature(test).parameters}
    unseen: list[dict[str, Any]] = []
    runner = asyncio.Runner(loop_factory=LOOPS[name], debug=name == "asyncio-debug")
    try:
        runner.get_loop().set_exception_handler(lambda loop, context: unseen.append(context))
        runner.get_loop().slow_callback_duration = math.inf  # a slow machine is not worth a line in a log
        leaked = runner.run(_guarded(test(**arguments)))
    finally:
        # A warning that uvloop's close() meets as an error, for a transport that is open, makes it wait for ever.
        with warnings.catch_warnings(record=True, action="always") as warned:
            runner.close()
    if name == "asyncio-debug":
        gc.collect()  # so that exceptions of tasks in cycles are seen here, and not in a later test
    assert not unseen, f"the loop saw exceptions that the test did not: {unseen}"
    assert not leaked, f"tasks left behind: {leaked}"
    assert not warned, f"the loop warned when it was closed: {[str(warning.message) for warning in warned]}"
    return True


async def _guarded(test: Awaitable[None]) -> list[str]:
    """Run the test; which tasks it left behind."""
    async with asyncio.timeout(DEADLINE):
        await test
    for _ in range(TURNS):
        await asyncio.sleep(0)
    return [repr(task) for task in asyncio.all_tasks() - {asyncio.current_task()}]
