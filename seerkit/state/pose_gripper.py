"""Tool pose and gripper to one token."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from seerkit.initialise import Start, begin

POSE = 6
"""Position (m) and extrinsic-xyz Euler angles (rad)."""


class PoseGripper(nn.Module):
    """Encode the tool pose and the gripper's state as one token.

    As in the official Seer and GR-1: one linear layer for the pose, one for the gripper, one over both, no activation.
    By default the pose goes in as it is, as there. For new training, ``centre`` and ``scale`` bring it to the size of
    the network's other inputs, and ``tool_down`` measures the roll from the tool pointing straight down: there it sits
    at +-pi and would jump between the two.

    Args:
        dim: width of the trunk.
        gripper: ``"open_closed"``: the last number of the state is -1 or 0 (closed) or +1 (open) and becomes a
            one-hot vector (closed, open); ``"widths"``: the last two numbers are the fingers' openings in metres, used
            as they are.
        centre: subtracted from the pose (after ``tool_down``); 6 numbers in m and rad.
        scale: divides the pose after ``centre``; 6 numbers in m and rad.
        tool_down: replace roll by roll - pi, in (-pi, pi].
        start: how the linear layers start, ``"xavier"`` (Seer) or ``"torch"`` (GR-1).

    Shape:
        state: ``(B, T, 7)`` or, with widths, ``(B, T, 8)``: position (m), extrinsic-xyz Euler angles (rad), gripper.
        returns: ``(B, T, 1, dim)``.

    Raises:
        ValueError: if the state has another size.
    """

    centre: Tensor
    scale: Tensor

    def __init__(
        self,
        *,
        dim: int,
        gripper: Literal["open_closed", "widths"] = "open_closed",
        centre: Sequence[float] = (0.0,) * POSE,
        scale: Sequence[float] = (1.0,) * POSE,
        tool_down: bool = False,
        start: Start = "torch",
    ) -> None:
        super().__init__()
        if gripper not in ("open_closed", "widths"):
            raise ValueError(f"gripper is 'open_closed' or 'widths', got {gripper!r}")
        if len(centre) != POSE or len(scale) != POSE or not all(scale):
            raise ValueError(f"centre and scale are {POSE} numbers each, no scale 0; got {[*centre]} and {[*scale]}")
        self.gripper_state, self.size = gripper, POSE + (1 if gripper == "open_closed" else 2)
        self.tool_down = tool_down
        self.register_buffer("centre", torch.tensor([*centre]), persistent=False)
        self.register_buffer("scale", torch.tensor([*scale]), persistent=False)
        self.pose = nn.Linear(POSE, dim)
        self.gripper = nn.Linear(2, dim)
        self.project = nn.Linear(2 * dim, dim)
        begin(self, start)

    def forward(self, state: Tensor) -> Tensor:
        if state.shape[-1] != self.size:
            raise ValueError(
                f"expected a state of {self.size} numbers (pose {POSE}, gripper {self.gripper_state}), "
                f"got shape {tuple(state.shape)}"
            )
        pose, gripper = state[..., :POSE], state[..., POSE:]
        if self.tool_down:
            roll = torch.remainder(pose[..., 3:4], 2 * math.pi) - math.pi
            pose = torch.cat([pose[..., :3], roll, pose[..., 4:]], dim=-1)
        pose = (pose - self.centre) / self.scale
        if self.gripper_state == "open_closed":
            is_open = gripper >= 1
            gripper = torch.cat([~is_open, is_open], dim=-1).to(pose.dtype)
        with torch.autocast(state.device.type, enabled=False):  # bf16 would round a metre to 4 mm
            return self.project(torch.cat([self.pose(pose), self.gripper(gripper)], dim=-1))[:, :, None]
