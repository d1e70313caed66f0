"""How sure a handful of episodes can make us: Wilson's interval for rates, the bootstrap for everything else."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np


@dataclass(frozen=True)
class Interval:
    """An estimate and the two ends of its confidence interval."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Give plain numbers for a report."""
        return {"value": self.value, "low": self.low, "high": self.high}


def wilson(successes: int, trials: int, *, confidence: float = 0.95) -> Interval:
    """Bound a success rate by Wilson's score interval, which stays inside [0, 1] and holds for few trials.

    Wilson (1927), without continuity correction. No trials at all give the interval [0, 1] and a value of NaN.

    Raises:
        ValueError: unless ``0 <= successes <= trials`` and ``0 < confidence < 1``.

    Example:
        >>> interval = wilson(8, 10)
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.4902, 0.9433)
    """
    if not 0 <= successes <= trials:
        raise ValueError(f"expected 0 <= successes <= trials, given {successes} of {trials}")
    z = _z(confidence)
    if trials == 0:
        return Interval(math.nan, 0.0, 1.0)
    rate, spread = successes / trials, z * z / trials
    middle = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / trials + spread / (4 * trials))
    low = 0.0 if successes == 0 else max(0.0, middle - half)
    high = 1.0 if successes == trials else min(1.0, middle + half)
    return Interval(rate, low, high)


def bootstrap(
    values: Sequence[float] | np.ndarray,
    *,
    statistic: Callable[..., np.ndarray] = np.mean,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> Interval:
    """Bound a statistic by the percentiles of its values over resampled data (Efron, 1979).

    Args:
        values: one number per independent unit, say per episode.
        statistic: takes an array and ``axis``, such as `numpy.mean` or `numpy.median`.
        confidence: share of resamples inside the interval.
        resamples: how many times to draw.
        seed: makes the interval reproducible.

    Raises:
        ValueError: if there are no values, or the confidence is not in (0, 1).
    """
    data = np.asarray(values, dtype=np.float64).ravel()
    if data.size == 0:
        raise ValueError("expected at least one value, given none")
    _z(confidence)
    picks = np.random.default_rng(seed).integers(0, data.size, (resamples, data.size))
    spread = statistic(data[picks], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(spread, [tail, 1 - tail])
    return Interval(float(statistic(data, axis=0)), float(low), float(high))


def stratified_bootstrap(
    strata: Sequence[Sequence[float]], *, confidence: float = 0.95, resamples: int = 2000, seed: int = 0
) -> Interval:
    """Bound the mean over all values, each stratum resampled for itself: tasks stay, their episodes are drawn anew.

    No value at all gives the interval [0, 1] and a value of NaN, as `wilson` does. Where all values are alike, so are
    all resamples: the interval has no width and says nothing; Wilson's does.

    Args:
        strata: one sequence of numbers per stratum; empty ones count for nothing.
        confidence: share of resamples inside the interval.
        resamples: how many times to draw.
        seed: makes the interval reproducible.

    Example:
        >>> stratified_bootstrap([[1, 1, 1], [0, 0, 0]]).to_dict()
        {'value': 0.5, 'low': 0.5, 'high': 0.5}
    """
    _z(confidence)
    filled = [np.asarray(values, dtype=np.float64) for values in strata if len(values)]
    count = sum(len(values) for values in filled)
    if not count:
        return Interval(math.nan, 0.0, 1.0)
    draw = np.random.default_rng(seed)
    sums = [values[draw.integers(0, len(values), (resamples, len(values)))].sum(axis=1) for values in filled]
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.sum(sums, axis=0) / count, [tail, 1 - tail])
    return Interval(float(sum(values.sum() for values in filled)) / count, float(low), float(high))


def _z(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"expected a confidence between 0 and 1, given {confidence}")
    return NormalDist().inv_cdf((1 + confidence) / 2)
