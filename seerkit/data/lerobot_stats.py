"""Statistics of features, as LeRobot keeps them: of every episode and of the whole data set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}

Stats = dict[str, Any]


class NumberTally:
    """Collect vectors; they are all kept, so that quantiles are exact."""

    def __init__(self) -> None:
        self._all: list[np.ndarray] = []
        self._episode = 0

    def add(self, values: Tensor) -> None:
        """Count more steps of the present episode.

        Shape:
            values: ``(R, width)``.
        """
        self._all.append(values.numpy())

    def end_episode(self) -> Stats:
        """Return the statistics of the present episode, and begin another."""
        episode, self._episode = self._all[self._episode :], len(self._all)
        return _of_numbers(np.concatenate(episode))

    def total(self) -> Stats:
        """Return the statistics of everything."""
        return _of_numbers(np.concatenate(self._all))


class PictureTally:
    """Count the levels of every channel in a histogram, so that statistics are exact and take no memory.

    Args:
        channels: 3 for colour (levels are divided by 255, as LeRobot does), 1 for 16-bit distances (as they are).
    """

    def __init__(self, channels: int) -> None:
        levels, self._unit = (256, 255.0) if channels == 3 else (65536, 1.0)
        self._total, self._episode = (np.zeros((channels, levels), np.int64) for _ in range(2))
        self._pictures = [0, 0]

    def add(self, pictures: Tensor) -> None:
        """Count more steps of the present episode.

        Shape:
            pictures: uint8 or uint16 ``(R, C, H, W)``.
        """
        for channel, counts in enumerate(self._episode):
            levels = pictures[:, channel].flatten().numpy()
            counts += np.bincount(levels, minlength=len(counts))
        self._pictures[1] += len(pictures)

    def end_episode(self) -> Stats:
        """Return the statistics of the present episode, and begin another."""
        stats = _of_levels(self._episode, self._unit, self._pictures[1])
        self._total += self._episode
        self._episode[:] = 0
        self._pictures = [sum(self._pictures), 0]
        return stats

    def total(self) -> Stats:
        """Return the statistics of everything."""
        return _of_levels(self._total, self._unit, self._pictures[0])


def columns(stats: Mapping[str, Stats]) -> dict[str, Any]:
    """Return the statistics of an episode as columns of LeRobot's table of episodes."""
    return {f"stats/{feature}/{name}": value for feature, one in stats.items() for name, value in one.items()}


def _of_numbers(values: np.ndarray) -> Stats:
    values = values.astype(np.float64)
    found = {"min": values.min(0), "max": values.max(0), "mean": values.mean(0), "std": values.std(0)}
    found |= {name: np.quantile(values, share, axis=0) for name, share in QUANTILES.items()}
    return {**{name: value.tolist() for name, value in found.items()}, "count": [len(values)]}


def _of_levels(counts: np.ndarray, unit: float, pictures: int) -> Stats:
    levels, total = np.arange(counts.shape[1]), counts.sum(1)
    mean = counts @ levels / total
    spread = np.sqrt(np.maximum(counts @ levels.astype(np.float64) ** 2 / total - mean**2, 0))
    below = counts.cumsum(1)
    found = {"min": (counts > 0).argmax(1), "max": counts.shape[1] - 1 - (counts[:, ::-1] > 0).argmax(1)}
    found |= {"mean": mean, "std": spread}
    found |= {name: (below >= share * total[:, None]).argmax(1) for name, share in QUANTILES.items()}
    stats = {name: (value / unit).reshape(-1, 1, 1).tolist() for name, value in found.items()}
    return {**stats, "count": [pictures]}
