"""The Perceiver resampler of Flamingo."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from seerkit.initialise import Start, begin


class Perceiver(nn.Module):
    """Let a few learned latents attend to all patches and to themselves (Alayrac et al., 2022).

    As in the official Seer: no position is added to the patches, no biases in the linear layers, exact GELU. GR-1 uses
    the same resampler with other heads and adds one learned vector, Flamingo's position of the image, to every patch.

    Args:
        width: feature size of patches and latents.
        latents: how many come out.
        depth: attention plus feed-forward layers.
        heads: attention heads.
        head_dim: size of one head.
        media: add a learned vector to every patch.
        start: how the linear layers start, ``"xavier"`` (Seer) or ``"torch"`` (GR-1).

    Shape:
        patches: ``(N, P, width)``.
        returns: ``(N, latents, width)``.
    """

    def __init__(
        self,
        *,
        width: int,
        latents: int,
        depth: int = 3,
        heads: int = 8,
        head_dim: int = 64,
        media: bool = False,
        start: Start = "xavier",
    ) -> None:
        super().__init__()
        self.media = nn.Parameter(torch.randn(width)) if media else None
        self.latents = nn.Parameter(torch.randn(latents, width))
        self.attend = nn.ModuleList(LatentAttention(width=width, heads=heads, head_dim=head_dim) for _ in range(depth))
        self.feed = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 4 * width, bias=False),
                nn.GELU(),
                nn.Linear(4 * width, width, bias=False),
            )
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        begin(self, start)

    def forward(self, patches: Tensor) -> Tensor:
        if self.media is not None:
            patches = patches + self.media
        latents = self.latents.expand(len(patches), -1, -1)
        for attend, feed in zip(self.attend, self.feed, strict=True):
            latents = latents + attend(patches, latents)
            latents = latents + feed(latents)
        return self.norm(latents)


class LatentAttention(nn.Module):
    """Attend from latents to patches and latents together.

    Args:
        width: feature size.
        heads: attention heads.
        head_dim: size of one head.

    Shape:
        patches: ``(N, P, width)``.
        latents: ``(N, Q, width)``.
        returns: ``(N, Q, width)``.
    """

    def __init__(self, *, width: int, heads: int, head_dim: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_patches, self.norm_latents = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query = nn.Linear(width, heads * head_dim, bias=False)
        self.key_value = nn.Linear(width, 2 * heads * head_dim, bias=False)
        self.out = nn.Linear(heads * head_dim, width, bias=False)

    def forward(self, patches: Tensor, latents: Tensor) -> Tensor:
        latents = self.norm_latents(latents)
        seen = torch.cat([self.norm_patches(patches), latents], dim=1)
        key, value = self.key_value(seen).chunk(2, dim=-1)
        query, key, value = (self._split(x) for x in (self.query(latents), key, value))
        return self.out(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))

    def _split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)
