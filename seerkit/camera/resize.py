"""Pillow's bicubic resize: by Pillow itself on a CPU, as small matrix products wherever else the model runs."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

FIXED_POINT = 1 << 22
"""Pillow rounds the weights of its 8-bit resize to multiples of 2**-22."""
COARSE = 1 << 10
"""Each weight is the sum of a multiple of 2**-10 and a rest below 2**-11, 11 bits each."""


def resize_crop(images: Tensor, size: int) -> Tensor:
    """Resize so that the shorter side is ``size`` and crop the centre square, exactly as CLIP's image transform.

    On a CPU, Pillow does it. Elsewhere its two passes (columns, then rows), each rounded and clamped to 0..255, are
    products with its weights: see `resize_crop_products`, which gives the same pixels.

    Shape:
        images: uint8 ``(..., 3, H, W)``.
        returns: uint8 ``(..., 3, size, size)``.

    Raises:
        ValueError: if the images are not uint8 with three channels.
    """
    check_frames(images)
    if images.shape[-1] == images.shape[-2] == size:
        return images
    return _by_pillow(images, size) if images.device.type == "cpu" else resize_crop_products(images, size)


def check_frames(images: Tensor) -> None:
    """Make sure that these are frames of a camera: uint8 ``(..., 3, H, W)``.

    Raises:
        ValueError: they are not.
    """
    if images.dtype != torch.uint8 or images.dim() < 3 or images.shape[-3] != 3:
        raise ValueError(f"expected uint8 images (..., 3, H, W), got {images.dtype} {tuple(images.shape)}")


def _by_pillow(images: Tensor, size: int) -> Tensor:
    resized = torch.empty(*images.shape[:-2], size, size, dtype=torch.uint8)
    frames = images.contiguous().view(-1, *images.shape[-3:]).numpy()
    for frame, place in zip(frames, resized.view(-1, *resized.shape[-3:]).numpy(), strict=True):
        place[...] = resize_frame(frame, size)
    return resized


def resize_frame(frame: np.ndarray, size: int) -> np.ndarray:
    """Do it with Pillow for one frame, which must lie in memory without gaps.

    Shape:
        frame: uint8 ``(3, H, W)``.
        returns: uint8 ``(3, size, size)``, a view of the frame or of Pillow's answer.
    """
    height, width = frame.shape[-2:]
    if height == width == size:
        return frame
    short = min(height, width)
    wide, high = (int(size * side / short) for side in (width, height))
    left, top = round((wide - size) / 2), round((high - size) / 2)
    channels = [Image.frombuffer("L", (width, height), channel, "raw", "L", 0, 1) for channel in frame]
    levels = np.asarray(Image.merge("RGB", channels).resize((wide, high), Image.Resampling.BICUBIC))
    return levels[top : top + size, left : left + size].transpose(2, 0, 1)


def resize_crop_products(images: Tensor, size: int) -> Tensor:
    """Do the same by matrix products, on any device.

    Pillow adds in whole numbers of 30 bits, more than fp32 holds, so each pass is two products whose sums fit: one with
    the weights' upper bits, one with their lower bits. So every pixel equals Pillow's on every device, also where
    products are computed in TF32, whose 11 bits hold the factors.

    Shape:
        images: uint8 ``(..., 3, H, W)``.
        returns: uint8 ``(..., 3, size, size)``.
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    across, down = (_parts(side, int(size * side / short), size, images.device) for side in (width, height))
    with torch.autocast(images.device.type, enabled=False):
        levels = images.float()
        wide = _round(levels @ across[0].T, levels @ across[1].T)
        return _round(down[0] @ wide, down[1] @ wide).byte()


def _round(coarse: Tensor, rest: Tensor) -> Tensor:
    """Add two sums, round half up and clamp to 0..255; changes ``coarse``.

    The whole part is set aside first: what remains of both sums has no more bits than fp32 holds.
    """
    whole = coarse.floor()
    return coarse.sub_(whole).add_(rest).add_(0.5).floor_().add_(whole).clamp_(0, 255)


@lru_cache(maxsize=64)
def _parts(before: int, after: int, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return the upper and the lower bits of the weights of the middle ``size`` pixels: two ``(size, before)``."""
    weights = _crop(_weights(before, after), size)
    coarse = (weights * COARSE).round() / COARSE
    return coarse.float().to(device), (weights - coarse).float().to(device)


def _crop(weights: Tensor, size: int) -> Tensor:
    start = round((len(weights) - size) / 2)
    return weights[start : start + size]


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
