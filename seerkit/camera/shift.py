"""Random shift: pad the frame by repeating its border, then crop it back at a whole-pixel offset.

As in the official Seer (and DrQ-v2 before it). Its ``grid_sample`` only ever samples at whole pixels, so the result is
an exact crop up to rounding (3e-5 on CLIP-normalised pixels); a crop is what this module does.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor


def apply_shift(images: Tensor, shifts: Tensor, pad: int) -> Tensor:
    """Replicate-pad every frame by ``pad`` pixels and crop it at its own offset.

    Args:
        images: frames of any dtype; leading dimensions are free.
        shifts: top left corner of the crop, in pixels of the padded image; ``[..., 0]`` is x, ``[..., 1]`` is y.
            ``(pad, pad)`` leaves the frame as it is.
        pad: how many pixels are added on each side.

    Shape:
        images: ``(..., C, H, W)``.
        shifts: ``(..., 2)``, the same leading dimensions, whole numbers in ``0 .. 2 * pad``.
        returns: ``(..., C, H, W)``.

    Raises:
        ValueError: the leading dimensions differ.
    """
    lead = images.shape[:-3]
    if shifts.shape != (*lead, 2):
        raise ValueError(
            f"shifts must have the shape {(*lead, 2)} for images {tuple(images.shape)}, got {shifts.shape}"
        )
    height, width = images.shape[-2:]
    offset = shifts.to(device=images.device, dtype=torch.long) - pad
    if images.device.type == "cpu" and not images.requires_grad:
        return _by_copying(images, offset)
    # Repeating the border is the same as clamping the index, so nothing needs to be padded.
    columns = (torch.arange(width, device=images.device) + offset[..., :1]).clamp(0, width - 1)
    rows = (torch.arange(height, device=images.device) + offset[..., 1:]).clamp(0, height - 1)
    pixels = (rows[..., :, None] * width + columns[..., None, :]).flatten(-2)[..., None, :]
    flat = images.flatten(-2)
    return flat.gather(-1, pixels.expand(flat.shape)).view(images.shape)


def _by_copying(images: Tensor, offset: Tensor) -> Tensor:
    """Do it frame by frame with block copies, several times quicker on a CPU than picking pixel by pixel."""
    moved = torch.empty_like(images, memory_format=torch.contiguous_format)
    frames, places = (some.reshape(-1, *images.shape[-3:]).numpy() for some in (images, moved))
    for frame, place, (x, y) in zip(frames, places, offset.reshape(-1, 2).tolist(), strict=True):
        shift_frame(frame, x, y, out=place)
    return moved


def shift_frame(frame: np.ndarray, x: int, y: int, *, out: np.ndarray) -> None:
    """Write a frame's pixels from ``x`` to the right and ``y`` down on, with its border repeated where there are none.

    Shape:
        frame: ``(C, H, W)``, of any layout in memory.
        out: ``(C, H, W)``, another array.
    """
    height, width = frame.shape[-2:]
    left, right = max(0, -x), width - max(0, x)
    top, bottom = max(0, -y), height - max(0, y)
    out[:, top:bottom, left:right] = frame[:, top + y : bottom + y, left + x : right + x]
    out[:, top:bottom, :left] = out[:, top:bottom, left : left + 1]
    out[:, top:bottom, right:] = out[:, top:bottom, right - 1 : right]
    out[:, :top] = out[:, top : top + 1]
    out[:, bottom:] = out[:, bottom - 1 : bottom]


def random_shift(
    images: Tensor,
    pad: int,
    per: Literal["frame", "window"] = "frame",
    generator: torch.Generator | None = None,
) -> Tensor:
    """Shift every frame by its own random offset, or a whole window by one.

    Offsets are drawn from ``1 .. 2 * pad``, exactly as the official code does: 0 never comes up, so the motion is
    lopsided by one pixel (``-pad + 1 .. pad``). The official ``--traj_cons`` also draws one offset per frame, in spite
    of its name; ``per="window"`` is what that name promises.

    Args:
        images: frames, leading dimensions ``(batch, steps)``.
        pad: largest motion in pixels; 0 returns the images untouched.
        per: ``"frame"`` or ``"window"``.
        generator: random numbers; the default generator of the images' device if none is given.

    Shape:
        images: ``(B, T, C, H, W)``.
        returns: ``(B, T, C, H, W)``.

    Raises:
        ValueError: ``per`` is unknown, ``pad`` is negative or the images have another number of dimensions.
    """
    if images.ndim != 5:
        raise ValueError(f"images must be (B, T, C, H, W), got {tuple(images.shape)}")
    shifts = draw_shifts(*images.shape[:2], pad=pad, per=per, device=images.device, generator=generator)
    return images if pad == 0 else apply_shift(images, shifts, pad)


def draw_shifts(
    batch: int,
    steps: int,
    *,
    pad: int,
    per: Literal["frame", "window"] = "frame",
    device: torch.device | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Draw the offsets of `random_shift`; nothing is drawn if ``pad`` is 0.

    Shape:
        returns: int64 ``(batch, steps, 2)``, for `apply_shift`.

    Raises:
        ValueError: ``per`` is unknown or ``pad`` is negative.
    """
    if per not in ("frame", "window"):
        raise ValueError(f"per must be 'frame' or 'window', got {per!r}")
    if pad < 0:
        raise ValueError(f"pad must be at least 0 pixels, got {pad}")
    device = generator.device if generator is not None else device
    if pad == 0:
        return torch.zeros(batch, steps, 2, dtype=torch.int64, device=device)
    drawn = (batch, steps, 2) if per == "frame" else (batch, 1, 2)
    return torch.randint(1, 2 * pad + 1, drawn, generator=generator, device=device).expand(batch, steps, 2)
