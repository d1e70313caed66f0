"""The order in which windows are drawn, as a function of numbers: nothing to save, nothing to restore."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_WORD = 0xFFFFFFFF
_STRIDE = 0x9E3779B9
_ROUNDS = 4


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sampler:
    """Draw shuffled epochs of ``range(size)``; batch ``step`` is a function of (seed, step, rank) alone.

    Epochs follow each other without a gap: a batch may hold the end of one and the beginning of the next, so nothing is
    dropped and a store smaller than a batch works.

    Args:
        size: how many windows there are.
        batch_size: how many each rank draws per step.
        seed: another seed, another order; every epoch has its own order anyway.
        rank: which process this is.
        world: how many processes share an epoch.

    Raises:
        ValueError: a count is not positive, or ``rank`` is not below ``world``.
    """

    size: int
    batch_size: int
    seed: int = 0
    rank: int = 0
    world: int = 1

    def __post_init__(self) -> None:
        if min(self.size, self.batch_size, self.world) < 1 or not 0 <= self.rank < self.world:
            raise ValueError(f"a sampler needs positive counts and 0 <= rank < world, got {self}")

    def indices(self, step: int) -> Tensor:
        """Return the windows of batch ``step``.

        Shape:
            returns: int64 ``(batch_size,)``, each in ``0 .. size - 1``.
        """
        first = (step * self.world + self.rank) * self.batch_size
        position = torch.arange(first, first + self.batch_size)
        epoch = position // self.size
        return permute(position % self.size, self.size, epoch + self.seed * 1_000_003)

    def epoch(self, step: int) -> float:
        """Return how many epochs have passed before batch ``step``."""
        return step * self.world * self.batch_size / self.size


def permute(position: Tensor, size: int, key: Tensor) -> Tensor:
    """Send each position to its place in a pseudo-random permutation of ``range(size)``.

    A four-round Feistel network over the next even power of two; places beyond ``size`` are sent on until they fall
    inside (cycle walking). It needs no memory, and no library's random numbers, which may change between versions.

    Shape:
        position, key: int64 ``(N,)``; equal keys share one permutation.
        returns: int64 ``(N,)``.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    rounds = [_mix(key.numpy() + turn) for turn in range(_ROUNDS)]
    place = _feistel(position.numpy(), rounds, half)
    while (outside := place >= size).any():
        place = np.where(outside, _feistel(place, rounds, half), place)
    return torch.from_numpy(place)


def _feistel(place: np.ndarray, rounds: Sequence[np.ndarray], half: int) -> np.ndarray:
    low = (1 << half) - 1
    left, right = place >> half, place & low
    for turn, key in enumerate(rounds):
        left, right = right, left ^ (_mix((right + _STRIDE * (turn + 1)) ^ key) & low)
    return left << half | right


def _mix(word: np.ndarray) -> np.ndarray:
    """Scramble 32-bit words held in int64 (the finaliser of MurmurHash3)."""
    word = word & _WORD
    word = ((word ^ word >> 16) * 0x85EBCA6B) & _WORD
    word = ((word ^ word >> 13) * 0xC2B2AE35) & _WORD
    return word ^ word >> 16
