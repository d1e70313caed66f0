"""Intervals over seeds and episodes: against formulas and against what they are meant to cover."""

from __future__ import annotations

import math

import numpy as np
import pytest

from seerkit.ablate.statistics import nested_bootstrap, paired_difference, success_interval
from seerkit.eval.statistics import wilson


def test_one_run_is_an_ordinary_bootstrap() -> None:
    values = np.random.default_rng(0).random(400) < 0.3
    interval = nested_bootstrap([values.tolist()])
    rate, deviation = values.mean(), math.sqrt(values.mean() * (1 - values.mean()) / 400)
    assert interval.value == pytest.approx(rate)
    assert interval.low == pytest.approx(rate - 1.96 * deviation, abs=0.008)
    assert interval.high == pytest.approx(rate + 1.96 * deviation, abs=0.008)


def test_runs_without_inner_noise_are_resampled_as_wholes() -> None:
    """Three constant runs: the mean of three draws from {0, 0.5, 1} has known quantiles."""
    interval = nested_bootstrap([[0.0] * 50, [0.5] * 50, [1.0] * 50])
    assert (interval.value, interval.low, interval.high) == (0.5, 0.0, 1.0)  # 1 of 27 draws is all zeros: over 2.5 %


def test_spread_between_seeds_widens_the_interval() -> None:
    alike = success_interval([[True] * 20 + [False] * 20] * 3)
    apart = success_interval([[True] * 36 + [False] * 4, [True] * 20 + [False] * 20, [True] * 4 + [False] * 36])
    pooled = wilson(60, 120)
    assert alike.value == apart.value == 0.5
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)
    assert alike.low <= pooled.low
    assert alike.high >= pooled.high


def test_runs_of_unequal_length_count_alike() -> None:
    assert nested_bootstrap([[1.0] * 10, [0.0] * 90]).value == 0.5


def test_coverage_with_seeds_that_differ() -> None:
    """Of intervals from eight noisy seeds most hold the truth; of Wilson's over all episodes fewer do."""
    random = np.random.default_rng(1)
    nested = naive = 0
    for _ in range(60):
        rates = np.clip(random.normal(0.5, 0.2, 8), 0, 1)
        runs = [(random.random(30) < rate).tolist() for rate in rates]
        ours = nested_bootstrap(runs, resamples=400)
        theirs = wilson(sum(map(sum, runs)), 240)
        nested += ours.low <= 0.5 <= ours.high
        naive += theirs.low <= 0.5 <= theirs.high
    assert nested >= 48
    assert naive < nested


def test_pairs_take_out_what_layouts_share() -> None:
    random = np.random.default_rng(2)
    easy = random.random(60) < 0.5
    better = easy | (random.random(60) < 0.2)
    difference = paired_difference([better.tolist()] * 3, [easy.tolist()] * 3)
    assert difference.low > 0
    assert difference.value == pytest.approx(better.mean() - easy.mean())
    swapped = paired_difference([easy.tolist()] * 3, [better.tolist()] * 3)
    assert swapped.value == pytest.approx(-difference.value)


def test_what_cannot_be_bounded_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one number"):
        nested_bootstrap([[1.0], []])
    with pytest.raises(ValueError, match="same runs and episodes"):
        paired_difference([[1, 0]], [[1]])
