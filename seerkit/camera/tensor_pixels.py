"""GR-1's preparation of frames: resize as a tensor, without anti-aliasing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from seerkit.camera.shift import apply_shift


class TensorPixels(nn.Module):
    """Shift (only while training), resize without anti-aliasing and normalise the frames of one camera.

    What the official GR-1 does with torchvision 0.13: the frame becomes a square by bicubic interpolation of the tensor
    (a = -0.75, no anti-aliasing, not clamped; newer torchvision anti-aliases unless told not to, which moves pixels by
    up to 0.47). The shift is the one its paper describes: one per window, at the camera's own size, before the resize,
    drawn from ``0 .. 2 * shift`` (Seer's leaves 0 out).

    Args:
        size: side of the square image the encoder reads.
        mean: of each channel, for levels in [0, 1].
        std: of each channel, for levels in [0, 1].
        shift: the largest shift in pixels of the camera's own frame; 0 for none.

    Shape:
        frames: uint8 ``(B, T, 3, H, W)``.
        returns: float32 ``(B, T, 3, size, size)``.

    Raises:
        ValueError: if the frames have another number of dimensions.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, size: int, mean: Sequence[float], std: Sequence[float], shift: int = 0) -> None:
        super().__init__()
        self.size, self.shift = size, shift
        self.register_buffer("mean", torch.tensor(list(mean)).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(list(std)).view(3, 1, 1), persistent=False)

    def forward(self, frames: Tensor) -> Tensor:
        if frames.dim() != 5:
            raise ValueError(f"expected frames (B, T, 3, H, W), got shape {tuple(frames.shape)}")
        if self.training and self.shift:
            batch, steps = frames.shape[:2]
            drawn = torch.randint(0, 2 * self.shift + 1, (batch, 1, 2), device=frames.device)
            frames = apply_shift(frames, drawn.expand(batch, steps, 2), self.shift)
        with torch.autocast(frames.device.type, enabled=False):
            levels = frames.flatten(0, 1).float() / 255
            square = functional.interpolate(levels, (self.size, self.size), mode="bicubic", align_corners=False)
        return (square.unflatten(0, frames.shape[:2]) - self.mean) / self.std

    def levels(self, pixels: Tensor) -> Tensor:
        """Undo the normalisation: float ``(..., 3, S, S)`` to uint8 levels."""
        return ((pixels * self.std + self.mean) * 255).round().clamp(0, 255).byte()
