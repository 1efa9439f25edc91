"""From records to numbers: which runs may be compared, and how they compare."""

import dataclasses
import itertools
import json
from typing import Any

import numpy as np

from lion_jax.compare import paired, stats
from lion_jax.compare.markdown import escaped
from lion_jax.compare.measures import Measure
from lion_jax.compare.records import (
    Record,
    fields_apart,
    flat,
    version_of_data,
    what_is_run,
)
from lion_jax.compare.titles import Title
from lion_jax.config.reference import REFERENCES

ALPHA = 0.05
# What siblings must share of their optimizers' fields; the others are the optimizer.
SHARED = ("schedule", "schedule_options", "warmup_fraction", "clip_norm", "decay")
SHARED += ("ema_decay", "freeze")

Group = dict[str, list[Record]]  # runs by label


@dataclasses.dataclass(frozen=True)
class Contrast:
    """Two configurations by one measure, not yet adjusted for other contrasts."""

    measure: Measure
    model: str  # name of the model that both train
    labels: tuple[str, str]
    titles: tuple[Title, Title]  # for Markdown
    summaries: tuple[stats.Summary, stats.Summary]
    seeds: tuple[int, ...]  # those of the pairs; () where runs are not paired
    pairs: stats.Sample  # differences per seed, first minus second
    difference: stats.Interval  # of the means: Student's of the pairs, or Welch's
    test: stats.Test
    unpaired: stats.Test  # Mann and Whitney's; the same as `test` where that is it
    a12: stats.Interval  # chance that a run of the first is better than of the second
    smallest_p: float  # that so many runs can reach, before any adjustment

    @property
    def is_paired(self) -> bool:
        """Whether the test is of the pairs."""
        return len(self.seeds) >= paired.FEWEST_PAIRS

    @property
    def first_is_better(self) -> bool:
        """Which way the test points whose p is given."""
        if self.is_paired:  # a mean of differences, or of their signed ranks
            return self.measure.better * self.test.statistic > 0
        return self.a12.estimate > 0.5

    @property
    def is_split(self) -> bool:
        """Whether the difference points one way and the test whose p is given another.

        The test is then of ranks: most runs of one are better, the mean of the other.
        """
        gain = self.measure.better * self.difference.estimate
        return gain < 0 if self.first_is_better else gain > 0

    @property
    def pairs_ahead(self) -> tuple[int, int]:
        """In how many pairs the first configuration is better, and the second."""
        gains = self.measure.better * self.pairs
        return int(np.sum(gains > 0)), int(np.sum(gains < 0))


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A contrast with its p values adjusted within their family."""

    contrast: Contrast
    primary: bool  # of the measure that was named beforehand
    family: int  # how many p values are adjusted together
    p_holm: float
    unpaired_p_holm: float  # always among the exploratory ones, if not `test` itself

    smallest_p: float  # what p_holm would be if so many runs differed most clearly

    @property
    def can_be_significant(self) -> bool:
        """Whether so many runs could show a difference, beside the others' p values."""
        return self.smallest_p <= ALPHA


def by_label(runs: list[Record]) -> Group:
    """Returns the runs of each configuration, Lion's first."""
    labels = {run.label: run.config["optimizer"]["name"] for run in runs}
    ordered = sorted(labels, key=lambda label: (labels[label] != "lion", label))
    return {label: [run for run in runs if run.label == label] for label in ordered}


def points(swept: list[Record]) -> list[list[Record]]:
    """Returns the runs of each point, Lion's first: a run that was made twice once.

    Points of two sweeps may be one under two labels.
    """
    points: dict[str, dict[int, Record]] = {}
    for runs in by_label(swept).values():
        for run in runs:
            values = json.dumps(flat(what_is_run(run.config)), sort_keys=True)
            points.setdefault(values, {}).setdefault(run.seed, run)
    return [[*runs.values()] for runs in points.values()]


def groups(runs: list[Record]) -> list[Group]:
    """Returns the configurations that differ in their optimizers only, together."""
    by_model: dict[str, Group] = {}
    for label, same in by_label(runs).items():
        key = json.dumps(_common(same[0]), sort_keys=True)
        by_model.setdefault(key, {})[label] = same
    return sorted(by_model.values(), key=lambda group: sorted(group)[0])


def model_of(group: Group) -> str:
    """Returns the name of the model that a group trains."""
    return first_of(group).config["model"]["name"]


def unequal(a: Record, b: Record, varied: tuple[str, ...] = ()) -> list[str]:
    """Names what two runs differ in, apart from what siblings may, and some fields."""
    inside = tuple(f"{field}." for field in varied)
    return [
        f"{field} ({escaped(one)} and {escaped(other)})"
        for field, one, other in fields_apart(_common(a), _common(b), "not set")
        if not f"{field}.".startswith(inside)
    ]


