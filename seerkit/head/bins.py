"""Action queries to a chunk of binned actions: control as classification."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seerkit.bins import bin_centres
from seerkit.initialise import xavier


class BinHead(nn.Module):
    """Choose one of many uniform bins for every number of the arm (RT-1, Brohan et al., 2022; OpenVLA).

    Unlike RT-1 and OpenVLA all numbers of a chunk are chosen at once, not one after the other; bins span [-1, 1], which
    is what actions are scaled to, and the gripper stays one logit, as in the other heads.

    Args:
        dim: width of the trunk.
        action_dim: size of an action; the last number is the gripper's.
        bins: how many per number of the arm.

    Shape:
        hidden: ``(B, T, K, dim)``, one token per future step.
        returns: the chunk ``(B, T, K, action_dim)``, the arm at the centre of its most likely bins, then a gripper
            logit (> 0: open); and the logits of all bins ``(B, T, K, action_dim - 1, bins)``. No gradient passes
            through the chunk's arm: `seerkit.loss.BinLoss` teaches the logits.
    """

    centres: Tensor

    def __init__(self, *, dim: int, action_dim: int = 7, bins: int = 256) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(dim, dim), nn.ReLU())
        self.arm = nn.Linear(dim, (action_dim - 1) * bins)
        self.gripper = nn.Linear(dim, 1)
        self.register_buffer("centres", bin_centres(bins), persistent=False)
        xavier(self)

    def forward(self, hidden: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.body(hidden)
        logits = self.arm(hidden).unflatten(-1, (-1, len(self.centres)))
        gripper = self.gripper(hidden)
        return torch.cat([self.centres[logits.argmax(dim=-1)].to(gripper), gripper], dim=-1), logits
