"""What sweeps say: trials ranked on the validation set, and which one the runs used."""

import dataclasses
import math
from typing import Any

import numpy as np

from lion_jax.compare import pairs, titles
from lion_jax.compare.markdown import counted, escaped
from lion_jax.compare.records import (
    Record,
    fields_apart,
    flat,
    version_of_data,
    what_is_run,
)
from lion_jax.compare.titles import Title
from lion_jax.config import flatten

RATE = "optimizer.learning_rate"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One point of a sweep, over its seeds."""

    label: str
    values: dict[str, Any]  # of all fields that the sweep varies, by dotted path
    seeds: tuple[int, ...]
    accuracy: float  # of validation at the lowest loss, %, mean over seeds
    error: float  # its standard error over seeds; nan for one seed
    loss: float  # lowest validation loss, mean over seeds
    diverged: int

    @property
    def order(self) -> tuple[float, float, str]:
        """Sorts the best first: by accuracy, then by loss."""
        return -self.accuracy, self.loss, self.label


@dataclasses.dataclass(frozen=True)
class Sweep:
    """All trials of one configuration, and what its final runs made of them."""

    name: str  # of the configuration
    title: Title
    model: str
    trials: list[Trial]  # the best first
    used: Trial | None  # the one with the final runs' values
    warnings: list[str]

    @property
    def shown(self) -> Title:
        """The title, for Markdown."""
        return self.title.escaped

    def is_best(self, trial: Trial) -> bool:
        """Whether no trial reached a higher accuracy; several may be the best."""
        return trial.accuracy >= self.trials[0].accuracy

    def edges(self, trial: Trial) -> list[tuple[str, str]]:
        """Returns the fields in which a trial is the smallest or largest, and which.

        A decay or rate of 0 is no edge: nothing lies beyond it.
        """
        edges = []
        for field, value in trial.values.items():
            others = [t.values[field] for t in self.trials]
            numbers = all(type(v) in (int, float) for v in others)
            if not numbers or min(others) == max(others):
                continue
            if value == min(others) and value != 0:
                edges.append((field, "smallest"))
            elif value == max(others):
                edges.append((field, "largest"))
        return edges


def sweeps(
    swept: list[Record], final: list[Record], named: dict[str, Title]
) -> list[Sweep]:
    """Returns the sweep of each configuration: by model, Lion's first.

    Args:
      swept: Records of trials.
      final: Records of final runs, which name the same configurations.
      named: Titles of the configurations by name.
    """
    bases: dict[str, list[list[Record]]] = {}
    for runs in pairs.points(swept):
        bases.setdefault(runs[0].config["name"], []).append(runs)
    every = [
        _sweep(
            named[name], points, [run for run in final if run.config["name"] == name]
        )
        for name, points in bases.items()
    ]
    return sorted(every, key=lambda sweep: sweep.model)  # stable: Lion stays first


def _sweep(title: Title, points: list[list[Record]], final: list[Record]) -> Sweep:
    fields = list(dict.fromkeys(field for runs in points for field in runs[0].swept))
    trials = sorted((_trial(runs, fields) for runs in points), key=lambda t: t.order)
    first = points[0][0].config
    sweep = Sweep(first["name"], title, first["model"]["name"], trials, None, [])
    warnings = _protocol(sweep, [runs[0] for runs in points], final, fields)
    if not final:
        return dataclasses.replace(sweep, warnings=warnings)
    values = _values(final[0], fields)
    used = next((trial for trial in trials if _same(trial.values, values)), None)
    warnings = _choice(sweep, used, values) + warnings + _seeds(sweep, final)
    return dataclasses.replace(sweep, used=used, warnings=warnings)


def _trial(runs: list[Record], fields: list[str]) -> Trial:
    accuracies = [100 * (run.result.val_accuracy or 0) for run in runs]
    losses = [run.result.val_loss for run in runs]
    many = len(runs) > 1
    spread = float(np.std(accuracies, ddof=1)) if many else math.nan
    return Trial(
        runs[0].label,
        _values(runs[0], fields),
        tuple(sorted(run.seed for run in runs)),
        float(np.mean(accuracies)),
        spread / math.sqrt(len(runs)),
        float(np.mean([math.inf if loss is None else loss for loss in losses])),
        sum(run.diverged for run in runs),
    )


def _values(run: Record, fields: list[str]) -> dict[str, Any]:
    # What is swept may be the options of a function as a whole, or one of them.
    leaves = flat(run.config) | flatten(run.config)
    return {field: leaves.get(field) for field in fields}


def _same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether two trials have the same values, but for rounding in the last digits."""
    return a.keys() == b.keys() and all(
        math.isclose(x, b[field])
        if isinstance(x, float) and isinstance(b[field], float)
        else x == b[field]
        for field, x in a.items()
    )


