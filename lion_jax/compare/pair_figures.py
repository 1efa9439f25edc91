"""The picture of the pairs: every run, lines between equal seeds, the differences."""

import dataclasses
import itertools
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from lion_jax.compare import drawing, pairs
from lion_jax.compare.analysis import Analysis
from lion_jax.compare.markdown import counted
from lion_jax.compare.measures import TEST, Measure
from lion_jax.compare.pairs import Comparison, Group
from lion_jax.plots import save

SHOWN = ("test_accuracy", "last_test_accuracy")  # and the primary one, first
# Letters of a name that fit below a panel, by the configurations of a group. Where one
# does not fit, or there are more of them, numbers stand there.
FIT = {1: 12, 2: 12, 3: 8}
MOST_CONTRASTS = 10  # of all with each other; where there are more: with the first
SLOTS = 0.4, 0.75  # inches of a numbered configuration and of a difference
LEAST = 2.6, 2.8  # inches of the two panels where configurations are numbered


@dataclasses.dataclass(frozen=True)
class Panel:
    """What is drawn of a group by one measure."""

    measure: Measure
    group: Group  # without what is left out
    names: list[str]  # of its configurations
    model: str
    comparisons: list[Comparison]
    left_out: list[str]  # of configurations and of comparisons; "" for none

    @property
    def fits(self) -> bool:
        """Whether the names may stand below the panel."""
        return max(map(len, self.names)) <= FIT.get(len(self.group), 0)

    @property
    def sizes(self) -> list[list[str]]:
        """How many runs each configuration has, and how many of them failed."""
        sizes = []
        for runs in self.group.values():
            failed = len(runs) - np.isfinite(self.measure.of(runs)).sum()
            sizes.append([f"n = {len(runs)}", *[f"{failed} failed"] * bool(failed)])
        return sizes

    def heading(self, letters: int) -> str:
        """Returns the model, and below it which configuration has which number."""
        sizes = map(", ".join, self.sizes)
        lines = [self.model]
        lines += map("{}: {}, {}".format, itertools.count(1), self.names, sizes)
        lines += filter(None, [self.left_out[0]])
        return "\n".join(textwrap.fill(line, letters) for line in lines)


def draw(analysis: Analysis, path: Path) -> list[Path]:
    """A row per group; per measure, the runs at the left, differences at the right.

    There is one column where best and end of the schedule are the same numbers. Where
    names do not fit, configurations are numbered, and each measure has its own row.
    """
    names = tuple(dict.fromkeys((analysis.options.primary, *SHOWN)))
    rows = [
        [_panel(analysis, group, measure) for measure in _shown(analysis, group, names)]
        for group in analysis.groups
    ]
    every = [panel for panels in rows for panel in panels]
    numbered = not all(panel.fits for panel in every)
    if numbered:
        rows = [[panel] for panel in every]
        figure, axes, headings = _numbered(every)
    else:
        figure, axes = _named(rows)
        headings = [drawing.wrapped(panel.model) for panel in every]
    heading = iter(headings)
    for row, panels in zip(axes, rows, strict=True):
        for axis in row[2 * len(panels) :]:
            axis.set_visible(False)
        for panel, left, right in zip(panels, row[::2], row[1::2], strict=False):
            shown = panel.names
            ticks = [
                "\n".join([n, *s]) for n, s in zip(shown, panel.sizes, strict=True)
            ]
            if numbered:
                shown = ticks = [str(i) for i in range(1, 1 + len(shown))]
            _runs(left, panel, ticks)
            _differences(right, panel, dict(zip(panel.group, shown, strict=True)))
            size = "medium" if numbered else "large"
            left.set_title(next(heading), loc="left", fontsize=size)
    return save(figure, path)


def _shown(analysis: Analysis, group: Group, names: tuple[str, ...]) -> list[Measure]:
    """Returns the measures to draw: those named, or that stand for one named."""
    candidates = analysis.of(group, tuple(TEST) + names)
    return [m for m in candidates if m.name in names or set(m.also) & set(names)]


def _panel(analysis: Analysis, whole: Group, measure: Measure) -> Panel:
    """Chooses what is drawn; the report's tables have everything."""
    group, left_out = drawing.some(whole)
    every = [c for c in analysis.comparisons if c.contrast.measure is measure]
    drawn = [c for c in every if {*c.contrast.labels} <= {*group}]
    if len(every) > MOST_CONTRASTS:
        drawn = [c for c in drawn if c.contrast.labels[0] == next(iter(group))]
    fewer = f"with 1 alone; all {len(every)} are in the tables"
    return Panel(
        measure,
        group,
        [analysis.titles[label].short for label in group],
        analysis.heading(group),
        drawn,
        [left_out, fewer if len(drawn) < len(every) else ""],
    )


