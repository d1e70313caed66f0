"""What feature foresight asks: the direction of each patch's feature."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seerkit.loss.action import valid_mean


class CosineLoss(nn.Module):
    """One minus the cosine of predicted and true features, averaged over patches, cameras and frames in the episode.

    As DreamVLA (Zhang et al., 2025) asks it of DINOv2 features; the size of a feature is of no importance.

    Shape:
        predictions: one ``(B, T, P, W)`` per camera, followed by
        targets: one ``(B, T, P, W)`` per camera, followed by
        is_pad: bool ``(B, T)``, ``True`` = the frame lies beyond the episode's end.
        returns: a scalar in [0, 2]; 0 if nothing is valid.

    Raises:
        ValueError: if predictions and targets are not as many or have other patches or widths.
    """

    def forward(self, *inputs: Tensor) -> Tensor:
        return valid_mean(1 - cosines(*inputs[:-1]).mean(dim=0), inputs[-1])


def cosines(*features: Tensor) -> Tensor:
    """Return the mean cosine over the patches of each frame.

    Shape:
        features: predictions ``(B, T, P, W)`` per camera, then as many targets.
        returns: ``(cameras, B, T)``.

    Raises:
        ValueError: if predictions and targets are not as many or have other patches or widths.
    """
    half = len(features) // 2
    if not features or len(features) % 2:
        raise ValueError(f"expected as many predictions as targets, then the padding; got {len(features)} features")
    for said, true in zip(features[:half], features[half:], strict=True):
        if said.shape != true.shape:
            raise ValueError(
                f"expected predictions of the target's shape (B, T, P, W) = {tuple(true.shape)}, got "
                f"{tuple(said.shape)}: image_size, patch and outputs of the head must be those of the target encoder"
            )
    pairs = zip(features[:half], features[half:], strict=True)
    return torch.stack([functional.cosine_similarity(*pair, dim=-1).mean(dim=-1) for pair in pairs])
