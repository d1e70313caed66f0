"""Foresight queries to the patches of a future image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from seerkit._compat import ensure_torchvision
from seerkit.initialise import Start, begin


class ForesightHead(nn.Module):
    """Decode each camera's foresight tokens into all patches of its future image, as MAE's decoder does.

    The official Seer's decoder, and with other options GR-1's: project the tokens, append one learned mask token per
    patch, add fixed sine-cosine positions (each on its own square grid), run ViT blocks, read the patches. One decoder
    serves all cameras.

    Args:
        cameras: names, in the order of the foresight tokens.
        dim: width of the trunk and of the decoder.
        image_size: side of the square image.
        patch: side of a patch in pixels.
        depth: ViT blocks.
        heads: attention heads; the official Seer and GR-1 use 16 at every size.
        place: what gets positions: ``"all"`` (Seer) or the mask tokens of the ``"patches"`` alone (GR-1).
        start: how weights start: ``"xavier"``, mask token N(0, 0.02) (Seer), or ``"torch"``, mask token 0 (GR-1).

    Shape:
        hidden: ``(B, T, cameras * n, dim)``; ``n`` is a square number if the tokens get positions.
        returns: one ``(B, T, P, 3 * patch**2)`` per camera, ``P`` patches row by row.

    Raises:
        ValueError: if tokens or patches do not form square grids.
    """

    def __init__(
        self,
        *,
        cameras: Sequence[str],
        dim: int,
        image_size: int,
        patch: int,
        depth: int = 2,
        heads: int = 16,
        place: Literal["all", "patches"] = "all",
        start: Start = "xavier",
    ) -> None:
        super().__init__()
        if place not in ("all", "patches"):
            raise ValueError(f"place is 'all' or 'patches', got {place!r}")
        ensure_torchvision()
        from timm.models.vision_transformer import Block

        self.cameras, self.patches = tuple(cameras), (image_size // patch) ** 2
        self.project = nn.Linear(dim, dim)
        self.tokens_placed = place == "all"
        self.mask_token = nn.Parameter(torch.randn(dim) * 0.02 if start == "xavier" else torch.zeros(dim))
        self.blocks = nn.ModuleList(Block(dim, heads, mlp_ratio=4.0, qkv_bias=True) for _ in range(depth))
        for block in self.blocks:
            block.norm1.eps = block.norm2.eps = 1e-5  # pyright: ignore
        self.norm = nn.LayerNorm(dim)
        self.pixels = nn.Linear(dim, 3 * patch**2)
        self.place: Tensor
        self.register_buffer("place", grid_positions(self.patches, dim), persistent=False)
        self.token_place: Tensor
        self.register_buffer("token_place", torch.empty(0, dim), persistent=False)
        begin(self, start)

    def forward(self, hidden: Tensor) -> tuple[Tensor, ...]:
        lead, cameras = hidden.shape[:2], len(self.cameras)
        if hidden.shape[2] % cameras:
            raise ValueError(f"expected foresight tokens for {cameras} cameras, got {hidden.shape[2]} in all")
        tokens = self.project(hidden).unflatten(2, (cameras, -1)).flatten(0, 2)
        if self.tokens_placed:
            if len(self.token_place) != tokens.shape[1]:  # only now known; computed once
                self.token_place = grid_positions(tokens.shape[1], tokens.shape[2]).to(self.place)
            tokens = tokens + self.token_place
        masked = (self.mask_token + self.place).expand(len(tokens), -1, -1)
        x = torch.cat([tokens, masked], dim=1)
        for block in self.blocks:
            x = block(x)
        patches = self.pixels(self.norm(x)[:, -self.patches :]).unflatten(0, (*lead, cameras))
        return patches.unbind(dim=2)


def grid_positions(places: int, dim: int) -> Tensor:
    """Return fixed sine-cosine positions of a square grid, row by row: ``(places, dim)``.

    The first half of the features codes the column, the second half the row; in each the sines, then the cosines
    (MAE's convention).

    Raises:
        ValueError: if ``places`` is not a square number or ``dim`` not divisible by 4.
    """
    side = round(places**0.5)
    if side * side != places or dim % 4:
        raise ValueError(f"expected a square number of places and a width divisible by 4, got {places} and {dim}")
    rate = 10000.0 ** -(torch.arange(dim // 4, dtype=torch.float64) / (dim // 4))
    row, column = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    angles = [axis.flatten()[:, None] * rate for axis in (column, row)]
    return torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1).float()
