"""Learning-rate schedules as functions of the number of updates done: nothing to save or restore."""

from __future__ import annotations

import math


def warmup_cosine(update: int, *, warmup: int, total: int) -> float:
    """Return the share of the peak learning rate for update ``update``: a linear rise, then half a cosine to 0.

    The official Seer's schedule: the very first update of a warm-up has rate 0.

    Args:
        update: number of updates already done.
        warmup: length of the rise in updates.
        total: length of the run in updates.
    """
    if update < warmup:
        return update / warmup
    progress = min(1.0, (update - warmup) / max(1, total - warmup))
    return 0.5 * (1.0 + math.cos(math.pi * progress))


def warmup_constant(update: int, *, warmup: int, total: int) -> float:  # noqa: ARG001  (one signature for all)
    """Return the share of the peak learning rate for update ``update``: a linear rise, then 1."""
    return min(1.0, update / warmup) if warmup else 1.0


SCHEDULES = {"cosine": warmup_cosine, "constant": warmup_constant}
