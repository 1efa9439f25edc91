"""Pictures of how runs went: curves by epoch, accuracy by time."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import FixedLocator, MaxNLocator, NullLocator

from lion_jax.compare import drawing
from lion_jax.compare.analysis import Analysis
from lion_jax.compare.records import Record
from lion_jax.compare.targets import task_of
from lion_jax.plots import save

FIELDS = {"val_accuracy": "validation accuracy, %", "val_loss": "validation loss"}


def curves(analysis: Analysis, path: Path) -> list[Path]:
    """Validation accuracy and loss by epoch: median, and a band of the quartiles."""
    room = _room(analysis, ", n = 00")
    figure, axes = drawing.axes(len(analysis.groups), 2, room=room)
    for row, whole in zip(axes, analysis.groups, strict=True):
        group, note = drawing.some(whole)
        for axis, (field, title) in zip(row, FIELDS.items(), strict=True):
            factor = 100 if field == "val_accuracy" else 1
            shown: list[float] = []
            for number, (label, runs) in enumerate(group.items()):
                epochs, *quartiles = quartiles_of(runs, field)
                name = f"{analysis.titles[label].short}, n = {len(runs)}"
                quartiles = [factor * values for values in quartiles]
                shown += _line(axis, epochs, quartiles, runs, number, name)
            axis.set(xlabel="epoch" + _thin(group), ylabel=title)
            axis.set_title(drawing.wrapped(analysis.heading(group)))
            axis.xaxis.set_major_locator(MaxNLocator(integer=True))
            if field == "val_accuracy":
                drawing.accuracy_scale(axis, shown)
            elif np.isfinite(shown).any() and np.nanmin(shown) > 0:
                _loss_scale(axis)
        drawing.legend(row[-1 if room.width else 0], room, note)
    return save(figure, path)


def time_against_accuracy(analysis: Analysis, path: Path) -> list[Path]:
    """Validation accuracy by the median seconds so far, quartiles, and the target."""
    room = _room(analysis)
    figure, axes = drawing.axes(len(analysis.groups), 1, size=(6.5, 3.6), room=room)
    for (axis,), whole in zip(axes, analysis.groups, strict=True):
        group, note = drawing.some(whole)
        shown: list[float] = []
        for number, (label, runs) in enumerate(group.items()):
            _, *quartiles = quartiles_of(runs, "val_accuracy")
            seconds = np.cumsum(quartiles_of(runs, "seconds")[2])
            name = analysis.titles[label].short
            quartiles = [100 * values for values in quartiles]
            shown += _line(axis, seconds, quartiles, runs, number, name)
        task = task_of(next(iter(group.values()))[0])
        target = 100 * analysis.targets[task]
        if np.isfinite(target):
            origin = "named beforehand" if analysis.named(task) else "from these runs"
            axis.axhline(target, color="0.3", lw=1, ls=(0, (6, 3)))
            axis.annotate(
                f"target {target:g} %, {origin}",
                (0.01, target),
                xycoords=axis.get_yaxis_transform(),
                xytext=(0, 2),
                textcoords="offset points",
                fontsize="small",
            )
        axis.set(
            xlabel="seconds of training and validation" + _thin(group),
            ylabel=FIELDS["val_accuracy"],
            title=drawing.wrapped(analysis.heading(group)),
        )
        drawing.accuracy_scale(axis, [*shown, target])
        drawing.legend(axis, room, note)
    return save(figure, path)


def _line(
    axis: Any,
    x: np.ndarray,
    quartiles: list[np.ndarray],
    runs: list[Record],
    number: int,
    name: str,
) -> list[float]:
    """Draws a configuration's median and quartiles; returns what the scale is to hold.

    Where fewer than half of the runs were still going on, these say little of the
    others: there the line is thin, and has no band.
    """
    look, kept = drawing.style(number), epochs_of_half(runs)
    low, middle, high = (values[:kept] for values in quartiles)
    every = max(1, kept // 12)
    axis.plot(x[:kept], middle, label=name, markevery=every, ms=4, **look)
    axis.fill_between(x[:kept], low, high, color=look["color"], alpha=0.2)
    rest = quartiles[1][kept - 1 :]
    axis.plot(x[kept - 1 :], rest, color=look["color"], lw=0.8, alpha=0.6)
    return [*low, *high, *rest]


def _thin(group: dict[str, list[Record]]) -> str:
    """Returns what a thin line means, if there is one."""
    some = any(
        epochs_of_half(runs) < max(len(run.epochs) for run in runs)
        for runs in group.values()
    )
    return " (thin: fewer than half of the runs)" if some else ""


def epochs_of_half(runs: list[Record]) -> int:
    """Returns how many epochs at least half of the runs have."""
    lengths = sorted((len(run.epochs) for run in runs), reverse=True)
    return lengths[(len(runs) - 1) // 2]


def quartiles_of(
    runs: list[Record], field: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns epochs and the quartiles of the runs that were still going on, finite."""
    longest = max(len(run.epochs) for run in runs)
    quartiles = []
    for epoch in range(longest):
        rows = [run.epochs[epoch] for run in runs if len(run.epochs) > epoch]
        known = [getattr(row, field) for row in rows if row.is_finite]
        quartiles.append(
            np.quantile(known, (0.25, 0.5, 0.75)) if known else [np.nan] * 3
        )
    low, middle, high = np.array(quartiles).T
    return np.arange(1, longest + 1), low, middle, high


def _room(analysis: Analysis, suffix: str = "") -> drawing.Room:
    """Returns the room for the legends, of names and a suffix."""
    named = analysis.titles
    return drawing.beside(
        [named[label].short + suffix for label in drawing.some(group)[0]]
        for group in analysis.groups
    )


def _loss_scale(axis: Any) -> None:
    """A logarithmic scale with round numbers, not powers of ten alone."""
    axis.set_yscale("log")
    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(FixedLocator(drawing.round_numbers(low, high)))
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.yaxis.set_minor_locator(NullLocator())
