"""One transformer block in the style of GPT-2."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn
from torch.nn import functional

ACTIVATIONS = {"gelu_new": nn.GELU(approximate="tanh"), "relu": nn.ReLU()}


class Block(nn.Module):
    """Attend under a mask, then transform each token; both pre-normalised with residuals (GPT-2).

    Args:
        dim: width.
        heads: attention heads; must divide ``dim``.
        dropout: on attention weights and on both residual branches.
        activation: ``"gelu_new"`` (GPT-2's tanh approximation, Seer) or ``"relu"`` (GR-1).

    Shape:
        x: ``(B, N, dim)``.
        mask: boolean ``(N, N)`` or ``(B, 1, N, N)``, ``True`` = may attend.
        returns: ``(B, N, dim)``.

    Raises:
        ValueError: if ``heads`` does not divide ``dim`` or the activation is unknown.
    """

    def __init__(
        self, *, dim: int, heads: int, dropout: float = 0.1, activation: Literal["gelu_new", "relu"] = "gelu_new"
    ) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"expected a width divisible by the number of heads, got dim={dim}, heads={heads}")
        if activation not in ACTIVATIONS:
            raise ValueError(f"activation is one of {[*ACTIVATIONS]}, got {activation!r}")
        self.heads, self.dropout = heads, dropout
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.qkv, self.out = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)
        self.wide, self.narrow = nn.Linear(dim, 4 * dim), nn.Linear(4 * dim, dim)
        self.activation = ACTIVATIONS[activation]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = x + self._drop(self.out(self._attend(self.norm1(x), mask)))
        return x + self._drop(self.narrow(self.activation(self.wide(self.norm2(x)))))

    def _attend(self, x: Tensor, mask: Tensor) -> Tensor:
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        dropout = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=dropout)
        return seen.transpose(1, 2).flatten(2)

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)
