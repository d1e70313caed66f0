"""Uniform bins on [-1, 1]: what a head that classifies and the loss that teaches it must agree on."""

from __future__ import annotations

import torch
from torch import Tensor


def to_bins(value: Tensor, bins: int) -> Tensor:
    """Return the index of the bin each number lies in; numbers outside [-1, 1] fall into the outermost bins.

    Example:
        >>> to_bins(torch.tensor([-1.0, -0.1, 0.1, 1.0]), 4).tolist()
        [0, 1, 2, 3]
    """
    return ((value + 1) * (bins / 2)).floor().long().clamp(0, bins - 1)


def bin_centres(bins: int) -> Tensor:
    """Return the middle of every bin.

    Example:
        >>> bin_centres(4).tolist()
        [-0.75, -0.25, 0.25, 0.75]
    """
    return (torch.arange(bins) + 0.5) * (2 / bins) - 1
