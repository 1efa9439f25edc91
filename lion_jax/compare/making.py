"""One run of a campaign: from where it stopped to its record."""

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from lion_jax.compare import records, unfinished
from lion_jax.compare.points import Point
from lion_jax.training import conditions, locks, loop, metrics, run_folder
from lion_jax.training.console import Show
from lion_jax.training.program import Program


class RecordedError(Exception):
    """A run that another process has recorded meanwhile."""


@dataclasses.dataclass(frozen=True)
class Making:
    """A run that has no record yet."""

    point: Point
    seed: int
    out: Path  # the folder of the comparison
    config: dict[str, Any]  # resolved
    environment: dict[str, Any]
    tested: bool  # whether the run looks at the test set
    interrupted: Callable[[], int]  # number of the signal received, or 0
    note: Callable[["Making", str], None]  # told what is unusual

    def __str__(self) -> str:
        """Returns how the run is named in lines."""
        return f"{self.point.label}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Where it is made."""
        return unfinished.folder_of(self.out, self.point.label, self.seed)

    @property
    def record(self) -> Path:
        """Where its record will be, perhaps by another process."""
        return records.path_of(self.out, self.point.label, self.seed)

    @property
    def holder(self) -> str:
        """The process that makes it now; empty if none is known to."""
        lock = self.folder / run_folder.LOCK
        held = locks.is_held(lock)
        return str(locks.read(lock) or "another process") if held else ""


def make(
    run: Making, program: Program, seconds_compile: float, show: Show
) -> records.Record | None:
    """Makes a run and its record; None if interrupted.

    The folder is held until the record is written, so that of two processes the second
    finds the folder held, or the record.

    Raises:
      InUseError: If another process holds the folder.
      RecordedError: If another process has made the record since it was missing.
    """
    with run_folder.occupied(run.folder, run.config):
        recorded = run.record.exists()
        record = None if recorded else _made(run, program, seconds_compile, show)
        if record:
            records.write(record, run.out)
    if record or recorded:
        unfinished.remove(run.out, run.folder)
    if recorded:
        raise RecordedError
    return record


def _made(
    run: Making, program: Program, seconds_compile: float, show: Show
) -> records.Record | None:
    note = partial(run.note, run)
    result = run_folder.read_result(run.folder)
    if result is not None:  # of a process that ended before it had recorded the run
        made = conditions.read(run.folder, note) or run.environment
    else:
        made = conditions.describe(run.folder, run.environment, note)
        result = loop.execute(
            loop.Run(
                dataclasses.replace(run.point.config, seed=run.seed),
                program,
                run.folder,
                run.interrupted,
                lambda _: None,  # one line per run; the bar shows epochs
                note,
                show,
                run.tested,
            ),
            seconds_compile,
        )
    if result is None:
        return None
    return records.Record(
        label=run.point.label,
        seed=run.seed,
        swept=run.point.swept,
        config=run.config,
        epochs=metrics.read(run.folder),
        result=result,
        memory=program.memory(),
        environment=made | {"data": program.signature.data},
    )
