"""How pictures of many runs look: readable in grey and by the colour-blind.

Configurations differ in colour (Okabe and Ito's), line and marker at once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure  # not pyplot, which would choose a screen
from matplotlib.ticker import FixedLocator, NullLocator

from lion_jax.plots import COLORS

LINES, MARKERS = ("-", "--", ":", "-."), "os^Dv*"
ACCURACIES = (0, 20, 40, 50, 60, 70, 75, 80, 82, 84, 86, 88)
ACCURACIES += (90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 99.5)
MOST_TICKS = 9


def style(number: int, *, line: bool = True) -> dict[str, Any]:
    """Returns how the n-th configuration of a group is drawn."""
    options = {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
    }
    return options | ({"linestyle": LINES[number % len(LINES)]} if line else {})


def axes(
    rows: int, columns: int, *, size: tuple[float, float] = (4.7, 3.6), **options: Any
) -> tuple[Figure, np.ndarray]:
    """Returns a figure and its axes; `size` is that of one, in inches."""
    total = max(5.5, size[0] * columns), size[1] * rows
    figure = Figure(figsize=total, layout="constrained")
    subplots = figure.subplots(rows, columns, squeeze=False, **options)
    for axis in subplots.flat:
        axis.grid(alpha=0.3)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, subplots


def accuracy_scale(axis: Any, values: Sequence[float]) -> None:
    """Gives an axis of accuracies in percent the scale of the logarithm of the error.

    So the rise of the first epochs does not flatten what comes later.
    """
    known = [value for value in values if np.isfinite(value)] or [0.0, 90.0]
    low, high = _place(min(known)), _place(max(known))
    margin = 0.05 * (high - low) or 0.05
    low, high = low - margin, high + margin
    axis.set_yscale("function", functions=(_place, _accuracy))
    axis.set_ylim(float(_accuracy(low)), float(_accuracy(high)))
    shown: list[float] = []
    for tick in reversed(ACCURACIES):  # the high ones matter most
        place = _place(tick)
        room = not shown or _place(shown[0]) - place >= (high - low) / MOST_TICKS
        if low <= place <= high and room:
            shown.insert(0, tick)
    axis.yaxis.set_major_locator(FixedLocator(shown))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")


def _place(accuracy: Any) -> Any:
    """Where an accuracy in percent stands; a half stands for no error at all."""
    return -np.log(np.maximum(100.5 - np.asarray(accuracy, float), 1e-3))


def _accuracy(place: Any) -> Any:
    return 100.5 - np.exp(-np.asarray(place, float))
