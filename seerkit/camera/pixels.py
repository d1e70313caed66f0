"""From a camera's raw frames to what the vision encoder reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from seerkit.camera.resize import check_frames, resize_crop, resize_frame
from seerkit.camera.shift import apply_shift, draw_shifts, shift_frame


class Pixels(nn.Module):
    """Resize, shift (only while training) and normalise the frames of one camera.

    Order as in the official Seer: CLIP's image transform, then a random shift of the replicate-padded image. Official
    Seer draws one shift per frame although its option is called ``traj_cons``; ``shift_per="window"`` draws one for all
    frames of a row, the shift GR-1's paper describes.

    Args:
        size: side of the square image the encoder reads.
        mean: of each channel, for levels in [0, 1].
        std: of each channel, for levels in [0, 1].
        shift: the largest shift in pixels of the resized image; 0 for none.
        shift_per: draw a shift for each ``"frame"`` or one for the whole ``"window"``.

    Raises:
        ValueError: the frames are of another shape or type, or ``shift_per`` is unknown.

    Shape:
        frames: uint8 ``(B, T, 3, H, W)``.
        returns: float32 ``(B, T, 3, size, size)``.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        *,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        shift: int = 0,
        shift_per: Literal["frame", "window"] = "frame",
    ) -> None:
        super().__init__()
        if shift_per not in ("frame", "window"):
            raise ValueError(f"shift_per is 'frame' or 'window', got {shift_per!r}")
        self.size, self.shift = size, shift
        self.shift_per: Literal["frame", "window"] = shift_per
        self.register_buffer("mean", torch.tensor(list(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        if frames.dim() != 5:
            raise ValueError(f"expected frames (B, T, 3, H, W), got shape {tuple(frames.shape)}")
        check_frames(frames)
        pad = self.shift if self.training else 0
        shifts = draw_shifts(*frames.shape[:2], pad=pad, per=self.shift_per, device=frames.device)
        if frames.device.type == "cpu":
            return self._one_by_one(frames, shifts - pad)
        levels = resize_crop(frames, self.size)
        return self._normalise((apply_shift(levels, shifts, pad) if pad else levels).float())

    def _one_by_one(self, frames: Tensor, offsets: Tensor) -> Tensor:
        """Prepare frame by frame, so that one stays in a CPU's cache; the 256 answers are looked up."""
        answers = self._normalise(torch.arange(256.0).expand(3, 1, 256).clone())[:, 0].numpy()
        pixels = torch.empty(*frames.shape[:3], self.size, self.size)
        moved = np.empty(pixels.shape[-3:], np.uint8)
        arrays = (some.flatten(0, 1).contiguous().numpy() for some in (pixels, frames))
        for place, frame, (x, y) in zip(*arrays, offsets.flatten(0, 1).tolist(), strict=True):
            shift_frame(resize_frame(frame, self.size), x, y, out=moved)
            for channel, answer, out in zip(moved, answers, place, strict=True):
                np.take(answer, channel, out=out, mode="clip")
        return pixels

    def _normalise(self, levels: Tensor) -> Tensor:
        return levels.div_(255).sub_(self.mean).div_(self.std)

    def levels(self, pixels: Tensor) -> Tensor:
        """Undo the normalisation: float ``(..., 3, S, S)`` to uint8 levels."""
        return ((pixels * self.std + self.mean) * 255).round().clamp(0, 255).byte()


class PixelsAndFuture(nn.Module):
    """Prepare a window and the frames after it together, and pair each step with the frame to foresee.

    Args:
        pixels: the camera's `Pixels`; one call prepares all frames, so that a window-wide shift is shared.

    Shape:
        frames: uint8 ``(B, T, 3, H, W)``.
        future: uint8 ``(B, F, 3, H, W)``, the frames after the window.
        returns: the prepared frames and, ``F`` steps later each, their targets; both ``(B, T, 3, size, size)``.
    """

    def __init__(self, *, pixels: Pixels) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, frames: Tensor, future: Tensor) -> tuple[Tensor, Tensor]:
        together = self.pixels(torch.cat([frames, future], dim=1))
        steps, ahead = frames.shape[1], future.shape[1]
        return together[:, :steps], together[:, ahead : ahead + steps]
