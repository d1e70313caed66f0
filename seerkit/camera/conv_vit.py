"""A small vision transformer with convolutions in front, to be trained with the policy."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seerkit._compat import ensure_torchvision

STRIDE = 8
"""Pixels per patch along each axis: three convolutions of stride 2."""


class ConvVit(nn.Module):
    """Encode images with three strided convolutions and transformer blocks over their grid.

    For training from nothing on little data: convolutions find colours and edges at once, where a linear patch
    embedding needs many epochs (Xiao et al., 2021). The summary is the mean of all patches.

    Args:
        image_size: side of the square image; a multiple of 8.
        width: feature size.
        depth: transformer blocks after the convolutions.
        heads: attention heads.

    Shape:
        images: ``(N, 3, image_size, image_size)``.
        returns: ``(N, 1 + P, width)``: summary, then the patches row by row; ``P = (image_size / 8)**2``.

    Raises:
        ValueError: if the image size is no multiple of 8.
    """

    def __init__(self, *, image_size: int, width: int = 128, depth: int = 1, heads: int = 4) -> None:
        super().__init__()
        if image_size % STRIDE:
            raise ValueError(f"expected an image size divisible by {STRIDE}, got {image_size}")
        ensure_torchvision()
        from timm.models.vision_transformer import Block

        self.stem = nn.Sequential(
            *_convolution(3, width // 4), *_convolution(width // 4, width // 2), nn.Conv2d(width // 2, width, 3, 2, 1)
        )
        self.place = nn.Parameter(torch.randn((image_size // STRIDE) ** 2, width) * 0.2)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.stem(images).flatten(2).transpose(1, 2)
        if patches.shape[1] != len(self.place):
            raise ValueError(f"expected {len(self.place)} patches of {STRIDE} pixels, got images {tuple(images.shape)}")
        patches = self.norm(self.blocks(patches + self.place))
        return torch.cat([patches.mean(dim=1, keepdim=True), patches], dim=1)


def _convolution(before: int, after: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(before, after, 3, 2, 1), nn.GroupNorm(1, after), nn.GELU()
