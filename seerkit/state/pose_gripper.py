"""Tool pose and gripper to one token."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional


class PoseGripper(nn.Module):
    """Encode the tool pose and the gripper's state as one token.

    As in the official Seer and GR-1: one linear layer for the pose, one for the gripper, one over both, no activation
    and no normalisation of the inputs.

    Args:
        dim: width of the trunk.
        gripper: ``"open_closed"``: the last number of the state is -1 or 0 (closed) or +1 (open) and becomes a
            one-hot vector (closed, open); ``"widths"``: the last two numbers are the fingers' openings in metres, used
            as they are.
        pose: how many leading numbers describe the pose: position (m) and extrinsic-xyz Euler angles (rad).

    Shape:
        state: ``(B, T, pose + 1)`` or, with widths, ``(B, T, pose + 2)``.
        returns: ``(B, T, 1, dim)``.

    Raises:
        ValueError: if the state has another size.
    """

    def __init__(self, *, dim: int, gripper: Literal["open_closed", "widths"] = "open_closed", pose: int = 6) -> None:
        super().__init__()
        if gripper not in ("open_closed", "widths"):
            raise ValueError(f"gripper is 'open_closed' or 'widths', got {gripper!r}")
        self.gripper_state, self.size = gripper, pose + (1 if gripper == "open_closed" else 2)
        self.pose_size = pose
        self.pose = nn.Linear(pose, dim)
        self.gripper = nn.Linear(2, dim)
        self.project = nn.Linear(2 * dim, dim)

    def forward(self, state: Tensor) -> Tensor:
        if state.shape[-1] != self.size:
            raise ValueError(
                f"expected a state of {self.size} numbers (pose {self.pose_size}, gripper {self.gripper_state}), "
                f"got shape {tuple(state.shape)}"
            )
        pose, gripper = state[..., : self.pose_size], state[..., self.pose_size :]
        if self.gripper_state == "open_closed":
            gripper = functional.one_hot((gripper[..., 0] >= 1).long(), 2).to(pose.dtype)
        return self.project(torch.cat([self.pose(pose), self.gripper(gripper)], dim=-1))[:, :, None]
