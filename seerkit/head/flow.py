"""Action queries and noise to a chunk of actions along a learned velocity field."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from seerkit.head.denoiser import as_chunk, gathered, repeated, rows_of

LEVELS = ("uniform", "beta", "logit_normal")


class FlowHead(nn.Module):
    """Carry noise to a chunk of actions along straight lines (rectified flow, Liu et al., 2022).

    With action ``a``, noise ``z`` and noise level ``t``: ``x_t = (1 - t) a + t z`` as in FLOWER, whose velocity
    ``z - a`` the denoiser learns; pi0 counts ``t`` the other way. Acting goes from ``t = 1`` to 0 in equal Euler steps.
    The gripper is a number like the others, +1 open and -1 closed, and becomes a logit at the end.

    Args:
        denoiser: noisy chunks, hidden tokens, levels and padding -> velocities; see `Denoiser`.
        action_dim: size of an action; the last number is the gripper's.
        sampling_steps: Euler steps of acting.
        levels: how ``t`` is drawn while learning: ``"uniform"``; ``"beta"``, density growing like the square root of
            ``t`` from 0.001, so that noisy chunks come more often (pi0); ``"logit_normal"``, mostly in the middle.
        draws: how many noises and levels each chunk is learned at per pass; the trunk runs only once for all.

    Shape:
        hidden: ``(B, T, K, dim)``, one token per future step.
        noise: ``(B, T, K, A)``, standard normal.
        returns: ``(B, T, K, A)``; the arm in [-1, 1], then a gripper logit (> 0: open).

    Raises:
        ValueError: if ``levels`` is unknown, or ``sampling_steps`` or ``draws`` is below 1; when acting, if the noise
            does not have the shape of the chunks.
    """

    def __init__(
        self,
        *,
        denoiser: nn.Module,
        action_dim: int = 7,
        sampling_steps: int = 4,
        levels: Literal["uniform", "beta", "logit_normal"] = "uniform",
        draws: int = 1,
    ) -> None:
        super().__init__()
        if levels not in LEVELS:
            raise ValueError(f"levels is one of {[*LEVELS]}, got {levels!r}")
        if min(sampling_steps, draws) < 1:
            raise ValueError(f"expected at least 1, got sampling_steps={sampling_steps}, draws={draws}")
        self.action_dim = action_dim
        self.denoiser, self.sampling_steps, self.levels, self.draws = denoiser, sampling_steps, levels, draws

    def forward(self, hidden: Tensor, noise: Tensor) -> Tensor:
        lead = hidden.shape[:2]
        hidden, x = rows_of(hidden, noise, action_dim=self.action_dim)
        for step in range(self.sampling_steps, 0, -1):
            level = x.new_full((len(x),), step / self.sampling_steps)
            x = x - self.denoiser(x, hidden, level) / self.sampling_steps
        return as_chunk(x.unflatten(0, lead))

    def learn(self, hidden: Tensor, target: Tensor, is_pad: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict the velocity at a random point between each demonstrated chunk and noise.

        Draws from torch's default generator. Actions beyond the episode's end (``is_pad``) are seen by no other.

        Shape:
            hidden: ``(B, T, K, dim)``.
            target: ``(B, T, K, A)``, gripper +1 open / -1 closed.
            is_pad: bool ``(B, T, K)``, ``True`` = beyond the episode's end.
            returns: predicted and wanted velocity, each ``(B, T, K, draws, A)``.
        """
        steps = hidden.shape[1]
        hidden, action, is_pad = repeated(hidden, target, is_pad, draws=self.draws)
        noise, level = torch.randn_like(action), self._level(action)
        noisy = torch.lerp(action, noise, level[:, None, None])
        velocity = self.denoiser(noisy, hidden, level, is_pad)
        predicted, wanted = (gathered(x, steps=steps, draws=self.draws) for x in (velocity, noise - action))
        return predicted, wanted

    def _level(self, action: Tensor) -> Tensor:
        if self.levels == "logit_normal":
            return torch.randn_like(action[:, 0, 0]).sigmoid()
        even = torch.rand_like(action[:, 0, 0])
        return even if self.levels == "uniform" else 1 - 0.999 * (1 - even ** (1 / 1.5))
