"""Pillow's bicubic resize as two small matrix products, so that it runs wherever the model runs."""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor

FIXED_POINT = 1 << 22
"""Pillow rounds the weights of its 8-bit resize to multiples of 2**-22."""


def resize_crop(images: Tensor, size: int) -> Tensor:
    """Resize so that the shorter side is ``size`` and crop the centre square, exactly as CLIP's image transform.

    Pillow's two passes (columns, then rows), each rounded and clamped to 0..255. On the CPU the sums are exact in
    fp64, so every pixel equals Pillow's; elsewhere fp32 is used, which differs by one level on fewer than 1 of 10,000
    pixels of pure noise.

    Shape:
        images: uint8 ``(..., 3, H, W)``.
        returns: float32 ``(..., 3, size, size)`` holding whole levels 0..255.

    Raises:
        ValueError: if the images are not uint8 with three channels.
    """
    if images.dtype != torch.uint8 or images.dim() < 3 or images.shape[-3] != 3:
        raise ValueError(f"expected uint8 images (..., 3, H, W), got {images.dtype} {tuple(images.shape)}")
    height, width = images.shape[-2:]
    short = min(height, width)
    if short == size == max(height, width):
        return images.float()
    exact = torch.float64 if images.device.type == "cpu" else torch.float32
    across, down = (
        _crop(_weights(side, int(size * side / short)), size).to(images.device, exact) for side in (width, height)
    )
    with torch.autocast(images.device.type, enabled=False):
        wide = _round(images.to(exact) @ across.T)
        return _round(down @ wide).float()


def _round(levels: Tensor) -> Tensor:
    return levels.add_(0.5).floor_().clamp_(0, 255)


def _crop(weights: Tensor, size: int) -> Tensor:
    start = round((len(weights) - size) / 2)
    return weights[start : start + size]


@cache
def _weights(before: int, after: int) -> Tensor:
    """Return Pillow's bicubic weights ``(after, before)``, rounded to fixed point; fp64."""
    if before == after:
        return torch.eye(before, dtype=torch.float64)
    scale = before / after
    support = 2.0 * max(scale, 1.0)
    centre = (torch.arange(after, dtype=torch.float64) + 0.5) * scale
    first = (centre - support + 0.5).floor().clamp(min=0)
    last = (centre + support + 0.5).floor().clamp(max=before)
    place = torch.arange(before, dtype=torch.float64)
    weights = _bicubic((place[None] - centre[:, None] + 0.5) / max(scale, 1.0))
    weights = torch.where((place[None] >= first[:, None]) & (place[None] < last[:, None]), weights, 0.0)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return (weights * FIXED_POINT + 0.5 * weights.sign()).trunc() / FIXED_POINT


def _bicubic(x: Tensor) -> Tensor:
    """Evaluate the cubic convolution kernel with a = -0.5 (Keys, 1981)."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
