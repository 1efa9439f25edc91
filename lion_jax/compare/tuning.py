"""What sweeps say: trials ranked on the validation set, and which one the runs used."""

import dataclasses
import math
from typing import Any

import numpy as np

from lion_jax.compare import pairs, titles
from lion_jax.compare.markdown import fixed, items, table
from lion_jax.compare.records import Record, flat, what_is_run

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
    title: str
    model: str
    trials: list[Trial]  # the best first
    used: Trial | None  # the one with the final runs' values
    warnings: list[str]

    def edges(self, trial: Trial) -> list[tuple[str, str]]:
        """Returns the fields in which a trial is the smallest or largest, and which.

        A decay or rate of 0 is no edge: nothing lies beyond it.
        """
        edges = []
        for field, value in trial.values.items():
            others = {t.values[field] for t in self.trials}
            numbers = all(type(v) in (int, float) for v in others)
            if not numbers or len(others) < 2:
                continue
            if value == min(others) and value != 0:
                edges.append((field, "smallest"))
            elif value == max(others):
                edges.append((field, "largest"))
        return edges


def sweeps(swept: list[Record], final: list[Record]) -> list[Sweep]:
    """Returns the sweep of each configuration: by model, Lion's first.

    Args:
      swept: Records of trials.
      final: Records of final runs, which name the same configurations.
    """
    bases: dict[str, list[list[Record]]] = {}
    for runs in pairs.by_label(swept).values():
        bases.setdefault(runs[0].config["name"], []).append(runs)
    every = [
        _sweep(name, points, [run for run in final if run.config["name"] == name])
        for name, points in bases.items()
    ]
    return sorted(every, key=lambda sweep: sweep.model)  # stable: Lion stays first


def _sweep(name: str, points: list[list[Record]], final: list[Record]) -> Sweep:
    fields = list(dict.fromkeys(field for runs in points for field in runs[0].swept))
    trials = sorted((_trial(runs, fields) for runs in points), key=lambda t: t.order)
    first = points[0][0]
    (title,) = set(titles.of_configurations([first]).values())
    model = first.config["model"]["name"]
    sweep = Sweep(name, title, model, trials, None, [])
    if not final:
        return sweep
    values = _values(final[0], fields)
    used = next((trial for trial in trials if trial.values == values), None)
    warnings = _choice(sweep, used, values) + _protocol(sweep, first, final, fields)
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
    leaves = flat(run.config)
    return {field: leaves.get(field) for field in fields}


def _choice(sweep: Sweep, used: Trial | None, values: dict[str, Any]) -> list[str]:
    """Warns where the final runs did not use the best trial, or one on the edge."""
    best = sweep.trials[0]
    if used is None:
        return [
            f"**{sweep.title}: the final runs used {titles.of_values(values)}, which is"
            f" none of the {len(sweep.trials)} trials.**"
        ]
    warnings = []
    if used is not best:
        warnings.append(
            f"**{sweep.title}: the final runs did not use the best trial:"
            f" {titles.of_values(used.values)} reached {used.accuracy:.2f} % on"
            f" validation, {titles.of_values(best.values)} {best.accuracy:.2f} %.**"
        )
    if edges := sweep.edges(used):
        named = " and ".join(
            f"{titles.of_values({field: used.values[field]})} is the {side} tried"
            for field, side in edges
        )
        warnings.append(
            f"**{sweep.title}: the trial used lies on the edge of its grid: {named}.**"
        )
    return warnings


def _protocol(
    sweep: Sweep, trial: Record, final: list[Record], fields: list[str]
) -> list[str]:
    """Warns where trials and final runs are not of one protocol."""
    one, other = (
        flat(what_is_run(run.config) | {"name": ""}) for run in (trial, final[0])
    )
    different = [
        f"{titles.of_field(field)} {one[field]}, not {other[field]}"
        for field in one
        if field not in fields and one[field] != other.get(field, one[field])
    ]
    warnings = []
    if different:
        warnings.append(
            f"**{sweep.title}: the trials had another protocol than the final runs:"
            f" {'; '.join(different)}.**"
        )
    tried = {seed for trial in sweep.trials for seed in trial.seeds}
    if both := sorted(tried & {run.seed for run in final}):
        warnings.append(
            f"**{sweep.title}: trials and final runs share the seeds"
            f" {', '.join(map(str, both))}.**"
        )
    return warnings


def section(sweeps: list[Sweep]) -> list[str]:
    """Returns Markdown parts: what each trial gave, the best of each first."""
    rows = []
    for sweep in sweeps:
        for trial in sweep.trials:
            error = f" ± {trial.error:.2f}" if len(trial.seeds) > 1 else ""
            edges = [f"{side} {titles.of_field(f)}" for f, side in sweep.edges(trial)]
            rows.append(
                (
                    sweep.title,
                    titles.of_values(trial.values),
                    len(trial.seeds),
                    f"{trial.accuracy:.2f}{error}",
                    fixed(trial.loss, 4),
                    trial.diverged,
                    "**used**" if trial is sweep.used else "",
                    ", ".join(edges),
                )
            )
    heads = ("configuration", "values", "seeds", "accuracy, %", "loss", "diverged")
    return [
        "## Tuning, on the validation set alone",
        items(_budgets(sweeps)),
        "A row per trial, the best of each configuration first: validation accuracy at"
        " the lowest validation loss and that loss, means over seeds (± the standard"
        " error over seeds, where there are several). A run that diverged at once"
        " counts as 0. *Used* is the trial whose values the final runs have.",
        table((*heads, "final runs", "edge of the grid"), rows),
    ]


def _budgets(sweeps: list[Sweep]) -> list[str]:
    """Returns for each model how many trials each configuration had."""
    lines = []
    for model in sorted({sweep.model for sweep in sweeps}):
        own = [sweep for sweep in sweeps if sweep.model == model]
        counts = ", ".join(
            f"{sweep.title}: {len(sweep.trials)} trials" for sweep in own
        )
        runs = {sum(len(t.seeds) for t in sweep.trials) for sweep in own}
        seeds = {trial.seeds for sweep in own for trial in sweep.trials}
        equal = "equal" if len(runs) == len(seeds) == 1 else "**not equal**"
        lines.append(f"{counts} ({equal} budgets, in runs and seeds).")
    return lines
