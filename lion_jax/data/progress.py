"""How long decoding still takes: a bar, or lines where there is no terminal."""

import contextlib
import logging
from collections.abc import Callable, Iterator
from time import perf_counter

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress

SECONDS = 60.0  # between two lines

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def progress(text: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that takes how many of `total` are done."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(text, total)
        return
    columns = Progress.get_default_columns()
    with Progress(
        *columns, MofNCompleteColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(text, total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(text: str, total: int) -> Callable[[int], None]:
    started = shown = perf_counter()

    def show(done: int) -> None:
        nonlocal shown
        now = perf_counter()
        if done and now - shown >= SECONDS:
            shown = now
            left = (now - started) * (total - done) / done
            _log.info("%s: %d of %d, about %.0f min left", text, done, total, left / 60)

    return show
