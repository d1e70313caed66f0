import math

import numpy as np
import pytest
from scipy import stats

from seerkit.eval.statistics import bootstrap, wilson


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (1, 10, 0.0179, 0.4042),
        (8, 10, 0.4902, 0.9433),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),  # Newcombe (1998), table I
        (15, 148, 0.0624, 0.1605),  # the same table
        (0, 20, 0.0, 0.1611),  # the same table
        (1, 29, 0.0061, 0.1718),  # the same table
    ],
)
def test_wilson_gives_known_numbers(successes: int, trials: int, low: float, high: float) -> None:
    interval = wilson(successes, trials)
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)
    assert interval.value == successes / trials


def test_wilson_agrees_with_scipy_at_any_confidence() -> None:
    for confidence in (0.5, 0.9, 0.99):
        ours = wilson(37, 50, confidence=confidence)
        theirs = stats.binomtest(37, 50).proportion_ci(confidence, method="wilson")
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)


def test_nothing_tried_is_nothing_known() -> None:
    interval = wilson(0, 0)
    assert math.isnan(interval.value)
    assert (interval.low, interval.high) == (0.0, 1.0)


@pytest.mark.parametrize(("successes", "trials"), [(-1, 5), (6, 5)])
def test_wilson_refuses_impossible_counts(successes: int, trials: int) -> None:
    with pytest.raises(ValueError, match=f"given {successes} of {trials}"):
        wilson(successes, trials)


def test_bootstrap_of_a_mean_is_the_normal_interval() -> None:
    values = np.random.default_rng(3).normal(5.0, 2.0, 400)
    interval = bootstrap(values, resamples=4000)
    half = 1.96 * values.std() / math.sqrt(len(values))
    assert interval.value == pytest.approx(values.mean())
    assert (interval.low, interval.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.02)


def test_bootstrap_agrees_with_scipy_on_a_skewed_median() -> None:
    values = np.random.default_rng(4).exponential(1.0, 200)
    ours = bootstrap(values, statistic=np.median, resamples=5000)
    theirs = stats.bootstrap((values,), np.median, method="percentile", n_resamples=5000, rng=np.random.default_rng(1))
    known = theirs.confidence_interval
    assert (ours.low, ours.high) == pytest.approx((known.low, known.high), abs=0.03)


def test_bootstrap_repeats_itself_and_needs_data() -> None:
    assert bootstrap([1.0, 2.0, 4.0]) == bootstrap([1.0, 2.0, 4.0])
    with pytest.raises(ValueError, match="given none"):
        bootstrap([])
