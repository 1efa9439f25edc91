"""What a run shows: lines, a progress bar, tables. None of it can stop the run."""

import contextlib
import functools
import os
import queue
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

from lion_jax.training.history import Epoch, Result

Print = Callable[[str], None]
Show = Callable[[str, int], None]  # of progress: what is done, and how many images
PATIENCE = 5.0  # seconds that the end of a run waits for a reader that is slow
WAITING = 10_000  # texts that may wait for it


class _Unfailing:
    """A text stream that never raises and never blocks the caller.

    The process's own output is written by a thread: a pager that does not read, or a
    terminal that is stopped, holds up that thread alone. After the reader has gone away
    what is written is lost. Other streams (a notebook's, a test's) are written at once.
    """

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._waiting: Any = queue.Queue(WAITING)  # of texts; None ends it
        self._thread = None
        own: list[Any] = [sys.__stdout__, sys.__stderr__]
        if stream in own:
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
                # The thread's own: it may outlive the stream, whose number is then
                # another file's.
                self._descriptor = os.dup(stream.fileno())
                # Held to replace the stream, and from the end on.
                self._ended = threading.Lock()
                self._thread = threading.Thread(target=self._work, daemon=True)
                self._thread.start()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self._thread:
            with contextlib.suppress(queue.Full):
                self._waiting.put_nowait(text)
        else:
            with contextlib.suppress(OSError, ValueError):
                self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        if not self._thread:
            with contextlib.suppress(OSError, ValueError):
                self._stream.flush()

    def finish(self) -> None:
        """Waits, but not for ever, until all is written."""
        if self._thread:
            with contextlib.suppress(queue.Full):
                self._waiting.put(None, timeout=PATIENCE)
                self._thread.join(PATIENCE)
            self._ended.acquire()

    def _work(self) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        while (text := self._waiting.get()) is not None:
            data = text.encode(encoding, errors="replace")
            while data:
                try:
                    # Past Python's buffer, whose lock a blocked write would hold until
                    # the interpreter ends, which would abort.
                    data = data[os.write(self._descriptor, data) :]
                except BlockingIOError:
                    time.sleep(0.05)
                except BrokenPipeError:
                    self._write_nowhere()
                except OSError:  # a terminal that is gone, a full disk
                    break
        os.close(self._descriptor)

    def _write_nowhere(self) -> None:
        """Loses what comes, others' writes to the stream too: none of them may fail."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._descriptor)
        if self._ended.acquire(blocking=False):
            with contextlib.suppress(OSError, ValueError):  # closed by the user
                os.dup2(nowhere, self._stream.fileno())
            self._ended.release()
        os.close(nowhere)


@contextlib.contextmanager
def unfailing(console: Console) -> Iterator[None]:
    """Lets a console neither raise nor block, whatever becomes of its reader."""
    given, stream = console._file, _Unfailing(console.file)
    console.file = cast(IO[str], stream)
    try:
        yield
    finally:
        stream.finish()
        console._file = given


class _Rate(ProgressColumn):
    """Shows images per second, once there is a speed."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} images/s" if task.speed else "")


def printer(console: Console) -> Print:
    """Prints lines as they are: paths may hold what rich would take for markup."""
    return functools.partial(
        console.print, highlight=False, markup=False, soft_wrap=True
    )


@contextlib.contextmanager
def progress(console: Console, total: int) -> Iterator[Show]:
    """Shows a bar with images per second and time left; silent without a terminal.

    Yields a function that sets its text and the number of images done, of `total`.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        _Rate(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )
    with bar:
        task = bar.add_task("", total=total)
        yield lambda text, done: bar.update(task, description=text, completed=done)


def epochs_table(history: Iterable[Epoch], best_epoch: int) -> Table:
    """Returns the closing table of epochs; the best one is marked."""
    table = Table(title="Epochs", caption="* lowest validation loss")
    heads = ("epoch", "train loss", "train acc", "val loss", "val acc", "images/s", "s")
    for head in heads:
        table.add_column(head, justify="right")
    for record in history:
        mark = "*" if record.epoch == best_epoch else " "
        table.add_row(f"{record.epoch}{mark}", *_cells(record))
    return table


def epoch_line(record: Epoch, epochs: int) -> str:
    """Returns an epoch's figures in one line."""
    train_loss, train_accuracy, val_loss, val_accuracy, rate, seconds = _cells(record)
    return (
        f"epoch {record.epoch}/{epochs}  train loss {train_loss}"
        f" acc {train_accuracy}  val loss {val_loss} acc {val_accuracy}"
        f"  {rate} images/s  {seconds} s"
    )


def outcome(result: Result) -> str:
    """Returns a run's outcome in some words."""
    if result.val_accuracy is None:
        return f"diverged at once: {result.diverged}"
    words = f"validation {result.val_accuracy:.2%}"
    if result.test_accuracy is not None:
        words += f", test {result.test_accuracy:.2%}"
    if result.diverged:
        words += f", diverged: {result.diverged}"
    return words + f" (best epoch {result.best_epoch} of {result.stopped_epoch})"


def _cells(record: Epoch) -> tuple[str, ...]:
    formats = {
        "train_loss": "{:.4f}",
        "train_accuracy": "{:.2%}",
        "val_loss": "{:.4f}",
        "val_accuracy": "{:.2%}",
        "images_per_second": "{:.0f}",
        "seconds": "{:.1f}",
    }
    values = {name: getattr(record, name) for name in formats}
    return tuple(
        "-" if values[name] is None else form.format(values[name])
        for name, form in formats.items()
    )
