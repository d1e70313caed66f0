"""Attention pooling with learned seeds."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seerkit.initialise import xavier


class MapPool(nn.Module):
    """Let learned seeds attend to all patches once, then transform each (Set Transformer, Lee et al., 2019).

    "Multi-head attention pooling" as Voltron and MPI attach it to their image encoders, with its residuals normalised
    after the sum as in Set Transformer. The feed-forward layers are two with a GELU, four times as wide between.

    Args:
        width: feature size of patches and latents.
        latents: how many come out.
        heads: attention heads; must divide ``width``.

    Shape:
        patches: ``(N, P, width)``.
        returns: ``(N, latents, width)``.

    Raises:
        ValueError: if ``heads`` does not divide ``width``.
    """

    def __init__(self, *, width: int, latents: int = 1, heads: int = 8) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"expected a width divisible by the number of heads, got width={width}, heads={heads}")
        self.heads = heads
        self.seeds = nn.Parameter(torch.randn(latents, width) * 0.02)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        xavier(self)

    def forward(self, patches: Tensor) -> Tensor:
        query = self._split(self.query(self.seeds).expand(len(patches), -1, -1))
        key, value = (self._split(x) for x in self.key_value(patches).chunk(2, dim=-1))
        seen = functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        latents = self.norm1(self.seeds + self.out(seen))
        return self.norm2(latents + self.feed(latents))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
