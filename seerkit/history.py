"""A rolling window of encoded frames, carried as tensors."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class HistoryWindow(nn.Module):
    """Append the newest frame's tokens to a window that forgets its oldest frame once it is full.

    Frames stand at the beginning of the window in the order they came; slots after ``length`` hold leftovers nobody
    reads. (The official Seer fills them by repeating the newest frame, which cannot change what is read.)

    Shape:
        frame: ``(B, n, D)``, the newest tokens.
        window: ``(B, T, n, D)``.
        length: int64 ``(B,)``, how many frames it held so far.
        is_init: bool ``(B,)``, ``True`` where an episode begins: that row's window starts anew.
        returns: the new window and lengths.
    """

    def forward(self, frame: Tensor, window: Tensor, length: Tensor, is_init: Tensor) -> tuple[Tensor, Tensor]:
        steps = window.shape[1]
        length = torch.where(is_init, 0, length)
        full = (length == steps)[:, None, None, None]
        window = torch.where(full, window.roll(-1, dims=1), window)
        slot = length.clamp(max=steps - 1)
        newest = torch.arange(steps, device=slot.device)[None] == slot[:, None]
        return torch.where(newest[:, :, None, None], frame[:, None], window), slot + 1
