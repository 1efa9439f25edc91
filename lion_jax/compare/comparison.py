"""From records to numbers: which runs may be compared, and how they compare."""

import dataclasses
import itertools
import json
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from lion_jax.compare import stats
from lion_jax.compare.records import Record, what_is_run
from lion_jax.training.history import Epoch

ALPHA = 0.05
# What siblings must share of their optimizers' fields.
SHARED = ("schedule", "warmup_fraction", "clip_norm", "decay")

Group = dict[str, list[Record]]  # runs by label


@dataclasses.dataclass(frozen=True)
class Measure:
    """A number that every run has, also one that failed."""

    title: str
    unit: str
    better: int  # 1: higher is better, -1: lower
    failure: str  # what an infinitely bad value is, in a word
    value: Callable[[Record], float]  # a failure is infinitely bad

    def of(self, runs: list[Record]) -> np.ndarray:
        """Returns the measure of each run."""
        return np.array([self.value(run) for run in runs], float)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Two configurations by one measure."""

    measure: Measure
    a: str  # labels
    b: str
    summaries: tuple[stats.Summary, stats.Summary]
    difference: stats.Interval  # of the means, a - b
    test: stats.Test
    p_holm: float  # adjusted over the comparisons by this measure
    family: int  # how many those are
    a12: stats.Interval  # chance that a run of a is better than one of b

    @property
    def can_be_significant(self) -> bool:
        """Whether so many runs could show a difference, if they alone did."""
        return self.smallest_p <= ALPHA

    @property
    def smallest_p(self) -> float:
        """The smallest adjusted p that so many runs can reach by themselves."""
        n, m = (summary.n for summary in self.summaries)
        return min(1.0, self.family * stats.smallest_p(n, m))


def by_label(runs: list[Record]) -> Group:
    """Returns the runs of each configuration, Lion's first."""
    labels = {run.label: run.config["optimizer"]["name"] for run in runs}
    ordered = sorted(labels, key=lambda label: (labels[label] != "lion", label))
    return {label: [run for run in runs if run.label == label] for label in ordered}


def groups(runs: list[Record]) -> list[Group]:
    """Returns the configurations that differ in their optimizers only, together."""
    found: dict[str, Group] = {}
    for label, same in by_label(runs).items():
        key = json.dumps(_common(same[0]), sort_keys=True)
        found.setdefault(key, {})[label] = same
    return sorted(found.values(), key=lambda group: sorted(group)[0])


def model_of(group: Group) -> str:
    """Returns the name of the network that a group trains."""
    return next(iter(group.values()))[0].config["model"]["name"]


def unequal(a: Group, b: Group) -> list[str]:
    """Names what two groups differ in, apart from what siblings may."""
    first, second = (_common(next(iter(group.values()))[0]) for group in (a, b))
    return [
        f"{field} ({first.get(field)} and {second.get(field)})"
        for field in sorted(first.keys() | second.keys())
        if first.get(field) != second.get(field)
    ]


def _common(run: Record) -> dict[str, Any]:
    """Returns what the siblings of a run must share with it, by dotted path."""
    values = what_is_run(run.config)
    optimizer = values.pop("optimizer")
    del values["name"]
    return values | {f"optimizer.{field}": optimizer[field] for field in SHARED}


def compare(found: list[Group], measure: Measure) -> list[Comparison]:
    """Compares all pairs within each group by one measure."""
    pairs = [
        pair for group in found for pair in itertools.combinations(group.items(), 2)
    ]
    values = [(measure.of(first[1]), measure.of(second[1])) for first, second in pairs]
    tests = [stats.mann_whitney(a, b) for a, b in values]
    adjusted = stats.holm([test.p for test in tests])
    return [
        Comparison(
            measure,
            first[0],
            second[0],
            (stats.summarize(a), stats.summarize(b)),
            stats.difference(a, b),
            test,
            p_holm,
            len(pairs),
            stats.a12(measure.better * a, measure.better * b),
        )
        for (first, second), (a, b), test, p_holm in zip(
            pairs, values, tests, adjusted, strict=True
        )
    ]


def test_measures() -> list[Measure]:
    """The measures of the test set: at the best validation loss, and at the end."""
    kinds = [("accuracy", "%", 1, 100.0), ("loss", "", -1, 1.0)]
    times = [("", "best validation"), ("last_", "end of schedule")]
    return [
        Measure(
            f"test {kind}, {when}",
            unit,
            better,
            "failed",
            partial(_figure, f"{prefix}test_{kind}", factor, -better * math.inf),
        )
        for kind, unit, better, factor in kinds
        for prefix, when in times
    ]


def _figure(name: str, factor: float, failed: float, run: Record) -> float:
    figure = run.result[name]
    return failed if figure is None else factor * figure


def speeds(targets: dict[str, float]) -> list[Measure]:
    """How long it takes to a network's target; infinitely where it is missed.

    Args:
      targets: The validation accuracy to reach, by the network's name.
    """
    epochs, seconds = partial(_epochs_to, targets), partial(_seconds_to, targets)
    return [
        Measure("epochs to the target", "", -1, "never", epochs),
        Measure("seconds to the target", "s", -1, "never", seconds),
    ]


def _epochs_to(targets: dict[str, float], run: Record) -> float:
    target = targets[run.config["model"]["name"]]
    reached = (row["epoch"] for row in run.epochs if _accuracy(row) >= target)
    return float(next(reached, math.inf))


def _seconds_to(targets: dict[str, float], run: Record) -> float:
    last = _epochs_to(targets, run)
    if last == math.inf:
        return last
    return float(sum(row["seconds"] for row in run.epochs if row["epoch"] <= last))


def default_targets(found: list[Group]) -> dict[str, float]:
    """Returns for each network what half of the runs of its worst configuration reach.

    It is the lowest of the medians of the best validation accuracies, in whole percent.
    """
    medians: dict[str, list[float]] = {}
    for group in found:
        for runs in group.values():
            best = [max(map(_accuracy, run.epochs)) for run in runs]
            medians.setdefault(model_of(group), []).append(float(np.median(best)))
    # Rounded first: 0.57 is a little less than 57 hundredths.
    return {
        model: math.floor(round(100 * min(values), 6)) / 100
        for model, values in medians.items()
    }


def _accuracy(row: dict[str, Any]) -> float:
    """An epoch's; 0 after a divergence, where it would be that of one class."""
    return row["val_accuracy"] if Epoch.from_dict(row).is_finite else 0.0
