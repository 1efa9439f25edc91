"""What runs are measured by: figures of the test set, and the time to a target."""

import dataclasses
import math
import numbers
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any

import numpy as np

from lion_jax.compare.records import Record
from lion_jax.config import ConfigError
from lion_jax.training.history import Epoch

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
# Validation accuracy to reach, by the model's name; nan for none.
Targets = dict[str, float]


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
    """How long it takes to a model's target; infinitely where it is missed."""
    epochs, seconds = partial(_epochs_to, targets), partial(_seconds_to, targets)
    return [
        Measure(SPEED[0], "epochs to the target", "", 1, -1, "never", epochs),
        Measure(SPEED[1], "seconds to the target", "s", 1, -1, "never", seconds),
    ]


def default_targets(groups: Iterable[dict[str, Runs]]) -> Targets:
    """Returns for each model what half of the runs of its worst configuration reach.

    It is the lowest of the medians of the best validation accuracies, in whole percent;
    configurations with a median below 1 % have no say. nan where no other is left.
    """
    return {
        model: min((value for value in values.values() if value > 0), default=math.nan)
        for model, values in reached(groups).items()
    }


def reached(groups: Iterable[dict[str, Runs]]) -> dict[str, dict[str, float]]:
    """Returns what half of the runs reach on validation, by model and by label."""
    medians: dict[str, dict[str, float]] = {}
    for group in groups:
        for label, runs in group.items():
            best = [max(map(_accuracy, run.epochs)) for run in runs]
            model = runs[0].config["model"]["name"]
            # Rounded first: 0.57 is a little less than 57 hundredths.
            percent = math.floor(round(100 * float(np.median(best)), 6))
            medians.setdefault(model, {})[label] = percent / 100
    return medians


def parse_targets(text: str) -> dict[str, float]:
    """Reads `0.9`, which is for all models (under ""), or `resnet50=0.9,vit_b16=0.8`.

    Raises:
      ConfigError: If it is neither, an accuracy is not between 0 and 1, or a model has
        two.
    """
    targets: dict[str, Any] = {}
    for part in text.split(","):
        model, _, value = part.rpartition("=")
        if model in targets:
            whose = f"{model} has" if model else "all models have"
            raise ConfigError(f"--target={text}: {whose} two targets; give one alone.")
        try:
            targets[model] = float(value)
        except ValueError:
            targets[model] = value
    return checked_targets(targets)


def checked_targets(targets: Any) -> dict[str, float]:
    """Returns accuracies to reach by model, "" for all.

    Raises:
      ConfigError: If they are something else, or one is not between 0 and 1.
    """
    if not isinstance(targets, Mapping):
        raise _no_target(repr(targets))
    shares = {}
    for model, value in targets.items():
        is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
        shares[model] = float(value) if is_number else math.nan
        if not isinstance(model, str) or not 0 < shares[model] < 1:
            raise _no_target(f"{model}={value!r}" if model else repr(value))
    return shares


def _no_target(given: str) -> ConfigError:
    return ConfigError(
        f"--target={given}, but it must be > 0 and < 1: a share of the images; set"
        " --target=0.9, or --target=resnet50=0.9,vit_b16=0.8, or leave it out."
    )


def for_models(named: dict[str, float], defaults: Targets) -> Targets:
    """Returns each model's target: the one named for it, or for all, or the default.

    Raises:
      ConfigError: If a target is named for a model that has no runs.
    """
    if unknown := sorted(named.keys() - defaults.keys() - {""}):
        raise ConfigError(
            f"--target={unknown[0]}={named[unknown[0]]:g}: there are no runs of"
            f" {unknown[0]}; name one of {', '.join(defaults)}."
        )
    return {m: named.get(m, named.get("", value)) for m, value in defaults.items()}


def _figure(name: str, factor: float, failed: float, run: Record) -> float:
    figure = getattr(run.result, name)
    return failed if figure is None else factor * figure


def _epochs_to(targets: Targets, run: Record) -> float:
    target = targets[run.config["model"]["name"]]
    reached = (
        epoch.epoch
        for epoch in run.epochs
        if epoch.is_finite and _accuracy(epoch) >= target
    )
    return float(next(reached, math.inf))


def _seconds_to(targets: Targets, run: Record) -> float:
    last = _epochs_to(targets, run)
    if last == math.inf:
        return last
    return float(sum(epoch.seconds for epoch in run.epochs if epoch.epoch <= last))


def _accuracy(epoch: Epoch) -> float:
    """An epoch's; 0 after a divergence, where it would be that of one class."""
    return epoch.val_accuracy if epoch.is_finite else 0.0
