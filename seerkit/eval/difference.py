"""Is one success rate really different from another? Exact tests and score intervals, for few episodes."""

import math
from collections.abc import Sequence

from seerkit.eval.statistics import Interval, wilson


def mcnemar(only_first: int, only_second: int) -> float:
    """Return the two-sided p-value that two policies on the same layouts differ (McNemar, 1947; exact).

    Only layouts that one of them solved and the other did not say anything: without a difference each of these is a
    fair coin.

    Args:
        only_first: layouts the first alone solved.
        only_second: layouts the second alone solved.

    Raises:
        ValueError: if a count is negative.

    Example:
        >>> mcnemar(6, 0)
        0.03125
    """
    if min(only_first, only_second) < 0:
        raise ValueError(f"expected counts of 0 or more, given {only_first} and {only_second}")
    count = only_first + only_second
    tail = sum(math.comb(count, k) for k in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / 2**count)


def sign_flip(differences: Sequence[int]) -> float:
    """Return the two-sided p-value that whole-number differences, one per pair, are not about 0 (Fisher, 1935; exact).

    Without a difference between two policies each pair might as well have come out the other way round: the p-value is
    the share of all ways to flip signs that give a sum at least as far from 0. Where all differences are -1, 0 or 1 it
    is McNemar's.

    Example:
        >>> sign_flip([2, 1, 1, 0])
        0.25
    """
    sizes = [abs(value) for value in differences if value]
    ways = {0: 1}  # sum -> how many ways to flip signs give it: whole numbers, no rounding
    for size in sizes:
        flipped: dict[int, int] = {}
        for total, count in ways.items():
            for now in (total - size, total + size):
                flipped[now] = flipped.get(now, 0) + count
        ways = flipped
    far = abs(sum(differences))
    return sum(count for total, count in ways.items() if abs(total) >= far) / 2 ** len(sizes)


def fisher(first: tuple[int, int], second: tuple[int, int]) -> float:
    """Return the two-sided p-value that two rates from different layouts differ (Fisher, 1935; exact).

    Args:
        first: successes and episodes of one.
        second: successes and episodes of the other.

    Raises:
        ValueError: unless ``0 <= successes <= episodes``.

    Example:
        >>> round(fisher((8, 10), (2, 10)), 4)
        0.023
    """
    for successes, trials in (first, second):
        if not 0 <= successes <= trials:
            raise ValueError(f"expected 0 <= successes <= episodes, given {successes} of {trials}")
    total, trials = first[0] + second[0], first[1] + second[1]
    # the number of tables with k successes on the first side, all margins as they are: whole numbers, no rounding
    ways = {
        k: math.comb(first[1], k) * math.comb(second[1], total - k)
        for k in range(max(0, total - second[1]), min(first[1], total) + 1)
    }
    rare = sum(way for way in ways.values() if way <= ways[first[0]])
    return rare / math.comb(trials, total)


def difference(first: tuple[int, int], second: tuple[int, int], *, confidence: float = 0.95) -> Interval:
    """Bound ``second - first`` of two rates from different layouts (Newcombe, 1998: method 10 for independent samples).

    Args:
        first: successes and episodes of one.
        second: successes and episodes of the other.
        confidence: how often the interval holds the truth.

    Raises:
        ValueError: unless ``0 <= successes <= episodes``.

    Example:
        >>> interval = difference((48, 80), (56, 70))  # Newcombe's first example
        >>> round(interval.low, 4), round(interval.high, 4)
        (0.0524, 0.3339)
    """
    return _combined(wilson(*first, confidence=confidence), wilson(*second, confidence=confidence), agreement=0.0)


def paired_difference(pairs: Sequence[tuple[bool, bool]], *, confidence: float = 0.95) -> Interval:
    """Bound ``second - first`` of two rates on the same layouts (Newcombe, 1998: method 10 for paired samples).

    Args:
        pairs: for every layout, whether the first and whether the second solved it.
        confidence: how often the interval holds the truth.
    """
    count, both = len(pairs), sum(one and two for one, two in pairs)
    first, second = sum(one for one, _ in pairs), sum(two for _, two in pairs)
    rates = wilson(first, count, confidence=confidence), wilson(second, count, confidence=confidence)
    return _combined(*rates, agreement=_agreement(both, first, second, count))


def holm(values: Sequence[float]) -> list[float]:
    """Return p-values adjusted for there being several of them (Holm, 1979), in the order given.

    Example:
        >>> holm([0.04, 0.01, 0.3])
        [0.08, 0.03, 0.3]
    """
    adjusted, largest = [0.0] * len(values), 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda place: values[place])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        adjusted[place] = largest
    return adjusted


def _agreement(both: int, first: int, second: int, count: int) -> float:
    """Correlate two outcomes (phi), drawn towards 0 by Newcombe's continuity correction where positive."""
    margins = math.sqrt(first * (count - first) * second * (count - second))
    if not margins:
        return 0.0
    cross = both * (count - first - second + both) - (first - both) * (second - both)
    return (max(0.0, cross - count / 2) if cross > 0 else cross) / margins


def _combined(first: Interval, second: Interval, *, agreement: float) -> Interval:
    """Square and add the distances to the ends of both rates' own intervals."""
    value = second.value - first.value
    below = _hypotenuse(second.value - second.low, first.high - first.value, agreement)
    above = _hypotenuse(second.high - second.value, first.value - first.low, agreement)
    return Interval(value, value - below, value + above)


def _hypotenuse(one: float, other: float, agreement: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * agreement * one * other + other * other))
