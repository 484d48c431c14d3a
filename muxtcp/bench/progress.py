"""A bar on a terminal, plain lines elsewhere; both on standard error."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec


@contextmanager
def progress(total: int) -> Iterator[Callable[[str], None]]:
    """Gives a function to call with a line of text before each of `total` steps."""
    with (_drawn if sys.stderr.isatty() and find_spec("rich") else _written)(total) as step:
        yield step


@contextmanager
def _written(total: int) -> Iterator[Callable[[str], None]]:
    steps = iter(range(1, total + 1))
    yield lambda text: print(f"[{next(steps)}/{total}] {text}", file=sys.stderr, flush=True)


@contextmanager
def _drawn(total: int) -> Iterator[Callable[[str], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    # Drawn between measurements only: a bar that refreshes itself takes CPU from what is being measured.
    with Progress(*columns, console=Console(stderr=True), auto_refresh=False, transient=True) as bar:
        task = bar.add_task("", total=total)
        steps = iter(range(total))

        def step(text: str) -> None:
            bar.update(task, completed=next(steps), description=text, refresh=True)

        yield step
