"""Action queries to a chunk of actions: the inverse dynamics of Seer."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seerkit.initialise import xavier


class ActionHead(nn.Module):
    """Turn action tokens into a chunk of arm motions and gripper logits.

    The official Seer's head: two ReLU layers shared by arm and gripper. Its sigmoid is left to the loss and to the
    ensembler, which is the same function computed more stably.

    Args:
        dim: width of the trunk.
        action_dim: size of an action; the last number is the gripper's.

    Shape:
        hidden: ``(B, T, K, dim)``, one token per future step.
        returns: ``(B, T, K, action_dim)``; the arm in [-1, 1], then a gripper logit (> 0: open).
    """

    def __init__(self, *, dim: int, action_dim: int = 7) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(dim, dim // 2), nn.ReLU(), nn.Linear(dim // 2, dim // 2), nn.ReLU())
        self.arm = nn.Linear(dim // 2, action_dim - 1)
        self.gripper = nn.Linear(dim // 2, 1)
        xavier(self)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.body(hidden)
        return torch.cat([self.arm(hidden).tanh(), self.gripper(hidden)], dim=-1)


class AffineActionHead(nn.Module):
    """Read an action off each action token by linear layers alone, the head of GR-1 (Wu et al., 2023).

    The official code stacks two linear layers without an activation between them and reads arm and gripper from the
    result; the arm is not bounded. The two layers are kept apart, so that official weights load as they are.

    Args:
        dim: width of the trunk.
        action_dim: size of an action; the last number is the gripper's.

    Shape:
        hidden: ``(B, T, K, dim)``.
        returns: ``(B, T, K, action_dim)``; the arm (1 is the largest step), then a gripper logit (> 0: open).
    """

    def __init__(self, *, dim: int, action_dim: int = 7) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Linear(dim, dim // 2), nn.Linear(dim // 2, dim // 2))
        self.arm = nn.Linear(dim // 2, action_dim - 1)
        self.gripper = nn.Linear(dim // 2, 1)

    def forward(self, hidden: Tensor) -> Tensor:
        hidden = self.body(hidden)
        return torch.cat([self.arm(hidden), self.gripper(hidden)], dim=-1)
