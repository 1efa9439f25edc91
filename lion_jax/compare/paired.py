"""The statistics of pairs: the same seed run with either configuration.

A seed gives both runs of a pair the same weights and batches, so that what a seed does
to both cancels in their difference. Plain functions of the differences.
"""

import itertools
import math

import numpy as np
import scipy.stats

from lion_jax.compare.stats import RESAMPLES, Interval, Sample, Test, around

MOST_PAIRS = 14  # up to here, all 2^n assignments of signs are enumerated
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
    all of them for at most 14 pairs, else of 20,000 random ones, the observed one
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
    (Pratt's way), so that ties need no other distribution.

    References:
      Pratt, 1959, https://doi.org/10.1080/01621459.1959.10501526
    """
    ranks = np.sign(values) * scipy.stats.rankdata(np.abs(values))
    return _sign_flip(ranks, seed, "signed ranks")


def smallest_p(n: int) -> float:
    """Returns the smallest two-sided p that n pairs can reach: 2 / 2^n."""
    return min(1.0, 2 / 2**n)


def _sign_flip(values: Sample, seed: int, name: str) -> Test:
    n = len(values)
    if n <= MOST_PAIRS:
        way = "exact"
        signs = np.array([*itertools.product((1.0, -1.0), repeat=n)])
    else:
        way = f"{RESAMPLES} permutations"
        rng = np.random.default_rng(seed)
        signs = rng.choice((-1.0, 1.0), (RESAMPLES, n))
        signs[0] = 1.0
    sums = np.abs(signs @ values)
    # Sums that are equal but for rounding are ties.
    least = abs(float(np.sum(values))) - 1e-9 * float(np.sum(np.abs(values)))
    p = float(np.mean(sums >= least))
    return Test(float(np.mean(values)), p, f"{name}, {way}")
