"""The picture of the trials: a panel per configuration, the chosen trial marked."""

import math
from pathlib import Path
from typing import Any

from matplotlib.ticker import FixedLocator, NullLocator

from lion_jax.compare import drawing, titles
from lion_jax.compare.tuning import RATE, Sweep, Trial
from lion_jax.plots import save


def draw(sweeps: list[Sweep], path: Path) -> list[Path]:
    """Validation accuracy of every trial by learning rate, a line per other value.

    The panels of a model stand in one row and share their scale. A star is the trial
    whose values the final runs used; dotted lines are the ends of the grid.
    """
    models: dict[str, list[Sweep]] = {}
    for sweep in sweeps:
        models.setdefault(sweep.model, []).append(sweep)
    columns = max(map(len, models.values()))
    figure, axes = drawing.axes(len(models), columns, size=(5.2, 3.9), sharey="row")
    for row, own in zip(axes, models.values(), strict=True):
        for axis, sweep in zip(row, own, strict=False):
            _panel(axis, sweep)
        for axis in row[len(own) :]:
            axis.set_visible(False)
    return save(figure, path)


def _panel(axis: Any, sweep: Sweep) -> None:
    across = _field(sweep)
    scale = _Scale([trial.values[across] for trial in sweep.trials])
    lines: dict[str, list[Trial]] = {}
    for trial in sweep.trials:
        rest = {k: v for k, v in trial.values.items() if k != across}
        lines.setdefault(titles.of_values(rest), []).append(trial)
    ordered = sorted(lines.items(), key=lambda line: _by_values(line[1], across))
    for number, (name, trials) in enumerate(ordered):
        trials = sorted(trials, key=lambda trial: scale.place(trial.values[across]))
        errors = [0 if math.isnan(t.error) else t.error for t in trials]
        axis.errorbar(
            [scale.place(trial.values[across]) for trial in trials],
            [trial.accuracy for trial in trials],
            errors if any(errors) else None,
            label=name or None,
            ms=5,
            capsize=3,
            **drawing.style(number),
        )
    ends = scale.draw(axis)
    if sweep.used is not None:
        _mark(axis, sweep, sweep.used, scale.place(sweep.used.values[across]))
    several = "mean and standard error over seeds"
    many = any(len(trial.seeds) > 1 for trial in sweep.trials)
    axis.set(xlabel=titles.of_field(across) + ends)
    axis.set_ylabel("validation accuracy, %" + (f"\n{several}" if many else ""))
    axis.set_title(f"{sweep.title}, {len(sweep.trials)} trials")
    axis.margins(0.08, 0.18)
    if any(lines) or sweep.used:
        axis.legend(fontsize="small")


class _Scale:
    """Where values stand: numbers as such, others side by side by their names."""

    def __init__(self, tried: list[Any]):
        self._numbers = sorted({*tried}) if all(map(_is_number, tried)) else []
        self._names = sorted({*map(str, tried)})

    def place(self, value: Any) -> int | float:
        """Returns where one of the values stands."""
        return value if self._numbers else self._names.index(str(value))

    def draw(self, axis: Any) -> str:
        """Marks the values on an axis; returns what is to be said of it."""
        if not self._numbers:
            axis.set_xticks(range(len(self._names)), self._names)
            return ""
        if self._numbers[0] > 0:
            axis.set_xscale("log")
        axis.xaxis.set_major_locator(FixedLocator(self._numbers))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        for end in {self._numbers[0], self._numbers[-1]}:
            axis.axvline(end, color="0.5", lw=0.9, ls=":", zorder=0)
        return " (dotted: ends of the grid)"


def _mark(axis: Any, sweep: Sweep, used: Trial, place: int | float) -> None:
    """Puts a star on the chosen trial and names the edges on which it lies."""
    best = "best" if sweep.is_best(used) else "not the best"
    sides = [f"{side} {titles.of_field(f)}" for f, side in sweep.edges(used)]
    edges = f"; edge of the grid: {', '.join(sides)}" if sides else ""
    axis.plot(
        [place],
        [used.accuracy],
        ls="",
        marker="*",
        ms=17,
        mfc="none",
        mec="k",
        mew=1.3,
        label=f"used in the final runs ({best}{edges})",
    )


def _field(sweep: Sweep) -> str:
    """Returns the field to draw across: the rate, or else the first with numbers."""
    fields = [*sweep.trials[0].values]
    if RATE in fields:
        return RATE
    numbers = (f for f in fields if all(_is_number(t.values[f]) for t in sweep.trials))
    return next(numbers, fields[0])


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _by_values(line: list[Trial], across: str) -> tuple[tuple[float, str], ...]:
    """Sorts lines by the values that their trials share: numbers by size, names."""
    shared = [v for field, v in line[0].values.items() if field != across]
    return tuple((v, "") if _is_number(v) else (math.inf, str(v)) for v in shared)
