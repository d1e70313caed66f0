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


class KeepPatches(nn.Module):
    """Hand every patch to the trunk: no resampling, for small images.

    Shape:
        patches: ``(N, P, W)``.
        returns: the same.
    """

    def forward(self, patches: Tensor) -> Tensor:
        return patches
