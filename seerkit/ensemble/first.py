"""Execute the first action of every new chunk."""

from __future__ import annotations

from torch import Tensor, nn


class FirstAction(nn.Module):
    """Execute the newest chunk's first action; the rest is never used (official Seer on CALVIN).

    Shape:
        chunk: ``(B, K, A)``.
        is_init: bool ``(B,)``.
        returns: the action ``(B, A)``.
    """

    def initial(self, batch: int, *, chunk: int, action_dim: int) -> tuple[Tensor, ...]:  # noqa: ARG002 - one shape
        """Return the empty carry: nothing is remembered."""
        return ()

    def forward(self, chunk: Tensor, is_init: Tensor) -> tuple[Tensor, ...]:  # noqa: ARG002 - of call for all
        return (chunk[:, 0],)
