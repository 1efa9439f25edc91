"""The statistics of pairs: the same seed run with either configuration.

A seed gives both runs of a pair the same weights and batches, so that what a seed does
to both cancels in their difference. Plain functions of the differences.
"""

import math

import numpy as np
import scipy.stats

from lion_jax.compare.stats import RESAMPLES, Interval, Sample, Test, around

MOST_PAIRS = 40  # up to here, all 2^n assignments of signs are counted
ROUNDING = 1e-12  # of float64's sums and differences, with some to spare
FEWEST_PAIRS = 6  # the fewest whose smallest p, 2 / 2^n, is below 0.05


def differences(a: Sample, b: Sample) -> Sample:
    """Returns a - b, where two equal infinities differ by 0."""
    equal = a == b
    return np.subtract(a, b, where=~equal, out=np.zeros(len(a)))


def mean_difference(values: Sample) -> Interval:
    """Estimates the mean of differences, with Student's t interval.

    There is no interval (nan) from a single pair, and no mean of infinities. Measured
    coverage of the 95 % interval: benchmarks/LOG.md, "Intervals that cover".

    References:
      Student, 1908, https://doi.org/10.1093/biomet/6.1.1
    """
    if not np.isfinite(values).all():
        return Interval(math.nan, math.nan, math.nan)
    estimate = float(np.mean(values))
    if len(values) < 2:
        return Interval(estimate, math.nan, math.nan)
    if np.ptp(values) == 0:
        return Interval(estimate, estimate, estimate)
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return around(estimate, error, len(values) - 1.0)


def sign_flip(values: Sample, seed: int = 0) -> Test:
    """Tests whether differences are as often and as far above 0 as below it.

    Under that hypothesis each difference has either sign with equal chance. p is the
    share of assignments of signs whose mean is as far from 0 as the observed one: of
    all of them for at most 40 pairs, else of 20,000 random ones, the observed one
    included. Where a difference is infinite (a run failed), means are of signed ranks
    (Wilcoxon's test), with midranks and 0 for a difference of 0.

    Args:
      values: Differences of pairs.
      seed: Of the random signs.

    Returns:
      The mean, of differences or of signed ranks, and its p.

    References:
      Fisher, 1935, The Design of Experiments, section 21
      Wilcoxon, 1945, https://doi.org/10.2307/3001968
    """
    if np.isfinite(values).all():
        return _sign_flip(values, seed, "sign flips")
    return signed_ranks(values, seed)


def signed_ranks(values: Sample, seed: int = 0) -> Test:
    """Wilcoxon's signed-rank test, by the same assignments of signs.

    A difference of 0 keeps its place among the ranks and counts for neither side
    (Pratt's way), so that ties need no other distribution. Differences that are equal
    but for rounding are ties.

    References:
      Pratt, 1959, https://doi.org/10.1080/01621459.1959.10501526
    """
    finite = np.abs(values[np.isfinite(values)])
    nothing = ROUNDING * finite.max(initial=0.0)
    # To digits of each: beside a huge difference the others keep their order.
    sizes = np.array([float(f"{x:.9g}") if x > nothing else 0.0 for x in abs(values)])
    ranks = np.sign(values) * (sizes > 0) * scipy.stats.rankdata(sizes)
    return _sign_flip(ranks, seed, "signed ranks")


def smallest_p(n: int) -> float:
    """Returns the smallest two-sided p that n pairs can reach: 2 / 2^n."""
    return min(1.0, 2 / 2**n)


def fewest(contrasts: int, level: float) -> int:
    """Returns how many pairs can reach a level in the least of some adjusted p."""
    return math.ceil(math.log2(2 * contrasts / level))


def _sign_flip(values: Sample, seed: int, name: str) -> Test:
    n = len(values)
    # Sums that are equal but for rounding are ties.
    least = abs(float(np.sum(values))) - ROUNDING * float(np.sum(np.abs(values)))
    if n <= MOST_PAIRS:
        way, p = "exact", _share_beyond(values, least)
    else:
        way = f"{RESAMPLES} permutations"
        rng = np.random.default_rng(seed)
        signs = rng.choice((-1.0, 1.0), (RESAMPLES, n))
        signs[0] = 1.0
        p = float(np.mean(np.abs(signs @ values) >= least))
    return Test(float(np.mean(values)), p, f"{name}, {way}")


def _share_beyond(values: Sample, least: float) -> float:
    """Returns the share of all assignments of signs with |sum| >= least.

    All sums of each half of the values, 2^20 at most, are made and sorted; each sum of
    one half needs the other's to be large enough, whose number a search finds
    (Horowitz and Sahni, 1974, https://doi.org/10.1145/321812.321823).
    """
    if least <= 0:
        return 1.0
    half = len(values) // 2
    first, second = _sums(values[:half]), np.sort(_sums(values[half:]))
    above = len(second) * len(first) - int(
        np.searchsorted(second, least - first, side="left").sum()
    )
    return 2 * above / 2 ** len(values)  # as many are below: signs come in pairs


def _sums(values: Sample) -> Sample:
    """Returns the sums of values under all 2^n assignments of signs."""
    sums = np.zeros(1)
    for value in values:
        sums = np.concatenate([sums + value, sums - value])
    return sums
