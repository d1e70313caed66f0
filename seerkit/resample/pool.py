"""Resamplers without parameters."""

from __future__ import annotations

from torch import Tensor, nn


class MeanPool(nn.Module):
    """Average all patches into one latent: the resampler of an ablation.

    Shape:
        patches: ``(N, P, W)``.
        returns: ``(N, 1, W)``.
    """

    def forward(self, patches: Tensor) -> Tensor:
        return patches.mean(dim=1, keepdim=True)


class GridPool(nn.Module):
    """Average the square grid of patches down to a coarser one.

    Args:
        side: rows and columns that remain; must divide those of the grid.

    Shape:
        patches: ``(N, P, W)`` with ``P`` a square number, row by row.
        returns: ``(N, side**2, W)``.

    Raises:
        ValueError: if the grid is not square or ``side`` does not divide it.
    """

    def __init__(self, *, side: int) -> None:
        super().__init__()
        self.side = side

    def forward(self, patches: Tensor) -> Tensor:
        before = round(patches.shape[1] ** 0.5)
        if before**2 != patches.shape[1] or before % self.side:
            raise ValueError(f"expected a square grid divisible by {self.side}, got {patches.shape[1]} patches")
        grid = patches.unflatten(1, (self.side, before // self.side, self.side, before // self.side))
        return grid.mean(dim=(2, 4)).flatten(1, 2)


class KeepPatches(nn.Module):
    """Hand every patch to the trunk: no resampling, for small images.

    Shape:
        patches: ``(N, P, W)``.
        returns: the same.
    """

    def forward(self, patches: Tensor) -> Tensor:
        return patches
