"""What foresight asks: the patches of the frame to come."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from seerkit.loss.action import valid_mean
from seerkit.patches import normalise_patches, patchify


class PatchLoss(nn.Module):
    """Mean squared error of predicted patches, averaged over cameras and over frames inside the episode.

    Args:
        patch: side of a patch in pixels.
        normalise: predict each patch brought to mean 0 and deviation 1 (MAE, GR-1, Seer) instead of its pixels.
        epsilon: what 1e-6 is added to while normalising, the ``"variance"`` (Seer) or the ``"deviation"`` (GR-1).

    Shape:
        predictions: one ``(B, T, P, 3 * patch**2)`` per camera, followed by
        targets: one ``(B, T, 3, S, S)`` per camera, followed by
        is_pad: bool ``(B, T)``, ``True`` = the frame lies beyond the episode's end.
        returns: a scalar; 0 if nothing is valid.

    Raises:
        ValueError: if predictions and targets are not as many.
    """

    def __init__(
        self, *, patch: int, normalise: bool = True, epsilon: Literal["variance", "deviation"] = "variance"
    ) -> None:
        super().__init__()
        if epsilon not in ("variance", "deviation"):
            raise ValueError(f"epsilon is added to 'variance' or 'deviation', got {epsilon!r}")
        self.patch, self.normalise = patch, normalise
        self.epsilon: Literal["variance", "deviation"] = epsilon

    def forward(self, *inputs: Tensor) -> Tensor:
        *images, is_pad = inputs
        if not images or len(images) % 2:
            raise ValueError(f"expected as many predictions as targets, then the padding; got {len(images)} images")
        half = len(images) // 2
        errors = [self._error(*pair) for pair in zip(images[:half], images[half:], strict=True)]
        return valid_mean(torch.stack(errors).mean(dim=0), is_pad)

    def _error(self, patches: Tensor, image: Tensor) -> Tensor:
        target = patchify(image, self.patch)
        if self.normalise:
            target = normalise_patches(target, epsilon=self.epsilon)
        return (patches - target).square().flatten(2).mean(dim=-1)
