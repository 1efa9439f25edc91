"""The picture of the pairs: every run, lines between equal seeds, the differences."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from lion_jax.compare import drawing, pairs, titles
from lion_jax.compare.analysis import Analysis
from lion_jax.compare.markdown import counted
from lion_jax.compare.measures import TEST, Measure
from lion_jax.compare.pairs import Comparison, Group
from lion_jax.plots import save

LONG = 16  # letters of a name that fit beside others
SHOWN = ("test_accuracy", "last_test_accuracy")  # and the primary one, first


def draw(analysis: Analysis, path: Path) -> list[Path]:
    """A row per group; per measure, the runs at the left, differences at the right.

    There is one column where best and end of the schedule are the same numbers.
    """
    names = tuple(dict.fromkeys((analysis.options.primary, *SHOWN)))
    shown = [_shown(analysis, group, names) for group in analysis.groups]
    columns = max(map(len, shown))
    widest = max(max(map(len, analysis.groups)), 2)
    named = [analysis.titles[label] for group in analysis.groups for label in group]
    long = max(len(titles.short(title)) for title in named) > LONG
    figure, axes = drawing.axes(
        len(analysis.groups),
        2 * columns,
        size=(1.0 + widest, 6.5 if long else 3.8),
        width_ratios=(1.6 * widest, 1.5 * widest) * columns,
    )
    for row, group, measures in zip(axes, analysis.groups, shown, strict=True):
        for place in range(columns):
            left, right = row[2 * place : 2 * place + 2]
            if place < len(measures):
                _runs(left, group, measures[place], analysis.titles)
                _differences(right, analysis, group, measures[place])
            else:
                left.set_visible(False)
                right.set_visible(False)
    return save(figure, path)


def _shown(analysis: Analysis, group: Group, names: tuple[str, ...]) -> list[Measure]:
    """Returns the measures to draw: those named, or that stand for one named."""
    candidates = analysis.of(group, tuple(TEST) + names)
    return [m for m in candidates if m.name in names or set(m.also) & set(names)]


def _runs(axis: Any, group: Group, measure: Measure, named: dict[str, str]) -> None:
    """A point per run, a line per seed, a bar at the median."""
    ticks = []
    by_seed: dict[int, list[tuple[int, float]]] = {}
    for number, (label, runs) in enumerate(group.items()):
        values = measure.of(runs)
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
        failed = f"\n{len(runs) - finite.sum()} failed" * (not finite.all())
        short = titles.short(named[label])
        ticks.append(f"{short}\nn = {len(runs)}{failed}")
    for points in by_seed.values():
        for (x, y), (next_x, next_y) in itertools.pairwise(points):
            if next_x == x + 1 and np.isfinite((y, next_y)).all():
                axis.plot([x, next_x], [y, next_y], color="0.6", lw=0.8, zorder=0)
    _set_ticks(axis, ticks)
    axis.set_xlim(-0.45, len(ticks) - 0.55)
    axis.set_title(titles.of_model(pairs.model_of(group)), loc="left")
    axis.set_ylabel(measure.heading.replace(" = ", "\n= "))


def _differences(axis: Any, analysis: Analysis, group: Group, measure: Measure) -> None:
    """A point per pair, beside it the mean difference with its interval, and 0."""
    shown = [c for c in analysis.comparisons if c.contrast.measure is measure]
    if not shown:
        axis.set_visible(False)
        return
    axis.axhline(0, color="k", lw=0.8)
    ticks = []
    for number, comparison in enumerate(shown):
        c = comparison.contrast
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
        ticks.append(_tick(comparison))
    _set_ticks(axis, ticks)
    axis.set_xlim(-0.5, len(ticks) - 0.5)
    unit = {"%": ", points", "s": ", s"}.get(measure.unit, "")
    paired = "per seed" if shown[0].contrast.seeds else "of the means"
    better = "higher" if measure.better > 0 else "lower"
    axis.set_ylabel(f"difference {paired}{unit}\n({better} is better for the first)")


def _set_ticks(axis: Any, ticks: list[str]) -> None:
    """Names the places 0, 1, ...; long names are slanted, or they would overlap."""
    places = range(len(ticks))
    if max(len(line) for tick in ticks for line in tick.splitlines()) <= LONG:
        axis.set_xticks(places, ticks)
        return
    lines = [tick.replace("\n", " ") for tick in ticks]
    axis.set_xticks(places, lines, rotation=40, ha="right", rotation_mode="anchor")


def _tick(comparison: Comparison) -> str:
    c = comparison.contrast
    short = [titles.short(title) for title in c.titles]
    n = counted(len(c.seeds), "pair") if c.seeds else "unpaired"
    return f"{short[0]} minus\n{short[1]}\n{n}"
