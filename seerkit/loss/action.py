"""What imitation asks of arm and gripper."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class ArmLoss(nn.Module):
    """Smooth-L1 distance of the arm's motion, averaged over all actions inside the episode.

    Shape:
        chunk, target: ``(B, T, K, A)``; the last number, the gripper's, is left out.
        is_pad: bool ``(B, T, K)``, ``True`` = beyond the episode's end.
        returns: a scalar; 0 if nothing is valid.
    """

    def forward(self, chunk: Tensor, target: Tensor, is_pad: Tensor) -> Tensor:
        error = functional.smooth_l1_loss(chunk[..., :-1], target[..., :-1], reduction="none").mean(dim=-1)
        return valid_mean(error, is_pad)


class GripperLoss(nn.Module):
    """Binary cross-entropy of "open", averaged over all actions inside the episode.

    Shape:
        chunk: ``(B, T, K, A)``, its last number a logit.
        target: ``(B, T, K, A)``, its last number +1 (open) or -1 (close).
        is_pad: bool ``(B, T, K)``, ``True`` = beyond the episode's end.
        returns: a scalar; 0 if nothing is valid.
    """

    def forward(self, chunk: Tensor, target: Tensor, is_pad: Tensor) -> Tensor:
        is_open = (target[..., -1] > 0).to(chunk.dtype)
        error = functional.binary_cross_entropy_with_logits(chunk[..., -1], is_open, reduction="none")
        return valid_mean(error, is_pad)


def valid_mean(error: Tensor, is_pad: Tensor) -> Tensor:
    """Average ``error`` where ``is_pad`` is ``False``; 0 if it is nowhere."""
    valid = (~is_pad).to(error.dtype)
    return torch.where(is_pad, 0.0, error).sum() / valid.sum().clamp(min=1.0)
