"""The statistics of two small samples of runs: tests, effect sizes, intervals.

Plain functions of arrays. A run that never reached a target counts as infinity, which
rank statistics handle.
"""

import itertools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import scipy.optimize
import scipy.stats
from jaxtyping import Float

MOST_SPLITS = 20_000  # up to here, all splits of the pooled values are enumerated
RESAMPLES = 20_000  # random permutations beyond that
LEVEL = 0.95  # of every interval

Sample = Float[np.ndarray, " _"]


class Summary(NamedTuple):
    """A sample in numbers."""

    n: int
    median: float
    lower_quartile: float
    upper_quartile: float
    mean: float
    sd: float  # with n - 1; nan for n = 1, and where a value is infinite


class Test(NamedTuple):
    """A two-sided test."""

    statistic: float
    p: float
    method: str  # how p was computed


class Interval(NamedTuple):
    """An estimate with its interval; nan where there is none."""

    estimate: float
    low: float
    high: float


def summarize(values: Sample) -> Summary:
    """Returns n, median, quartiles (linear interpolation), mean, standard deviation."""
    # Quartiles by order: interpolating between infinities would give nan.
    low, middle, high = (_quantile(values, q) for q in (0.25, 0.5, 0.75))
    spread = len(values) > 1 and np.isfinite(values).all()
    sd = float(np.std(values, ddof=1)) if spread else math.nan
    with np.errstate(invalid="ignore"):  # infinities of both signs have no mean
        mean = float(np.mean(values))
    return Summary(len(values), middle, low, high, mean, sd)


def mann_whitney(a: Sample, b: Sample, seed: int = 0) -> Test:
    """Tests whether values of one sample tend to be larger than those of the other.

    Without ties, p is exact. With ties, which the exact distribution does not know, p
    is that of U with midranks under permutation: of all splits of the pooled values if
    there are at most 20,000, else of 20,000 random ones, the observed one included.

    Args:
      a: First sample; may hold infinities.
      b: Second sample.
      seed: Of the random permutations.

    Returns:
      U of the first sample and its p.

    References:
      Mann and Whitney, 1947, https://doi.org/10.1214/aoms/1177730491
    """
    pooled = np.concatenate([a, b])
    u = _u(a, b)
    ranks = scipy.stats.rankdata(pooled)  # infinities become ordinary numbers
    if len(np.unique(pooled)) == len(pooled):
        split = ranks[: len(a)], ranks[len(a) :]
        result: Any = scipy.stats.mannwhitneyu(*split, method="exact")
        return Test(u, float(result.pvalue), "exact")
    # The sum of ranks is U but for a constant; a two-sided test is about how far it is
    # from its middle.
    splits = math.comb(len(pooled), len(a))
    if splits <= MOST_SPLITS:
        way = "all permutations"
        sums = [sum(x) for x in itertools.combinations(ranks.tolist(), len(a))]
    else:
        way = f"{RESAMPLES} permutations"
        rng = np.random.default_rng(seed)
        permuted = rng.permuted(np.tile(ranks, (RESAMPLES - 1, 1)), axis=1)
        sums = [ranks[: len(a)].sum(), *permuted[:, : len(a)].sum(axis=1)]
    distances = np.abs(np.array(sums) - len(a) * (len(pooled) + 1) / 2)
    observed = abs(ranks[: len(a)].sum() - len(a) * (len(pooled) + 1) / 2)
    # Sums of half numbers are exact, so equal distances compare as equal.
    return Test(u, float(np.mean(distances >= observed)), f"{way}, for ties")


def smallest_p(a: Sample, b: Sample) -> float:
    """Returns the smallest two-sided p that samples of these sizes can reach.

    Without ties it is 2 / C: the two splits that part the values. With ties, the
    largest values may be further off in rank than the smallest, and p half as small.
    """
    n, pooled = len(a), np.concatenate([a, b])
    splits = math.comb(len(pooled), n)
    untied = min(1.0, 2 / splits)
    ranks = np.sort(scipy.stats.rankdata(pooled))
    ends = ranks[:n], ranks[len(b) :]
    distances = [abs(end.sum() - n * (len(pooled) + 1) / 2) for end in ends]
    farthest = max(distances)
    if math.isnan(farthest):
        return untied
    # Of equal values at an end's border, any may belong to it.
    ways = [
        math.comb(int(np.sum(ranks == border)), int(np.sum(end == border)))
        for end, border in zip(ends, (ranks[n - 1], ranks[len(b)]), strict=True)
    ]
    # All values may be equal, and both ends one.
    count = sum(w for w, d in zip(ways, distances, strict=True) if d == farthest)
    return min(untied, count / splits)


