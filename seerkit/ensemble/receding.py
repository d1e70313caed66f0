"""Execute several actions of a chunk before looking at the next."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class RecedingHorizon(nn.Module):
    """Execute ``replan_interval`` actions of one chunk, then take the newest chunk (Chi et al., 2023).

    Args:
        replan_interval: how many actions of a chunk are executed; at most its length.

    Shape:
        chunk: ``(B, K, A)``, the newest prediction.
        is_init: bool ``(B,)``, ``True`` at an episode's first step.
        plan: ``(B, K, A)``, the chunk being executed.
        done: int64 ``(B,)``, how many of its actions were executed.
        returns: action ``(B, A)``, plan, done.

    Raises:
        ValueError: if ``replan_interval`` is below 1 or longer than the chunk.
    """

    def __init__(self, *, replan_interval: int) -> None:
        super().__init__()
        if replan_interval < 1:
            raise ValueError(f"at least one action of a chunk is executed, got replan_interval={replan_interval}")
        self.replan_interval = replan_interval

    def initial(self, batch: int, *, chunk: int, action_dim: int) -> tuple[Tensor, ...]:
        """Return the carry before the first step: no plan."""
        return torch.zeros(batch, chunk, action_dim), torch.zeros(batch, dtype=torch.long)

    def forward(self, chunk: Tensor, is_init: Tensor, plan: Tensor, done: Tensor) -> tuple[Tensor, ...]:
        if self.replan_interval > chunk.shape[1]:
            raise ValueError(f"replan_interval={self.replan_interval} exceeds the chunk of {chunk.shape[1]} actions")
        renew = is_init | (done % self.replan_interval == 0)
        plan = torch.where(renew[:, None, None], chunk, plan)
        done = torch.where(renew, 0, done)
        return self.proceed(plan, done)

    def holds(self, is_init: Tensor, plan: Tensor, done: Tensor) -> Tensor:  # noqa: ARG002 - takes the whole carry
        """Tell which rows' next action is already planned, whatever is seen and predicted before it: bool ``(B,)``."""
        return ~is_init & (done % self.replan_interval != 0)

    def proceed(self, plan: Tensor, done: Tensor) -> tuple[Tensor, ...]:
        """Execute the plan's next action without a new chunk, as `forward` does in rows that hold."""
        return plan[torch.arange(len(plan), device=plan.device), done], plan, done + 1
