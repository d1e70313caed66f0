"""Action queries and noise to a chunk of actions by denoising diffusion."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
from torch import Tensor, nn

from seerkit.head.denoiser import as_chunk, gathered, repeated, rows_of, spread

PREDICTIONS = ("sample", "epsilon")


class DiffusionHead(nn.Module):
    """Denoise a chunk of actions step by step (Diffusion Policy, Chi et al., 2023; DreamVLA's action head).

    Learning adds noise by the squared-cosine schedule (Nichol and Dhariwal, 2021). Acting takes DDIM's deterministic
    steps (Song et al., 2021) through evenly spaced levels, beginning at the noisiest; after each, the clean chunk is
    clamped to [-1, 1] and the noise recomputed to match. Both policies predict the noise; here the clean chunk is
    predicted by default, which is well defined even where only noise is left.

    Args:
        denoiser: noisy chunks, hidden tokens, levels and padding -> clean chunks or noise; see `Denoiser`.
        action_dim: size of an action; the last number is the gripper's.
        training_steps: noise levels while learning.
        sampling_steps: DDIM steps of acting; at most ``training_steps``.
        prediction: what the denoiser predicts: the clean chunk (``"sample"``) or its noise (``"epsilon"``).
        draws: how many noises and levels each chunk is learned at per pass, the levels spread out; the trunk runs only
            once for all.

    Shape:
        hidden: ``(B, T, K, dim)``, one token per future step.
        noise: ``(B, T, K, A)``, standard normal.
        returns: ``(B, T, K, A)``; the arm in [-1, 1], then a gripper logit (> 0: open).

    Raises:
        ValueError: if ``prediction`` is unknown, or steps or draws are not positive or not in order; when acting, if
            the noise does not have the shape of the chunks.
    """

    kept: Tensor

    def __init__(
        self,
        *,
        denoiser: nn.Module,
        action_dim: int = 7,
        training_steps: int = 100,
        sampling_steps: int = 10,
        prediction: Literal["sample", "epsilon"] = "sample",
        draws: int = 1,
    ) -> None:
        super().__init__()
        if prediction not in PREDICTIONS:
            raise ValueError(f"prediction is one of {[*PREDICTIONS]}, got {prediction!r}")
        if not 1 <= sampling_steps <= training_steps or draws < 1:
            raise ValueError(
                f"expected 1 <= sampling_steps <= training_steps and draws >= 1, "
                f"got {sampling_steps}, {training_steps}, {draws}"
            )
        self.denoiser, self.action_dim, self.prediction, self.draws = denoiser, action_dim, prediction, draws
        self.training_steps, self.sampling_steps = training_steps, sampling_steps
        self.register_buffer("kept", cosine_schedule(training_steps), persistent=False)

    def forward(self, hidden: Tensor, noise: Tensor) -> Tensor:
        lead = hidden.shape[:2]
        hidden, x = rows_of(hidden, noise, action_dim=self.action_dim)
        for now, after in self._stairs():
            signal, rest = self._shares(now)
            said = self.denoiser(x, hidden, x.new_full((len(x),), now / self.training_steps))
            clean = said if self.prediction == "sample" else (x - rest * said) / signal
            clean = clean.clamp(-1, 1)
            signal_after, rest_after = self._shares(after)
            x = signal_after * clean + rest_after * (x - signal * clean) / rest
        return as_chunk(x.unflatten(0, lead))

    def learn(self, hidden: Tensor, target: Tensor, is_pad: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Predict each demonstrated chunk, or its noise, from a noisy version at a random level.

        Draws from torch's default generator. Actions beyond the episode's end (``is_pad``) are seen by no other.

        Shape:
            hidden: ``(B, T, K, dim)``.
            target: ``(B, T, K, A)``, gripper +1 open / -1 closed.
            is_pad: bool ``(B, T, K)``, ``True`` = beyond the episode's end.
            returns: prediction and what was wanted, each ``(B, T, K, draws, A)``.
        """
        steps = hidden.shape[1]
        hidden, action, is_pad = repeated(hidden, target, is_pad, draws=self.draws)
        noise = torch.randn_like(action)
        step = 1 + (spread(action, draws=self.draws) * self.training_steps).long().clamp(max=self.training_steps - 1)
        signal, rest = (share[:, None, None].to(action) for share in self._shares(step))
        said = self.denoiser(signal * action + rest * noise, hidden, step / self.training_steps, is_pad)
        wanted = action if self.prediction == "sample" else noise
        predicted, wanted = (gathered(x, steps=steps, draws=self.draws) for x in (said, wanted))
        return predicted, wanted

    def _stairs(self) -> list[tuple[int, int]]:
        """Return the levels visited as pairs (now, next), from the noisiest down to 0, the clean chunk."""
        stairs = [round(self.training_steps * i / self.sampling_steps) for i in range(self.sampling_steps, -1, -1)]
        return [*itertools.pairwise(stairs)]

    def _shares(self, step: Tensor | int) -> tuple[Tensor, Tensor]:
        """Return how much of the clean chunk and how much noise a noisy chunk is made of."""
        return self.kept[step].sqrt(), (1 - self.kept[step]).sqrt()


def cosine_schedule(steps: int) -> Tensor:
    """Return how much variance of the clean chunk is kept at levels 0 (all) to ``steps`` (almost none).

    No single step removes more than 99.9 % of what is left.
    """
    angle = (torch.arange(steps + 1, dtype=torch.float64) / steps + 0.008) / 1.008 * math.pi / 2
    wanted = angle.cos().square()
    factor = (wanted[1:] / wanted[:-1]).clamp(min=0.001)
    return torch.cat([torch.ones(1, dtype=torch.float64), factor.cumprod(dim=0)]).float()
