"""Pictures of many runs, to be read in grey and by the colour-blind.

Configurations differ in colour (Okabe and Ito's), line and marker at once.
"""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure  # not pyplot, which would choose a screen

from lion_jax.compare.comparison import Group, Measure, model_of
from lion_jax.compare.records import Record
from lion_jax.files import replacing
from lion_jax.training.history import Epoch

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#E69F00")
LINES, MARKERS = ("-", "--", ":", "-."), "os^Dv*"


def style(number: int, *, line: bool = True) -> dict[str, Any]:
    """Returns how the n-th configuration of a group is drawn."""
    found = {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
    }
    return found | ({"linestyle": LINES[number % len(LINES)]} if line else {})


def curves(groups: list[Group], path: Path) -> None:
    """Validation accuracy and loss by epoch: median, and a band of the quartiles."""
    measures = {"val_accuracy": "validation accuracy, %", "val_loss": "validation loss"}
    figure, axes = _axes(len(groups), 2)
    for row, group in zip(axes, groups, strict=True):
        for axis, (field, title) in zip(row, measures.items(), strict=True):
            factor = 100 if field == "val_accuracy" else 1
            for number, (label, runs) in enumerate(group.items()):
                epochs, low, middle, high = _quartiles(runs, field)
                drawn = style(number)
                axis.plot(
                    epochs,
                    factor * middle,
                    label=f"{label}, n = {len(runs)}",
                    markevery=max(1, len(epochs) // 12),
                    ms=4,
                    **drawn,
                )
                axis.fill_between(
                    epochs, factor * low, factor * high, color=drawn["color"], alpha=0.2
                )
            axis.set(xlabel="epoch", ylabel=title, title=model_of(group))
            axis.xaxis.get_major_locator().set_params(integer=True)
        row[0].legend()
    _save(figure, path)


def runs(groups: list[Group], measures: list[Measure], path: Path) -> None:
    """A point for every run beside its configuration's box, for each measure."""
    figure, axes = _axes(len(groups), len(measures))
    for row, group in zip(axes, groups, strict=True):
        for axis, measure in zip(row, measures, strict=True):
            every = [measure.of(runs) for runs in group.values()]
            values = [v[np.isfinite(v)] for v in every]
            places = np.arange(1, len(values) + 1)
            axis.boxplot(
                values,
                positions=places,
                widths=0.3,
                showfliers=False,
                medianprops={"color": "black"},
            )
            for number, (place, points) in enumerate(zip(places, values, strict=True)):
                # Spread evenly in their order, beside the box and not upon it.
                beside = place + 0.25 + 0.15 * np.linspace(0, 1, max(1, len(points)))
                axis.plot(
                    beside[: len(points)],
                    points,
                    ms=5,
                    alpha=0.7,
                    linestyle="",
                    **style(number, line=False),
                )
            names = [
                f"{label}\nn = {len(finite)}"
                + (f", and {len(v) - len(finite)} failed" * (len(v) > len(finite)))
                for label, v, finite in zip(group, every, values, strict=True)
            ]
            axis.set_xticks(places, names)
            axis.set_xlim(0.6, len(values) + 0.6)
            unit = f", {measure.unit}" if measure.unit else ""
            axis.set(ylabel=measure.title + unit, title=model_of(group))
    _save(figure, path)


def time_against_accuracy(groups: list[Group], path: Path) -> None:
    """Median validation accuracy by the median seconds of training so far."""
    figure, axes = _axes(len(groups), 1)
    for (axis,), group in zip(axes, groups, strict=True):
        for number, (label, runs) in enumerate(group.items()):
            _, _, accuracy, _ = _quartiles(runs, "val_accuracy")
            _, _, seconds, _ = _quartiles(runs, "seconds")
            axis.plot(
                np.cumsum(seconds), 100 * accuracy, label=label, ms=4, **style(number)
            )
        axis.set(
            xlabel="seconds of training and validation",
            ylabel="validation accuracy, %",
            title=model_of(group),
        )
        axis.legend()
    _save(figure, path)


def sensitivity(
    lines: dict[str, list[tuple[float, float]]], ylabel: str, path: Path
) -> None:
    """Best validation accuracy by learning rate, a line for each of the rest.

    Args:
      lines: By name, pairs of learning rate and accuracy in percent.
      ylabel: What the accuracy is of.
      path: Where the picture goes.
    """
    figure, ((axis,),) = _axes(1, 1)
    figure.set_size_inches(6.5, 3.6 + 0.2 * len(lines))
    for number, (name, points) in enumerate(lines.items()):
        rates, values = zip(*sorted(points), strict=True)
        axis.plot(rates, values, label=name, ms=5, **style(number))
    axis.set(xscale="log", xlabel="learning rate", ylabel=ylabel)
    figure.legend(loc="outside lower center")
    _save(figure, path)


def _quartiles(
    runs: list[Record], field: str
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Returns epochs and the quartiles of the runs that were still going on, finite."""
    longest = max(len(run.epochs) for run in runs)
    found = []
    for epoch in range(longest):
        rows = [run.epochs[epoch] for run in runs if len(run.epochs) > epoch]
        known = [row[field] for row in rows if Epoch.from_dict(row).is_finite]
        found.append(np.quantile(known, (0.25, 0.5, 0.75)) if known else [np.nan] * 3)
    low, middle, high = np.array(found).T
    return np.arange(1, longest + 1), low, middle, high


def _axes(rows: int, columns: int) -> tuple[Any, np.ndarray]:
    size = max(5.5, 4.7 * columns), 3.6 * rows
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for axis in axes.flat:
        axis.grid(alpha=0.3)
    return figure, axes


def _save(figure: Any, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=120, format="png")