def _common(run: Record) -> dict[str, Any]:
    """Returns what the siblings of a run must share with it, by dotted path."""
    values = what_is_run(run.config)
    optimizer = values.pop("optimizer")
    del values["name"]
    for field in "mesh", "devices":  # a vote of devices is a part of the optimizer
        values.pop(field, None)
    code = values.pop(REFERENCES, {})
    values |= {f"code of {name}": text for name, text in code.items()}
    values.pop("code of optimizer.name", None)
    values |= version_of_data(run)
    return flat(values | {"optimizer": {field: optimizer[field] for field in SHARED}})


def common_seeds(a: list[Record], b: list[Record]) -> tuple[int, ...]:
    """Returns the seeds that pair two configurations' runs.

    They are the seeds that both have, if those are at least half of each one's and
    enough for a test of pairs, or if neither has others; else none, and the runs are
    compared as two independent samples: all that is said of them is of the same runs.
    """
    both = {run.seed for run in a} & {run.seed for run in b}
    enough = len(both) >= max(paired.FEWEST_PAIRS, len(a) / 2, len(b) / 2)
    return tuple(sorted(both)) if enough or len(both) == len(a) == len(b) else ()


NO_MEAN = np.array([np.nan])


def contrast(
    group: Group, labels: tuple[str, str], measure: Measure, named: dict[str, Title]
) -> Contrast:
    """Compares two configurations, which `named` gives titles, by one measure."""
    first, second = (group[label] for label in labels)
    a, b = measure.of(first), measure.of(second)
    seeds = common_seeds(first, second)
    summaries = stats.summarize(a), stats.summarize(b)
    if seeds:  # all that is said of both is of the same runs
        sides = ([run for run in runs if run.seed in seeds] for runs in (first, second))
        a, b = (measure.of(_by_seed(side)) for side in sides)
    gaps = paired.differences(a, b) if seeds else np.array([])
    unpaired = stats.mann_whitney(a, b)
    is_paired = len(seeds) >= paired.FEWEST_PAIRS
    return Contrast(
        measure,
        model_of(group),
        labels,
        (named[labels[0]], named[labels[1]]),
        summaries,
        seeds,
        gaps,
        # Two failures differ by 0 in rank, but have no difference to average.
        paired.mean_difference(gaps if np.isfinite([*a, *b]).all() else NO_MEAN)
        if seeds
        else stats.difference(a, b),
        paired.sign_flip(gaps) if is_paired else unpaired,
        unpaired,
        stats.a12(measure.better * a, measure.better * b),
        paired.smallest_p(len(seeds)) if is_paired else stats.smallest_p(a, b),
    )


def contrasts(
    group: Group, measures: list[Measure], named: dict[str, Title]
) -> list[Contrast]:
    """Compares all pairs of configurations within a group by each measure."""
    return [
        contrast(group, labels, measure, named)
        for labels in itertools.combinations(group, 2)
        for measure in measures
    ]


def adjust(contrasts: list[Contrast], primary: str) -> list[Comparison]:
    """Adjusts p values by Holm: of the primary measure together, all others together.

    Args:
      contrasts: All of a report.
      primary: Name of the measure that was chosen beforehand. By it, contrasts are
        adjusted over each other alone; everything else is exploratory, and adjusted
        over every p that a report prints, those of Mann and Whitney's test included.
    """
    tests = {
        first: [c.test.p for c in contrasts if (c.measure.name == primary) == first]
        for first in (True, False)
    }
    tests[False] += [c.unpaired.p for c in contrasts if c.is_paired]
    # The place of the first of them.
    beside = sum(c.measure.name != primary for c in contrasts)
    holm = {first: stats.holm(family) for first, family in tests.items()}
    place = {True: 0, False: 0}
    adjusted = []
    for c in contrasts:
        first = c.measure.name == primary
        family, index = tests[first], place[first]
        place[first] += 1
        p = unpaired_p = holm[first][index]
        best = [*family[:index], c.smallest_p, *family[index + 1 :]]
        if c.is_paired:
            unpaired_p = holm[False][beside]
            beside += 1
        smallest = stats.holm(best)[index]
        adjusted.append(Comparison(c, first, len(family), p, unpaired_p, smallest))
    return adjusted


def first_of(group: Group) -> Record:
    """Returns a run of a group, for what all of them share."""
    return next(iter(group.values()))[0]


def _by_seed(runs: list[Record]) -> list[Record]:
    return sorted(runs, key=lambda run: run.seed)
