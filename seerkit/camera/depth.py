"""Depth frames as targets of foresight."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

MILLIMETRES = 1000.0


class DepthPatches(nn.Module):
    """Pair each step with the depth frame to foresee, in metres, cut into patches.

    The frame is resized and cropped as the pictures are (shorter side, then the middle square), taking the nearest
    measurement: a mean over an edge would be a depth that is nowhere. It is not shifted with the pictures.

    Args:
        image_size: side of the square frame.
        patch: side of a square patch.

    Shape:
        frames: whole millimetres ``(B, T, 1, H, W)`` per camera, the window; 0 = nothing measured. Followed by
        future: ``(B, F, 1, H, W)`` per camera, the frames after the window.
        returns: metres ``(B, T, P, patch**2)`` per camera, ``F`` steps after each step.

    Raises:
        ValueError: if windows and futures are not as many, or ``patch`` does not divide ``image_size``.
    """

    def __init__(self, *, image_size: int, patch: int) -> None:
        super().__init__()
        if image_size % patch:
            raise ValueError(f"expected an image size divisible by the patch size {patch}, got {image_size}")
        self.image_size, self.patch = image_size, patch

    def forward(self, *frames: Tensor) -> tuple[Tensor, ...]:
        if not frames or len(frames) % 2:
            raise ValueError(f"expected as many windows as futures, got {len(frames)} depth inputs")
        half = len(frames) // 2
        return tuple(self._cut(*pair) for pair in zip(frames[:half], frames[half:], strict=True))

    def _cut(self, frames: Tensor, future: Tensor) -> Tensor:
        steps, ahead = frames.shape[1], future.shape[1]
        come = torch.cat([frames, future], dim=1)[:, ahead : ahead + steps].float() / MILLIMETRES
        square = _square(come.flatten(0, 1), self.image_size)
        return functional.unfold(square, self.patch, stride=self.patch).transpose(1, 2).unflatten(0, come.shape[:2])


def _square(depth: Tensor, size: int) -> Tensor:
    """Resize so that the shorter side is ``size``, nearest measurement, and crop the centre square."""
    height, width = depth.shape[-2:]
    short = min(height, width)
    wide = (int(size * height / short), int(size * width / short))
    if wide != (height, width):
        depth = functional.interpolate(depth, wide, mode="nearest-exact")
    top, left = round((wide[0] - size) / 2), round((wide[1] - size) / 2)
    return depth[..., top : top + size, left : left + size]