def a12(a: Sample, b: Sample) -> Interval:
    """Estimates how likely a value of `a` is larger than one of `b`; ties count half.

    The interval is the fifth of Newcombe's: it needs no resampling and is none of a
    point where the samples do not overlap.

    References:
      Vargha and Delaney, 2000, https://doi.org/10.3102/10769986025002101
      Newcombe, 2006, part 2, https://doi.org/10.1002/sim.2324
    """
    n, m = len(a), len(b)
    estimate = _u(a, b) / (n * m)
    z = float(scipy.stats.norm.ppf((1 + LEVEL) / 2))
    extra = (n + m) / 2 - 1

    def distance(theta: float) -> float:
        """Positive where theta is further off than z standard errors."""
        spread = 1 + extra * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        variance = theta * (1 - theta) * spread / (n * m)
        return (theta - estimate) ** 2 - z**2 * variance

    # The distance is positive at the far ends and negative at the estimate; at 0 and
    # 1 themselves the variance is 0, so an estimate there is approached from inside.
    inside = min(max(estimate, 1e-12), 1 - 1e-12)
    low = _root(distance, 0.0, inside) if estimate > 0 else 0.0
    high = _root(distance, inside, 1.0) if estimate < 1 else 1.0
    return Interval(estimate, low, high)


def difference(a: Sample, b: Sample) -> Interval:
    """Estimates mean(a) - mean(b), with Welch's t interval.

    There is no interval (nan) from a single value, and no mean of infinities. Measured
    coverage of the 95 % interval: benchmarks/LOG.md, "Intervals that cover".

    References:
      Welch, 1947, https://doi.org/10.1093/biomet/34.1-2.28
    """
    if not np.isfinite([*a, *b]).all():
        return Interval(math.nan, math.nan, math.nan)
    estimate = float(np.mean(a) - np.mean(b))
    if min(len(a), len(b)) < 2:
        return Interval(estimate, math.nan, math.nan)
    parts = [float(np.var(x, ddof=1)) / len(x) for x in (a, b)]
    if sum(parts) == 0:
        return Interval(estimate, estimate, estimate)
    degrees = sum(parts) ** 2 / sum(
        part**2 / (len(x) - 1) for part, x in zip(parts, (a, b), strict=True)
    )
    return around(estimate, math.sqrt(sum(parts)), degrees)


def around(estimate: float, error: float, degrees: float) -> Interval:
    """Returns Student's interval: t standard errors to either side of an estimate."""
    half = float(scipy.stats.t.ppf((1 + LEVEL) / 2, degrees)) * error
    return Interval(estimate, estimate - half, estimate + half)


def holm(ps: list[float]) -> list[float]:
    """Adjusts p values of a family so that any false finding among them is rare.

    References:
      Holm, 1979, https://www.jstor.org/stable/4615733
    """
    order = sorted(range(len(ps)), key=ps.__getitem__)
    adjusted, largest = [0.0] * len(ps), 0.0
    for place, index in enumerate(order):
        largest = max(largest, min(1.0, (len(ps) - place) * ps[index]))
        adjusted[index] = largest
    return adjusted


def _u(a: Sample, b: Sample) -> float:
    """Counts pairs in which `a` is larger; ties count half."""
    a, b = a[:, None], b[None, :]
    return float(np.sum(a > b) + np.sum(a == b) / 2)


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return float(scipy.optimize.root_scalar(function, bracket=(low, high)).root)


def _quantile(values: Sample, q: float) -> float:
    ordered = np.sort(values)
    place = q * (len(ordered) - 1)
    below, above = ordered[math.floor(place)], ordered[math.ceil(place)]
    if below == above or below == -math.inf:  # nothing lies between infinities
        return float(below)
    return float(below + (above - below) * (place % 1))
