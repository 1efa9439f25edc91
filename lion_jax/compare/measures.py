"""What runs are measured by: figures of the test set, and the time to a target."""

import dataclasses
import math
from collections.abc import Callable
from functools import partial

import numpy as np

from lion_jax.compare.records import Record
from lion_jax.compare.targets import Targets, accuracy, task_of

PRIMARY = "test_accuracy"
# Name: title, unit, decimals, better (1: higher, -1: lower), factor.
TEST = {
    "test_accuracy": ("test accuracy, best validation", "%", 2, 1, 100.0),
    "last_test_accuracy": ("test accuracy, end of schedule", "%", 2, 1, 100.0),
    "test_loss": ("test loss, best validation", "", 4, -1, 1.0),
    "last_test_loss": ("test loss, end of schedule", "", 4, -1, 1.0),
}
SPEED = ("epochs_to_target", "seconds_to_target")
NAMES = (*TEST, *SPEED)

Runs = list[Record]


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number that every run has, also one that failed."""

    name: str  # as in report.json
    title: str
    unit: str
    decimals: int
    better: int  # 1: higher is better, -1: lower
    failure: str  # what an infinitely bad value is, in a word
    value: Callable[[Record], float]  # a failure is infinitely bad
    also: tuple[str, ...] = ()  # names of measures with the same numbers

    def of(self, runs: Runs) -> np.ndarray:
        """Returns the measure of each run."""
        return np.array([self.value(run) for run in runs], float)

    @property
    def heading(self) -> str:
        """The title with its unit."""
        return f"{self.title}, {self.unit}" if self.unit else self.title


def test_measures() -> list[Measure]:
    """The measures of the test set: at the best validation loss, and at the end."""
    return [
        Measure(
            name,
            title,
            unit,
            decimals,
            better,
            "failed",
            partial(_figure, name, factor, -better * math.inf),
        )
        for name, (title, unit, decimals, better, factor) in TEST.items()
    ]


def distinct(measures: list[Measure], runs: Runs, primary: str) -> list[Measure]:
    """Merges each measure at the end with its equal at the best validation loss.

    Runs that never overfit have the same state at both; one of two measures with the
    same number for every run stands for both, with a title that says so: the primary
    one, or else the first.
    """
    merged: list[Measure] = []
    for measure in measures:
        kind = measure.title.partition(",")[0]
        for place, other in enumerate(merged):
            same = np.array_equal(measure.of(runs), other.of(runs))
            if same and kind == other.title.partition(",")[0]:
                stays, goes = (other, measure)[:: -1 if measure.name == primary else 1]
                title = f"{kind}, best validation = end of schedule"
                merged[place] = dataclasses.replace(
                    stays, title=title, also=(goes.name,)
                )
                break
        else:
            merged.append(measure)
    return merged


def speeds(targets: Targets) -> list[Measure]:
    """How long it takes to a run's target; infinitely where it is missed."""
    epochs, seconds = partial(_epochs_to, targets), partial(_seconds_to, targets)
    return [
        Measure(SPEED[0], "epochs to the target", "", 1, -1, "never", epochs),
        Measure(SPEED[1], "seconds to the target", "s", 1, -1, "never", seconds),
    ]


def _figure(name: str, factor: float, failed: float, run: Record) -> float:
    figure = getattr(run.result, name)
    return failed if figure is None else factor * figure


def _epochs_to(targets: Targets, run: Record) -> float:
    target = targets[task_of(run)]
    reached = (
        epoch.epoch
        for epoch in run.epochs
        if epoch.is_finite and accuracy(epoch) >= target
    )
    return float(next(reached, math.inf))


def _seconds_to(targets: Targets, run: Record) -> float:
    last = _epochs_to(targets, run)
    if last == math.inf:
        return last
    return float(sum(epoch.seconds for epoch in run.epochs if epoch.epoch <= last))
