"""How pictures of many runs look: readable in grey and by the colour-blind.

Configurations differ in colour (Okabe and Ito's), line and marker at once.
"""

import itertools
import math
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from matplotlib.figure import Figure  # not pyplot, which would choose a screen
from matplotlib.ticker import FixedLocator, NullLocator

from lion_jax.plots import COLORS

LINES, MARKERS = ("-", "--", ":", "-."), "os^Dv*"
ACCURACIES = (0, 20, 40, 50, 60, 70, 75, 80, 82, 84, 86, 88)
ACCURACIES += (90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 99.5)
MOST_TICKS = 9
# Of round numbers within a power of ten: the finest that leaves room is taken.
STEPS = [number / 20 for number in range(20, 200)], [n / 10 for n in range(10, 100)]
STEPS += (1, 1.2, 1.5, *range(2, 10)), (1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3)
MOST = 12  # configurations of a group; from there on, lines would look the same again
LETTER, LINE = 0.085, 0.21  # inches of one, and of a legend's line
INSIDE = 24, 3  # letters of names and lines of a legend that covers little of its axes
WRAPPED = 36  # letters in a line of a title, or of a legend beside the axes

T = TypeVar("T")


def style(number: int, *, line: bool = True) -> dict[str, Any]:
    """Returns how the n-th configuration of a group is drawn."""
    options = {
        "color": COLORS[number % len(COLORS)],
        "marker": MARKERS[number % len(MARKERS)],
    }
    return options | ({"linestyle": LINES[number % len(LINES)]} if line else {})


def some(group: dict[str, T]) -> tuple[dict[str, T], str]:
    """Returns the configurations of a group that are drawn, and what is left out."""
    drawn = dict(itertools.islice(group.items(), MOST))
    left = len(group) - len(drawn)
    return drawn, f"and {left} more, in the tables alone" if left else ""


class Room(NamedTuple):
    """What legends need beside the axes, in inches; nothing where they fit inside."""

    width: float = 0.0
    height: float = 0.0


NO_ROOM = Room()


def beside(groups: Iterable[Sequence[str]]) -> Room:
    """Returns the room for legends of the names of each group."""
    groups = [*groups]
    longest = max(len(name) for names in groups for name in names)
    if longest <= INSIDE[0] and max(map(len, groups)) <= INSIDE[1]:
        return NO_ROOM
    lines = max(sum(wrapped(name).count("\n") + 1 for name in x) for x in groups)
    return Room(0.9 + LETTER * min(longest, WRAPPED), 0.7 + LINE * lines)


def legend(axis: Any, room: Room, note: str = "") -> None:
    """Adds the legend: inside the axes, or at their right where there is room for it.

    Args:
      axis: The last axes of a row.
      room: What `beside` returned for the figure.
      note: What it does not show.
    """
    if not room.width:
        axis.legend(loc="lower right")
        return
    lines, names = axis.get_legend_handles_labels()
    axis.legend(
        lines,
        [wrapped(name) for name in names],
        title=note or None,
        loc="upper left",
        bbox_to_anchor=(1.02, 1.0),
        borderaxespad=0,
    )


def wrapped(name: str) -> str:
    """Returns a name, or a title, in lines; none ends within `n = 8`."""
    return textwrap.fill(name.replace(" = ", "\xa0=\xa0"), WRAPPED)


def axes(
    rows: int,
    columns: int,
    *,
    size: tuple[float, float] = (4.7, 3.6),
    room: Room = NO_ROOM,
    **options: Any,
) -> tuple[Figure, np.ndarray]:
    """Returns a figure and its axes.

    `size` is that of one, in inches, `room` what legends need beside a row.
    """
    width = max(5.5, size[0] * columns) + room.width
    total = width, max(size[1], room.height) * rows
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


def round_numbers(low: float, high: float, most: int = MOST_TICKS) -> list[float]:
    """Returns round numbers between two positive ones, for a logarithmic scale.

    No two are closer than their labels need where `most` of them fill the axis.
    """
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    fine = [
        [float(f"{step}e{power}") for power in powers for step in steps]
        for steps in STEPS
    ]
    coarse = [[float(f"1e{x}") for x in powers[::n]] for n in (1, 2, 4, 8, 16, 32)]
    within = [[x for x in numbers if low <= x <= high] for numbers in fine + coarse]
    least = math.log(high / low) / most
    return next(
        numbers
        for numbers in [*within, within[-1][:1]]
        if all(math.log(b / a) >= least for a, b in itertools.pairwise(numbers))
    )


def _place(accuracy: Any) -> Any:
    """Where an accuracy in percent stands; a half stands for no error at all."""
    return -np.log(np.maximum(100.5 - np.asarray(accuracy, float), 1e-3))


def _accuracy(place: Any) -> Any:
    return 100.5 - np.exp(-np.asarray(place, float))
