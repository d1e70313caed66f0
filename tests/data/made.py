"""Episodes made up from formulas: what every format's test data is written from, so that formats can be compared.

The numbers survive what formats do to them. A state and an action are multiples of 1/1024 below 1 in size, exact in
float32 and float64 (and, up to 0.5, in float16); grippers are -1 or 1. Pictures are smooth and move slowly, so that a
video codec or JPEG changes them little; lossless formats keep them exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

SENTENCES = ("push the red block to the left", "open the drawer", "lift the pink block", "turn on the lightbulb")
GRAIN = 1024


def episodes(
    count: int = 4,
    lengths: Sequence[int] = (12, 20, 15, 17),
    *,
    size: tuple[int, int] = (48, 64),
    wrist: tuple[int, int] = (32, 32),
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Make up episodes.

    Args:
        count: how many.
        lengths: steps of each; repeated if there are fewer lengths than episodes.
        size: height and width of the camera ``primary``.
        wrist: height and width of the camera ``wrist``.
        seed: another seed, other episodes.

    Returns:
        Per episode ``images``: uint8 ``(L, 3, H, W)`` for ``primary`` and ``wrist``; ``state``: float32 ``(L, 7)``,
        position (metres), roll, pitch, yaw (radians), gripper (+1 open, -1 closed); ``action``: float32 ``(L, 7)``, six
        numbers in [-1, 1] and a gripper of +1 or -1; ``instruction``: str.
    """
    made = []
    for index in range(count):
        rng = np.random.default_rng([seed, index])
        length = lengths[index % len(lengths)]
        made.append(
            {
                "images": {"primary": pictures(rng, length, size), "wrist": pictures(rng, length, wrist)},
                "state": _with_gripper(rng, np.array([0.45, 0.0, 0.3, 0.1, -0.1, 0.2]) + 0.15 * _wave(rng, length)),
                "action": _with_gripper(rng, 0.7 * _wave(rng, length)),
                "instruction": SENTENCES[(index + seed) % len(SENTENCES)],
            }
        )
    return made


def pictures(rng: np.random.Generator, length: int, size: tuple[int, int]) -> np.ndarray:
    """Draw a slowly moving coloured wave, uint8 ``(L, 3, H, W)``; every picture differs from every other."""
    time = np.linspace(0, 1, length)[:, None, None, None]
    across = np.linspace(0, 2 * np.pi, size[1])[None, None, None, :]
    down = np.linspace(0, 2 * np.pi, size[0])[None, None, :, None]
    phase = rng.uniform(0, 2 * np.pi, (2, 1, 3, 1, 1))
    wave = 55 * np.sin(across + phase[0] + 2 * time) + 55 * np.cos(down + phase[1] - time)
    return np.rint(128 + wave).astype(np.uint8)


def _wave(rng: np.random.Generator, length: int) -> np.ndarray:
    """Return six smooth curves in [-1, 1], ``(L, 6)``."""
    time = np.linspace(0, 1, length)[:, None]
    return np.sin(2 * np.pi * (rng.uniform(0.3, 0.9, 6) * time + rng.uniform(0, 1, 6)))


def _with_gripper(rng: np.random.Generator, curves: np.ndarray) -> np.ndarray:
    """Round the curves and add a gripper that closes once, somewhere after the first step."""
    length = len(curves)
    gripper = np.where(np.arange(length) < rng.integers(1, max(length, 2)), 1.0, -1.0)
    return np.concatenate([np.rint(curves * GRAIN) / GRAIN, gripper[:, None]], axis=1).astype(np.float32)
