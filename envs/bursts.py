"""Bursts of random motion that push a scripted expert off its way, so that it shows how to come back."""

import numpy as np

from seerkit.envs.contract import ACTION_DIM

CHANCE = 0.06
"""Chance per step that a burst begins."""
STEPS = (2, 6)


class Bursts:
    """Draw what is added to an expert's actions: now and then one random motion for a few consecutive steps.

    Args:
        rng: draws the bursts.
        noise: size of a burst as a share of the action's range, turns half of that; 0 never draws.

    Raises:
        ValueError: if ``noise`` is negative.
    """

    def __init__(self, rng: np.random.Generator, noise: float) -> None:
        if not noise >= 0:
            raise ValueError(f"expected noise to be at least 0, given {noise}")
        self._rng, self._noise = rng, noise
        self._burst = np.zeros(ACTION_DIM)
        self._left = 0

    def draw(self) -> np.ndarray | None:
        """Give what to add to this step's action ``(7,)``, or ``None`` between bursts."""
        if self._noise == 0:
            return None
        if self._left == 0 and self._rng.random() < CHANCE:
            self._left = int(self._rng.integers(*STEPS))
            self._burst = np.zeros(ACTION_DIM)
            self._burst[:6] = self._rng.uniform(-self._noise, self._noise, 6) * (1, 1, 1, 0.5, 0.5, 0.5)
        disturbed = self._left > 0
        self._left = max(self._left - 1, 0)
        return self._burst if disturbed else None
