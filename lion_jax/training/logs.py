"""What a run leaves behind: its folder, records, TensorBoard events, curves."""

import contextlib
import functools
import json
import math
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

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

from lion_jax.config import differences
from lion_jax.files import temporary_of, write_whole

CONFIG, RESULT, METRICS = "config.json", "result.json", "metrics.jsonl"
ENVIRONMENT, CURVES, CHECKPOINTS = "environment.json", "curves.png", "checkpoints"
PROFILE, LOCK = "profile", ".lock"
ELSEWHERE = "give another folder (--workdir or --out)"
Show = Callable[[str, int], None]  # of progress: what is done, and how many images


class RunFolderError(Exception):
    """A folder that belongs to something else than the run that asks for it."""


def check(folder: Path, config: dict[str, Any]) -> None:
    """Checks that a run of the configuration may use the folder; writes nothing.

    Args:
      folder: The run's folder.
      config: The resolved configuration as nested dictionaries.

    Raises:
      RunFolderError: If the folder holds another run, naming the fields that differ,
        or anything else.
    """
    if (found := read_json(folder / CONFIG)) is None:
        # What a run leaves that is killed before its first file is whole.
        begun = {LOCK, temporary_of(Path(CONFIG)).name}
        if folder.exists() and (not folder.is_dir() or set(os.listdir(folder)) - begun):
            raise RunFolderError(
                f"{folder} exists and is no run of lion_jax; {ELSEWHERE}."
            )
        return
    if different := differences(found, config):
        raise RunFolderError(
            f"{folder} holds a run of another configuration: {', '.join(different)};"
            f" {ELSEWHERE}, or remove that one."
        )


@contextlib.contextmanager
def occupied(folder: Path, config: dict[str, Any]) -> Iterator[None]:
    """Makes a folder the configuration's own, and holds it against a second run.

    Raises:
      RunFolderError: If another process holds it, with its number.
    """
    with locked(folder):
        write_json(folder / CONFIG, config)  # first: it says whose the rest is
        yield


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes a folder if need be, and holds it against other processes.

    The system lets go of the lock when its process ends, however it ends, so a lock is
    never stale. Without `fcntl` (Windows) there is none.

    Raises:
      RunFolderError: If another process holds it, with its number.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK).open("a+") as file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:
            pass
        except BlockingIOError:
            file.seek(0)
            raise RunFolderError(
                f"{folder} is in use by process {file.read().strip() or 'unknown'};"
                f" wait for it to end, or {ELSEWHERE}."
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield
        file.truncate(0)


def read_json(path: Path) -> dict[str, Any] | None:
    """Reads a JSON file, or returns None if there is none.

    Raises:
      RunFolderError: If the file is damaged.
    """
    try:
        return json.loads(path.read_text()) if path.exists() else None
    except ValueError as error:
        raise RunFolderError(
            f"{path} cannot be read ({error}); restore it from a copy, or {ELSEWHERE}."
        ) from error


def write_json(path: Path, content: Any) -> None:
    """Writes a JSON file whole or not at all; non-finite numbers become null."""
    write_whole(path, json.dumps(finite(content), indent=2) + "\n")


def rewrite_metrics(folder: Path, history: Iterable[dict[str, Any]]) -> None:
    """Makes metrics.jsonl say what the history says, a line an epoch."""
    write_whole(folder / METRICS, "".join(_line(record) for record in history))


def append_metrics(folder: Path, record: dict[str, Any]) -> None:
    """Adds an epoch's line to metrics.jsonl."""
    with (folder / METRICS).open("a") as file:
        file.write(_line(record))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Reads metrics.jsonl: a record an epoch."""
    return [json.loads(line) for line in (folder / METRICS).read_text().splitlines()]


def open_tensorboard(folder: Path, resume_at: int):
    """Opens a TensorBoard event file that replaces older ones from a step on."""
    # Imported here: no other path needs it, and it takes most of a second.
    from tensorboardX import SummaryWriter

    return SummaryWriter(str(folder), purge_step=resume_at)


def add_to_tensorboard(writer, record: dict[str, Any]) -> None:
    """Writes the numbers of an epoch's record."""
    for name, value in record.items():
        if name not in ("epoch", "step") and value is not None:
            writer.add_scalar(name, value, record["step"])
    writer.flush()


class _Rate(ProgressColumn):
    """Shows images a second, once there is a speed."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:.0f} images/s" if task.speed else "")


def sayer(console: Console) -> Callable[[str], None]:
    """Prints lines as they are: paths may hold what rich would take for markup."""
    return functools.partial(
        console.print, highlight=False, markup=False, soft_wrap=True
    )


@contextlib.contextmanager
def progress(console: Console, total: int) -> Iterator[Show]:
    """Shows a bar with images a second and time left; silent without a terminal.

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


def epochs_table(history: list[dict[str, Any]], best_epoch: int) -> Table:
    """Makes the closing table of epochs; the best one is marked."""
    table = Table(title="Epochs", caption="* lowest validation loss")
    heads = ("epoch", "train loss", "train acc", "val loss", "val acc", "images/s", "s")
    for head in heads:
        table.add_column(head, justify="right")
    for record in history:
        mark = "*" if record["epoch"] == best_epoch else " "
        table.add_row(f"{record['epoch']}{mark}", *_cells(record))
    return table


def epoch_line(record: dict[str, Any], epochs: int) -> str:
    """Says an epoch's figures in one line."""
    train_loss, train_accuracy, val_loss, val_accuracy, rate, seconds = _cells(record)
    return (
        f"epoch {record['epoch']}/{epochs}  train loss {train_loss}"
        f" acc {train_accuracy}  val loss {val_loss} acc {val_accuracy}"
        f"  {rate} images/s  {seconds} s"
    )


def plot_curves(folder: Path, history: list[dict[str, Any]], title: str) -> Path:
    """Draws loss and accuracy over the epochs into curves.png; returns its path."""
    # Imported here, since no other path needs it; not pyplot, which would choose a
    # screen, or take the one of somebody's notebook.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    axes = figure.subplots(1, 2)
    epochs = [record["epoch"] for record in history]
    styles = {"train": ("C0", "--", "o"), "val": ("C1", "-", "s")}
    for axis, measure in zip(axes, ("loss", "accuracy"), strict=True):
        for part, (color, line, marker) in styles.items():
            values = [record[f"{part}_{measure}"] for record in history]
            values = [math.nan if value is None else value for value in values]
            label = {"train": "training", "val": "validation"}[part]
            axis.plot(
                epochs, values, color=color, ls=line, marker=marker, ms=4, label=label
            )
        axis.set(xlabel="epoch", ylabel=measure)
        axis.xaxis.get_major_locator().set_params(integer=True)
        axis.grid(alpha=0.3)
        axis.legend()
    figure.suptitle(title)
    temporary = temporary_of(folder / CURVES)
    figure.savefig(temporary, dpi=120, format="png")
    os.replace(temporary, folder / CURVES)
    return folder / CURVES


def _cells(record: dict[str, Any]) -> tuple[str, ...]:
    formats = {
        "train_loss": "{:.4f}",
        "train_accuracy": "{:.2%}",
        "val_loss": "{:.4f}",
        "val_accuracy": "{:.2%}",
        "images_per_second": "{:.0f}",
        "seconds": "{:.1f}",
    }
    return tuple(
        "-" if record[name] is None else form.format(record[name])
        for name, form in formats.items()
    )


def _line(record: dict[str, Any]) -> str:
    return json.dumps(finite(record)) + "\n"


def finite(content: Any) -> Any:
    """Returns the content with None for every number that is not finite."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
