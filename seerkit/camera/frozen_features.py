"""What a frozen encoder makes of frames: targets of feature foresight."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from seerkit.freeze import freeze, stay_frozen


class FrozenFeatures(nn.Module):
    """Encode prepared frames with a frozen encoder and keep its patch features.

    Frames come normalised for the camera's own encoder. They are brought back to levels in [0, 1], resized (bicubic,
    antialiased) if the target encoder reads another size, and normalised as that encoder wants it.

    Args:
        encoder: images ``(N, 3, size, size)`` -> ``(N, 1 + P, width)``, summary first.
        size: side of the square image the encoder reads.
        mean, std: of each channel, as the encoder wants it, for levels in [0, 1].
        pixel_mean, pixel_std: those the frames come with.

    Shape:
        pixels: one ``(B, T, 3, S, S)`` per camera.
        returns: one ``(B, T, P, width)`` per camera, patches row by row.
    """

    gain: Tensor
    offset: Tensor

    def __init__(
        self,
        *,
        encoder: nn.Module,
        size: int,
        mean: Sequence[float],
        std: Sequence[float],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
    ) -> None:
        super().__init__()
        self.encoder, self.size = encoder, size
        wanted, deviation, given, spread = (
            torch.tensor(list(numbers)).view(3, 1, 1) for numbers in (mean, std, pixel_mean, pixel_std)
        )
        self.register_buffer("gain", spread / deviation, persistent=False)
        self.register_buffer("offset", (given - wanted) / deviation, persistent=False)
        freeze(self)

    def train(self, mode: bool = True) -> FrozenFeatures:  # noqa: ARG002 - it has no other mode
        """Stay in evaluation mode."""
        return stay_frozen(self)

    @torch.no_grad()
    def forward(self, *pixels: Tensor) -> tuple[Tensor, ...]:
        return tuple(self._encode(frames) for frames in pixels)

    def _encode(self, frames: Tensor) -> Tensor:
        images = frames.flatten(0, 1) * self.gain + self.offset
        if images.shape[-1] != self.size:
            images = functional.interpolate(images, (self.size, self.size), mode="bicubic", antialias=True)
        return self.encoder(images)[:, 1:].unflatten(0, frames.shape[:2])
