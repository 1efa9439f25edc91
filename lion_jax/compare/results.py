"""Comparisons in words and tables: a row per configuration, then one per contrast."""

import dataclasses
import math
from collections.abc import Iterable

import numpy as np

from lion_jax.compare import markdown, paired, pairs, stats
from lion_jax.compare.analysis import Analysis
from lion_jax.compare.markdown import (
    bracket,
    counted,
    digits,
    fixed,
    p_equals,
    p_value,
    table,
)
from lion_jax.compare.measures import Measure
from lion_jax.compare.pairs import ALPHA, Comparison

HEADS = ("", "n", "mean", "sd", "median [quartiles]", "95 % interval of the mean")


def verdict(comparison: Comparison, missing: int = 0) -> str:
    """Returns one sentence: what a comparison shows.

    Args:
      comparison: Of two configurations.
      missing: How many of their runs were requested and are not there: whoever looks
        at p before the last run, and may stop, finds differences too often.
    """
    c = comparison.contrast
    first, second = c.titles
    what = f"{first} against {second}, {c.measure.title}"
    n, n_pairs = [summary.n for summary in c.summaries], len(c.seeds)
    so_far = f"**no verdict yet**, with {counted(missing, 'run')} of theirs missing"
    if not comparison.can_be_significant:
        runs = f"with {n[0]} + {n[1]} runs the smallest possible p is"
        enough = "More seeds are needed."
        if c.is_paired:
            enough = f"{paired.fewest(comparison.family, ALPHA)} pairs suffice."
        return (
            f"{what}: {so_far if missing else '**underpowered**'}; {runs}"
            f" {p_value(comparison.smallest_p)} after Holm, above {ALPHA:g}."
            + f" {enough}"
            * (not missing)
        )
    p = f"{p_equals(comparison.p_holm)} after Holm, {design(c)}"
    gap = ""
    if math.isfinite(c.difference.estimate):
        gap = f"difference {gap_of(c)}"
    elif c.is_paired:
        ahead, behind = c.pairs_ahead
        gap = f"{first} is ahead in {ahead}, {second} in {behind} of {n_pairs} pairs"
    a12 = f"A12 = {c.a12.estimate:.2f} {bracket(c.a12.low, c.a12.high, 2)}"
    numbers = "; ".join(filter(None, [gap, p, a12]))
    better = first if c.first_is_better else second
    if comparison.p_holm > ALPHA:
        shown, ahead = "**no difference shown**", "no difference is shown so far"
    elif c.is_split:
        ahead = "the mean of one and most runs of the other are better"
        shown = "**they differ, but neither is better**: " + ahead.removesuffix(
            " better"
        )
    else:
        shown, ahead = f"**{better} is better**", f"{better} is ahead"
    if missing:
        return (
            f"{what}: {so_far}: {ahead} ({numbers}), but p holds for all that were"
            " planned."
        )
    return f"{what}: {shown} ({numbers})."


def design(c: pairs.Contrast) -> str:
    """Returns how p was computed and from how many runs."""
    if c.is_paired:
        return f"{c.test.method}, n = {len(c.seeds)} pairs"
    first, second = (summary.n for summary in c.summaries)
    return f"Mann-Whitney U, {c.test.method}, n = {first} + {second}"


def gap_of(c: pairs.Contrast) -> str:
    """Returns the difference of the means with its unit and interval."""
    unit = {"%": " points", "s": " s"}.get(c.measure.unit, "")
    decimals = digits(c.difference, c.measure.decimals)
    estimate = f"{c.difference.estimate:+z.{decimals}f}{unit}"
    return f"{estimate} {bracket(c.difference.low, c.difference.high, decimals)}"


def tables(analysis: Analysis, names: tuple[str, ...]) -> list[str]:
    """Returns a table for each group and measure of some names.

    A row per configuration; below, a row per contrast of two of them.
    """
    parts, shown_titles = [], analysis.shown
    for group in analysis.groups:
        for measure in analysis.of(group, names):
            shown = [
                c
                for c in analysis.comparisons
                if c.contrast.measure is measure and c.contrast.labels[0] in group
            ]
            rows = [
                (shown_titles[label], *_configuration(measure.of(runs), measure))
                for label, runs in group.items()
            ]
            model = markdown.escaped(analysis.heading(group))
            p = ("p", f"p (Holm, {shown[0].family})") if shown else ()
            rows = [(*row, *("",) * len(p)) for row in rows]
            rows += [_contrast(comparison) for comparison in shown]
            parts.append(f"**{model}, {measure.heading}**")
            parts.append(table((*HEADS, *p), rows))
    return parts


def _configuration(values: np.ndarray, measure: Measure) -> tuple[object, ...]:
    summary = stats.summarize(values)
    mean = paired.mean_difference(values) if np.isfinite(values).all() else None
    if mean:
        decimals = digits((*mean, summary.sd), measure.decimals)
        measure = dataclasses.replace(measure, decimals=decimals)
    interval = bracket(mean.low, mean.high, measure.decimals) if mean else "-"
    return (summary.n, *_summary(summary, measure), interval)


def _contrast(comparison: Comparison) -> tuple[object, ...]:
    c = comparison.contrast
    decimals = digits(c.difference, c.measure.decimals)
    interval = bracket(c.difference.low, c.difference.high, decimals)
    # A title's model stands above the table already.
    first, second = (title.short for title in c.titles)
    title = f"{first} minus {second}"
    ps = p_value(c.test.p), p_value(comparison.p_holm)
    if not c.seeds:
        n = " + ".join(str(summary.n) for summary in c.summaries)
        return title, n, fixed(c.difference.estimate, decimals), "-", "-", interval, *ps
    word = dataclasses.replace(c.measure, failure="infinite", decimals=decimals)
    summary = _summary(stats.summarize(c.pairs), word)
    if np.isfinite(c.pairs).all() and not math.isfinite(c.difference.estimate):
        summary = ("-",) * 3  # of pairs that failed both
    title = f"{title}, per seed"
    pairs = counted(len(c.seeds), "pair")
    return title, pairs, *summary, interval, *ps


def _summary(summary: stats.Summary, measure: Measure) -> tuple[str, str, str]:
    """Mean, standard deviation, median with quartiles."""

    def text(value: float) -> str:
        return fixed(value, measure.decimals, measure.failure)

    quartiles = bracket(
        summary.lower_quartile,
        summary.upper_quartile,
        measure.decimals,
        measure.failure,
    )
    return text(summary.mean), text(summary.sd), f"{text(summary.median)} {quartiles}"


def by_ranks(comparisons: Iterable[Comparison]) -> str:
    """Returns the table of Mann and Whitney's test and of A12."""
    rows = []
    for comparison in comparisons:
        c = comparison.contrast
        rows.append(
            (
                " / ".join(c.titles),
                c.measure.title,
                " / ".join(str(len(c.seeds) or s.n) for s in c.summaries),
                f"{c.unpaired.statistic:g}",
                f"{p_value(c.unpaired.p)}, {c.unpaired.method}",
                p_value(comparison.unpaired_p_holm),
                f"{fixed(c.a12.estimate, 2)} {bracket(c.a12.low, c.a12.high, 2)}",
            )
        )
    heads = ("first / second", "measure", "n", "U", "p", "p (Holm)", "A12")
    return markdown.table(heads, rows)
