"""Action queries and noise to a chunk of actions along a learned velocity field."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from seerkit.head.denoiser import as_chunk, gathered, repeated, rows_of, spread

LEVELS = ("uniform", "beta", "logit_normal")
PREDICTIONS = ("velocity", "sample")


class FlowHead(nn.Module):
    """Carry noise to a chunk of actions along straight lines (rectified flow, Liu et al., 2022).

    With action ``a``, noise ``z`` and noise level ``t``: ``x_t = (1 - t) a + t z`` as in FLOWER, whose velocity is
    ``z - a``; pi0 counts ``t`` the other way. Acting goes from ``t = 1`` to 0 in equal Euler steps. The gripper is a
    number like the others, +1 open and -1 closed, and becomes a logit at the end.

    Args:
        denoiser: noisy chunks, hidden tokens, levels and padding -> velocities; see `Denoiser`.
        action_dim: size of an action; the last number is the gripper's.
        sampling_steps: Euler steps of acting.
        levels: how ``t`` is drawn while learning: ``"uniform"``; ``"beta"``, density growing like the square root of
            ``t`` from 0.001, so that noisy chunks come more often (pi0); ``"logit_normal"``, mostly in the middle.
        prediction: what the denoiser predicts: ``"velocity"`` (FLOWER, pi0), or the clean chunk (``"sample"``), from
            which the velocity follows as ``(x_t - a) / t``: nothing has to be told of the noise, so it learns sooner.
        draws: how many noises and levels each chunk is learned at per pass, the levels spread out; the trunk runs only
            once for all.

    Shape:
        hidden: ``(B, T, K, dim)``, one token per future step.
        noise: ``(B, T, K, A)``, standard normal.
        returns: ``(B, T, K, A)``; the arm in [-1, 1], then a gripper logit (> 0: open).

    Raises:
        ValueError: if ``levels`` or ``prediction`` is unknown, or ``sampling_steps`` or ``draws`` is below 1; when
            acting, if the noise does not have the shape of the chunks.
    """

    def __init__(
        self,
        *,
        denoiser: nn.Module,
        action_dim: int = 7,
        sampling_steps: int = 4,
        levels: Literal["uniform", "beta", "logit_normal"] = "uniform",
        prediction: Literal["velocity", "sample"] = "velocity",
        draws: int = 1,
    ) -> None:
        super().__init__()
        if levels not in LEVELS:
            raise ValueError(f"levels is one of {[*LEVELS]}, got {levels!r}")
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction is one of {[*PREDICTIONS]}, got {prediction!r}")
        if min(sampling_steps, draws) < 1:
            raise ValueError(f"expected at least 1, got sampling_steps={sampling_steps}, draws={draws}")
        self.action_dim, self.prediction = action_dim, prediction
        self.denoiser, self.sampling_steps, self.levels, self.draws = denoiser, sampling_steps, levels, draws

    def forward(self, hidden: Tensor, noise: Tensor) -> Tensor:
        lead = hidden.shape[:2]
        hidden, x = rows_of(hidden, noise, action_dim=self.action_dim)
        for step in range(self.sampling_steps, 0, -1):
            level = x.new_full((len(x),), step / self.sampling_steps)
            said = self.denoiser(x, hidden, level)
            velocity = said if self.prediction == "velocity" else (x - said) / level[:, None, None]
            x = x - velocity / self.sampling_steps
        return as_chunk(x.unflatten(0, lead))

    def learn(self, hidden: Tensor, target: Tensor, is_pad: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict velocity or clean chunk at a random point between each demonstrated chunk and noise.

        Draws from torch's default generator. Actions beyond the episode's end (``is_pad``) are seen by no other.

        Shape:
            hidden: ``(B, T, K, dim)``.
            target: ``(B, T, K, A)``, gripper +1 open / -1 closed.
            is_pad: bool ``(B, T, K)``, ``True`` = beyond the episode's end.
            returns: prediction and what was wanted, each ``(B, T, K, draws, A)``.
        """
        steps = hidden.shape[1]
        hidden, action, is_pad = repeated(hidden, target, is_pad, draws=self.draws)
        noise, level = torch.randn_like(action), self._level(action)
        noisy = torch.lerp(action, noise, level[:, None, None])
        said = self.denoiser(noisy, hidden, level, is_pad)
        wanted = noise - action if self.prediction == "velocity" else action
        predicted, wanted = (gathered(x, steps=steps, draws=self.draws) for x in (said, wanted))
        return predicted, wanted

    def _level(self, action: Tensor) -> Tensor:
        even = spread(action, draws=self.draws)
        if self.levels == "logit_normal":
            return torch.special.ndtri(even).sigmoid()
        return even if self.levels == "uniform" else 1 - 0.999 * (1 - even ** (1 / 1.5))
