"""The picture of the trials: a panel per configuration, the chosen trial marked."""

import math
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FixedLocator, NullLocator

from lion_jax.compare import drawing, titles
from lion_jax.compare.tuning import RATE, Sweep, Trial
from lion_jax.plots import COLORS, save

MOST_LINES = 6  # of the values of a grid; more are of random trials, where each differs
MOST_TICKS = 6  # side by side


def draw(sweeps: list[Sweep], path: Path) -> list[Path]:
    """Validation accuracy of every trial by learning rate, a line per other value.

    Random trials, each with values of its own, are points, by colour. The panels
    of a model stand in one row and share their scale. A star is the trial whose values
    the final runs used; dotted lines are the ends of the grid.
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
    if len(lines) > MOST_LINES:
        _points(axis, sweep, across, scale)
        lines = {}
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
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize="small")


def _points(axis: Any, sweep: Sweep, across: str, scale: "_Scale") -> None:
    """Draws trials as points, coloured by the field that they vary beside, if one."""
    x = [scale.place(trial.values[across]) for trial in sweep.trials]
    y = [trial.accuracy for trial in sweep.trials]
    errors = np.nan_to_num([trial.error for trial in sweep.trials])
    if errors.any():
        axis.errorbar(x, y, errors, fmt="none", ecolor="0.6", capsize=3, zorder=1)
    rest = [field for field in sweep.trials[0].values if field != across]
    values = [trial.values[rest[0]] for trial in sweep.trials]
    if len(rest) > 1 or not all(map(_is_number, values)):
        axis.scatter(x, y, s=36, color=COLORS[0], zorder=2)
        return
    is_log = 0 < min(values) < max(values)
    norm = LogNorm() if is_log else Normalize()
    points = axis.scatter(x, y, s=36, c=values, cmap="cividis", norm=norm, zorder=2)
    bar = axis.figure.colorbar(points, ax=axis, label=titles.of_field(rest[0]))
    if is_log:
        bar.ax.yaxis.set_minor_locator(NullLocator())
        bar.set_ticks(drawing.round_numbers(min(values), max(values)))
        bar.ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


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
        low, high = ends = self._numbers[0], self._numbers[-1]
        if low > 0:
            axis.set_xscale("log")
        if len(self._numbers) <= MOST_TICKS:
            axis.xaxis.set_major_locator(FixedLocator(self._numbers))
        elif low > 0:
            axis.xaxis.set_major_locator(
                FixedLocator(drawing.round_numbers(*ends, MOST_TICKS))
            )
        axis.xaxis.set_minor_locator(NullLocator())
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:g}")
        for end in {low, high}:
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
