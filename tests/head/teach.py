"""What tests of sampling heads share: a task with two right answers, and short training."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seerkit.head import Denoiser

DIM, CHUNK, ACTION = 8, 2, 3


def small_denoiser() -> Denoiser:
    return Denoiser(dim=DIM, chunk=CHUNK, action_dim=ACTION, width=32, depth=2, heads=4)


def two_modes(rows: int) -> Tensor:
    """Chunks ``(rows, 1, K, A)`` that go left or right as a whole, half of them each; left opens, right closes."""
    side = torch.where(torch.arange(rows) % 2 == 0, 1.0, -1.0)[:, None, None, None]
    return side * torch.tensor([0.6, -0.6, 1.0]).expand(rows, 1, CHUNK, ACTION)


def teach(head: nn.Module, *, updates: int, rows: int = 128) -> None:
    """Train on `two_modes` with one hidden state for all."""
    optimiser = torch.optim.Adam(head.parameters(), lr=3e-3)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, updates)
    hidden, target = torch.zeros(rows, 1, CHUNK, DIM), two_modes(rows)
    for _ in range(updates):
        predicted, wanted = head.learn(hidden, target)
        optimiser.zero_grad()
        (predicted - wanted).square().mean().backward()
        optimiser.step()
        rate.step()


@torch.no_grad()
def sample(head: nn.Module, rows: int = 400) -> Tensor:
    """Arm motions ``(rows, K, A - 1)`` and the gripper's +-1, from noise of one seed."""
    noise = torch.randn(rows, 1, CHUNK, ACTION, generator=torch.Generator().manual_seed(3))
    chunk = head(torch.zeros(rows, 1, CHUNK, DIM), noise)[:, 0]
    return torch.cat([chunk[..., :-1], chunk[..., -1:].sign()], dim=-1)


class Recorder(nn.Module):
    """Stands in for a denoiser: remembers what it was asked and answers with ``answer(noisy, level)``."""

    def __init__(self, answer: object = None) -> None:
        super().__init__()
        self.answer, self.asked = answer, []

    def forward(self, noisy: Tensor, hidden: Tensor, level: Tensor, is_pad: Tensor | None = None) -> Tensor:
        self.asked.append((noisy, hidden, level, is_pad))
        return self.answer(noisy, level) if callable(self.answer) else torch.zeros_like(noisy)
