"""Intervals for a few runs of a few episodes each."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from seerkit.eval.statistics import Interval, wilson


def nested_bootstrap(
    runs: Sequence[Sequence[float]], *, confidence: float = 0.95, resamples: int = 4000, seed: int = 0
) -> Interval:
    """Bound the mean over runs by resampling runs, and inside every chosen run its episodes.

    A run is one training; its episodes share what chance made of that training, so they are not independent trials.
    Drawing runs first keeps that in the interval. (Davison and Hinkley, 1997, section 3.8, with replacement at both
    levels.) With three runs the interval is still too narrow; it is meant to stop small differences from being
    believed, not to prove them.

    Args:
        runs: for every run, one number per episode; runs may differ in length.
        confidence: share of resamples inside the interval.
        resamples: how many times to draw.
        seed: makes the interval reproducible.

    Raises:
        ValueError: if there is no run, or a run without a number.

    Example:
        >>> nested_bootstrap([[1, 1, 1, 1], [1, 1, 1, 1]])
        Interval(value=1.0, low=1.0, high=1.0)
    """
    if not runs or not all(len(run) for run in runs):
        raise ValueError(f"expected runs with at least one number each, given lengths {[len(run) for run in runs]}")
    random = np.random.default_rng(seed)
    means = np.empty((len(runs), len(runs), resamples))  # per run, for each of the places it may be drawn to
    for place, run in enumerate(runs):
        values = np.asarray(run, dtype=np.float64)
        picks = random.integers(0, len(values), (len(runs), resamples, len(values)))
        means[place] = values[picks].mean(-1)
    chosen = random.integers(0, len(runs), (len(runs), resamples))
    places, draws = np.arange(len(runs))[:, None], np.arange(resamples)[None]
    spread = means[chosen, places, draws].mean(0)
    tail = (1 - confidence) / 2
    low, high = np.quantile(spread, [tail, 1 - tail])
    value = float(np.mean([np.mean(run) for run in runs]))
    return Interval(value, float(low), float(high))


def success_interval(runs: Sequence[Sequence[bool]]) -> Interval:
    """Bound a success rate over runs: the nested bootstrap's interval, at least as wide as Wilson's for all episodes.

    Resampling cannot leave what was seen: where all episodes went alike it would claim certainty.

    Example:
        >>> interval = success_interval([[False] * 20] * 3)
        >>> interval.low, round(interval.high, 3)
        (0.0, 0.06)
    """
    drawn = nested_bootstrap(runs)
    pooled = wilson(sum(sum(run) for run in runs), sum(len(run) for run in runs))
    return Interval(drawn.value, min(drawn.low, pooled.low), max(drawn.high, pooled.high))


def paired_difference(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Interval:
    """Bound the mean of ``ours - theirs``, run by run and episode by episode.

    Args:
        ours: for every seed, one number per layout.
        theirs: the same seeds and layouts.

    Raises:
        ValueError: if the two differ in runs or episodes.

    Example:
        >>> paired_difference([[1, 1]], [[0, 0]])
        Interval(value=1.0, low=1.0, high=1.0)
    """
    if [len(run) for run in ours] != [len(run) for run in theirs]:
        shapes = [len(run) for run in ours], [len(run) for run in theirs]
        raise ValueError(f"expected the same runs and episodes on both sides, given lengths {shapes}")
    pairs = zip(ours, theirs, strict=True)
    return nested_bootstrap([[a - b for a, b in zip(mine, other, strict=True)] for mine, other in pairs])