def _choice(sweep: Sweep, used: Trial | None, values: dict[str, Any]) -> list[str]:
    """Warns where the final runs did not use the best trial, or one on the edge."""
    best = sweep.trials[0]
    if used is None:
        return [
            f"**{sweep.shown}: the final runs used {_text(values)}, which is"
            f" none of the {len(sweep.trials)} trials.**"
        ]
    warnings = []
    if not sweep.is_best(used):
        warnings.append(
            f"**{sweep.shown}: the final runs did not use the best trial:"
            f" {_text(used.values)} reached {used.accuracy:.2f} % on"
            f" validation, {_text(best.values)} {best.accuracy:.2f} %.**"
        )
    if used.diverged:
        warnings.append(
            f"**{sweep.shown}: the trial used diverged in {used.diverged} of"
            f" {counted(len(used.seeds), 'run')}.**"
        )
    if edges := sweep.edges(used):
        named = " and ".join(
            f"{_text({field: used.values[field]})} is the {side} tried"
            for field, side in edges
        )
        warnings.append(
            f"**{sweep.shown}: the trial used lies on the edge of its grid: {named}.**"
        )
    return warnings


def _text(values: dict[str, Any]) -> str:
    return escaped(titles.of_values(values))


def _protocol(
    sweep: Sweep, trials: list[Record], final: list[Record], fields: list[str]
) -> list[str]:
    """Warns of trials of another protocol than the final runs, or than the others.

    Args:
      sweep: The trials' sweep.
      trials: A record of each trial.
      final: The final runs; may be none.
      fields: What the sweep varies.
    """
    settings = [_settings(trial, fields) for trial in trials]
    usual = max(settings, key=settings.count)
    than = "the final runs" if final else "the others"
    other = _settings(final[0], fields) if final else usual
    apart: dict[str, list[str]] = {}
    for trial, one in zip(trials, settings, strict=True):
        different = [
            f"{titles.of_field(field)} {escaped(a)}, not {escaped(b)}"
            for field, a, b in fields_apart(one, other, "unset")
        ]
        if different:
            values = _text(_values(trial, fields))
            apart.setdefault("; ".join(different), []).append(values)
    warnings = []
    for different, values in apart.items():
        some = f" of {' and of '.join(values)}" if len(values) < len(trials) else ""
        warnings.append(
            f"**{sweep.shown}: the trials{some} had another protocol than {than}:"
            f" {different}.**"
        )
    return warnings


def _settings(run: Record, fields: list[str]) -> dict[str, Any]:
    """Returns what a run shares with others of its protocol, by dotted path."""
    leaves = flat(what_is_run(run.config) | {"name": ""}) | version_of_data(run)
    swept = tuple(f"{field}." for field in fields)
    return {x: value for x, value in leaves.items() if not f"{x}.".startswith(swept)}


def _seeds(sweep: Sweep, final: list[Record]) -> list[str]:
    """Warns of seeds that trials and final runs share."""
    warnings = []
    tried = {seed for trial in sweep.trials for seed in trial.seeds}
    if both := sorted(tried & {run.seed for run in final}):
        warnings.append(
            f"**{sweep.shown}: trials and final runs share the seeds"
            f" {', '.join(map(str, both))}.**"
        )
    return warnings
