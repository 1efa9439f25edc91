"""How often 95 % intervals of a difference of means cover the truth, by simulation.

    python benchmarks/interval_coverage.py [--repetitions 4000]

Pairs of values with correlation 0.7 (one seed for both), and independent ones; normal
with equal and unequal spread, and skewed; at the sizes that comparisons have.
"""

import argparse
import math
from collections.abc import Callable

import numpy as np
import scipy.stats

from lion_jax.compare import paired, stats

Pairs = tuple[np.ndarray, np.ndarray]
Draw = Callable[[np.random.Generator, int], Pairs]
Ends = tuple[float, float]
Method = Callable[[np.random.Generator, np.ndarray, np.ndarray], Ends]
LEVEL, RESAMPLES = 0.95, 999
SIZES = (5, 8, 25)


def normal(spread: float, correlation: float) -> Draw:
    """Pairs of normal values; `spread` is that of the first, the second's is 1."""

    def draw(rng: np.random.Generator, n: int) -> Pairs:
        shared, own = rng.normal(size=n), rng.normal(size=(2, n))
        weights = math.sqrt(correlation), math.sqrt(1 - correlation)
        a, b = weights[0] * shared + weights[1] * own
        return np.array(spread * a), np.array(b)

    return draw


def skewed(correlation: float) -> Draw:
    """Pairs of log-normal values less their mean, of skewness 2.9 and 1.3."""
    pairs, sigmas = normal(1.0, correlation), (0.7, 0.4)

    def draw(rng: np.random.Generator, n: int) -> Pairs:
        a, b = (
            np.exp(sigma * x) - math.exp(sigma**2 / 2)
            for sigma, x in zip(sigmas, pairs(rng, n), strict=True)
        )
        return a, b

    return draw


SOURCES: dict[str, Draw] = {
    "pairs, normal": normal(1.0, 0.7),
    "pairs, normal, spreads 2 to 1": normal(2.0, 0.7),
    "pairs, skewed": skewed(0.7),
    "independent, normal": normal(1.0, 0.0),
    "independent, normal, spreads 2 to 1": normal(2.0, 0.0),
    "independent, skewed": skewed(0.0),
}


def welch(rng: np.random.Generator, a: np.ndarray, b: np.ndarray) -> Ends:
    found = stats.difference(a, b)
    return found.low, found.high


def paired_t(rng: np.random.Generator, a: np.ndarray, b: np.ndarray) -> Ends:
    found = paired.mean_difference(a - b)
    return found.low, found.high


def studentised_bootstrap(
    rng: np.random.Generator, a: np.ndarray, b: np.ndarray
) -> Ends:
    """Of the paired differences; resamples without spread are left out."""
    gaps = a - b
    drawn = rng.choice(gaps, (RESAMPLES, len(gaps)))
    errors = drawn.std(axis=1, ddof=1) / math.sqrt(len(gaps))
    use = errors > 0
    scores = (drawn.mean(axis=1)[use] - gaps.mean()) / errors[use]
    low, high = np.quantile(scores, ((1 - LEVEL) / 2, (1 + LEVEL) / 2))
    error = gaps.std(ddof=1) / math.sqrt(len(gaps))
    return gaps.mean() - high * error, gaps.mean() - low * error


def bca(rng: np.random.Generator, a: np.ndarray, b: np.ndarray) -> Ends:
    found = scipy.stats.bootstrap(
        (a, b),
        lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis),
        n_resamples=RESAMPLES,
        confidence_level=LEVEL,
        method="BCa",
        rng=rng,
    ).confidence_interval
    return found.low, found.high


METHODS = {
    "Welch's t": welch,
    "paired t": paired_t,
    "studentised bootstrap, paired": studentised_bootstrap,
    "BCa bootstrap, unpaired": bca,
}


def measure(draw: Draw, method: Method, n: int, repetitions: int) -> float:
    """Returns the share of intervals that hold the true difference, 0."""
    rng = np.random.default_rng(n)
    found = np.array([method(rng, *draw(rng, n)) for _ in range(repetitions)])
    return float(np.mean((found[:, 0] <= 0) & (found[:, 1] >= 0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=4000)
    repetitions = parser.parse_args().repetitions
    print(f"| coverage, %, of {repetitions} | {' | '.join(METHODS)} |")
    print("|---" * (1 + len(METHODS)) + "|")
    for source, draw in SOURCES.items():
        for n in SIZES:
            cells = [
                f"{100 * measure(draw, method, n, repetitions):.1f}"
                for method in METHODS.values()
            ]
            print(f"| {source}, n = {n} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
