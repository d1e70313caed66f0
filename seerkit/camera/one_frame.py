"""One picture without a time axis, prepared as the frames of a window are."""

from __future__ import annotations

from torch import Tensor, nn


class OneFrame(nn.Module):
    """Prepare one picture per row with what prepares windows, such as `Pixels`: the picture of a goal.

    Args:
        pixels: frames ``(B, T, 3, H, W)`` -> ``(B, T, 3, S, S)``.

    Shape:
        frame: uint8 ``(B, 3, H, W)``.
        returns: float32 ``(B, 3, S, S)``.

    Raises:
        ValueError: if the pictures have another number of axes.
    """

    def __init__(self, *, pixels: nn.Module) -> None:
        super().__init__()
        self.pixels = pixels

    def forward(self, frame: Tensor) -> Tensor:
        if frame.dim() != 4:
            raise ValueError(f"expected one picture per row (B, 3, H, W), got shape {tuple(frame.shape)}")
        return self.pixels(frame[:, None])[:, 0]
