"""Average what recent chunks said about this step."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class TemporalEnsemble(nn.Module):
    """Average what recent chunks said about this step; older chunks weigh more (Zhao et al., 2023).

    Weights are ``exp(-decay * i)`` with ``i = 0`` for the *oldest* prediction, as in ACT and the official Seer. Unlike
    Seer's code, "not yet predicted" is counted, not marked by zeros: Seer drops a prediction that happens to contain an
    exact 0.

    Args:
        chunk: how many actions a prediction has.
        decay: how fast newer predictions lose weight, per step; negative to favour them.

    Shape:
        chunk: ``(B, K, A)``, the newest prediction.
        is_init: bool ``(B,)``, ``True`` at an episode's first step.
        past: ``(B, K, K, A)``, ``past[:, i]`` was predicted ``i`` steps ago.
        count: int64 ``(B,)``, how many of them are remembered.
        returns: action ``(B, A)``, past, count.
    """

    age: Tensor

    def __init__(self, *, chunk: int, decay: float = 0.01) -> None:
        super().__init__()
        self.decay = decay
        self.register_buffer("age", torch.arange(chunk), persistent=False)

    def initial(self, batch: int, *, chunk: int, action_dim: int) -> tuple[Tensor, ...]:
        """Return the carry before the first step: nothing predicted yet."""
        return torch.zeros(batch, chunk, chunk, action_dim), torch.zeros(batch, dtype=torch.long)

    def forward(self, chunk: Tensor, is_init: Tensor, past: Tensor, count: Tensor) -> tuple[Tensor, ...]:
        count = (torch.where(is_init, 0, count) + 1).clamp(max=len(self.age))
        past = torch.cat([chunk[:, None], past[:, :-1]], dim=1)
        now = past[:, self.age, self.age]
        weight = torch.exp(self.decay * self.age) * (self.age < count[:, None])
        return (weight[..., None] * now).sum(dim=1) / weight.sum(dim=1, keepdim=True), past, count
