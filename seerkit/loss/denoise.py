"""What is asked of a head that learns by denoising."""

from __future__ import annotations

from torch import Tensor, nn

from seerkit.loss.action import valid_mean


class DenoiseLoss(nn.Module):
    """Mean squared error of what a sampling head predicts, averaged over all actions inside the episode.

    Arm and gripper count alike, number by number.

    Shape:
        predicted, target: ``(B, T, K, draws, A)``, as the head's ``learn`` returns them.
        is_pad: bool ``(B, T, K)``, ``True`` = beyond the episode's end.
        returns: a scalar; 0 if nothing is valid.
    """

    def forward(self, predicted: Tensor, target: Tensor, is_pad: Tensor) -> Tensor:
        return valid_mean((predicted - target).square().flatten(3).mean(dim=-1), is_pad)