def _named(rows: list[list[Panel]]) -> tuple[Figure, np.ndarray]:
    """Returns axes whose names stand below them."""
    columns = max(map(len, rows))
    widest = max(2, *(len(panel.names) for panels in rows for panel in panels))
    return drawing.axes(
        len(rows),
        2 * columns,
        size=(1.4 * widest + 0.2, 3.8),
        width_ratios=(1.6 * widest, 1.5 * widest) * columns,
    )


def _numbered(panels: list[Panel]) -> tuple[Figure, np.ndarray, list[str]]:
    """Returns axes with numbers below them, and headings that say whose they are."""
    counts = [(len(panel.names), len(panel.comparisons)) for panel in panels]
    widths = [
        max(least, 1.1 + slot * max(of_one))
        for least, slot, of_one in zip(
            LEAST, SLOTS, zip(*counts, strict=True), strict=True
        )
    ]
    headings = [
        panel.heading(int(sum(widths) / drawing.LETTER) - 12) for panel in panels
    ]
    lines = max(heading.count("\n") for heading in headings)
    figure, axes = drawing.axes(
        len(panels), 2, size=(sum(widths) / 2, 3.6 + 0.17 * lines), width_ratios=widths
    )
    return figure, axes, headings


def _runs(axis: Any, panel: Panel, ticks: list[str]) -> None:
    """A point per run, a line per seed, a bar at the median."""
    by_seed: dict[int, list[tuple[int, float]]] = {}
    for number, runs in enumerate(panel.group.values()):
        values = panel.measure.of(runs)
        finite = np.isfinite(values)
        for run, value in zip(runs, values, strict=True):
            by_seed.setdefault(run.seed, []).append((number, float(value)))
        axis.plot(
            np.full(finite.sum(), number),
            values[finite],
            ls="",
            ms=5.5,
            alpha=0.8,
            **drawing.style(number, line=False),
        )
        if finite.any():
            middle = np.median(values[finite])
            axis.plot([number - 0.18, number + 0.18], [middle] * 2, "k-", lw=2)
    for points in by_seed.values():
        for (x, y), (next_x, next_y) in itertools.pairwise(points):
            if next_x == x + 1 and np.isfinite((y, next_y)).all():
                axis.plot([x, next_x], [y, next_y], color="0.6", lw=0.8, zorder=0)
    axis.set_xticks(range(len(ticks)), ticks)
    axis.set_xlim(-0.45, len(ticks) - 0.55)
    axis.set_ylabel(panel.measure.heading.replace(" = ", "\n= "))


def _differences(axis: Any, panel: Panel, names: dict[str, str]) -> None:
    """A point per pair, beside it the mean difference with its interval, and 0."""
    if not panel.comparisons:
        axis.set_visible(False)
        return
    axis.axhline(0, color="k", lw=0.8)
    contrasts = [comparison.contrast for comparison in panel.comparisons]
    for number, c in enumerate(contrasts):
        gaps = c.pairs[np.isfinite(c.pairs)]
        spread = np.linspace(-0.08, 0.08, len(gaps)) if len(gaps) > 1 else [0.0]
        if len(gaps):
            axis.plot(number - 0.15 + np.array(spread), np.sort(gaps), "o", color="0.5")
        if np.isfinite(c.difference.low):
            mean, low, high = c.difference
            errors = [[mean - low], [high - mean]]
            axis.errorbar(
                number + 0.15, mean, errors, fmt="D", color="k", capsize=4, ms=6
            )
    axis.set_xticks(range(len(contrasts)), [_tick(c, names) for c in contrasts])
    axis.set_xlim(-0.5, len(contrasts) - 0.5)
    axis.set_ylabel(_difference(panel.measure, [bool(c.seeds) for c in contrasts]))
    if panel.left_out[1]:
        axis.set_title(panel.left_out[1], loc="left", fontsize="medium")


def _tick(c: pairs.Contrast, names: dict[str, str]) -> str:
    first, second = (names[label] for label in c.labels)
    n = counted(len(c.seeds), "pair") if c.seeds else "unpaired"
    return f"{first} minus\n{second}\n{n}"


def _difference(measure: Measure, paired: list[bool]) -> str:
    """Returns what differences are of, which differ in whether they are paired."""
    what = "difference per seed" if any(paired) else "difference of the means"
    if any(paired) and not all(paired):
        what += "\n(unpaired: of the means)"
    unit = {"%": ", points", "s": ", s"}.get(measure.unit, "")
    better = "higher" if measure.better > 0 else "lower"
    return f"{what}{unit}\n({better} is better for the first)"
