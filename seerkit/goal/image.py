"""From the picture to be reached to goal tokens."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from seerkit.initialise import xavier


class GoalImage(nn.Module):
    """Encode the picture to be reached as tokens that every step of the window shares.

    Conditioning on a picture of the outcome is goal-conditioned behaviour cloning, GCBC, as in BridgeData V2 (Walke et
    al., 2023) and in the low level of SuSIE (Black et al., 2023), whose convolutional networks see goal and observation
    together. Here the goal stands in the trunk's context beside the camera's tokens, as in GR-MG (Li et al., 2024), and
    attention compares them. Seer itself (Tian et al., 2024) is told by language only.

    Args:
        vit: images ``(N, 3, S, S)`` -> ``(N, 1 + P, width)``, summary first.
        width: feature size of ``vit``.
        dim: width of the trunk.
        resample: patches ``(N, P, width)`` -> ``(N, Q, width)``; without it the summary is the only token.

    Shape:
        pixels: ``(B, 3, S, S)``, resized and normalised.
        returns: ``(B, 1, 1 + Q, dim)``: summary, then latents; the same for every step.

    Raises:
        ValueError: if the pixels have another number of axes.

    Example:
        >>> from seerkit.camera import ConvVit
        >>> goal = GoalImage(vit=ConvVit(image_size=16, width=8), width=8, dim=4)
        >>> goal(torch.zeros(2, 3, 16, 16)).shape
        torch.Size([2, 1, 1, 4])
    """

    def __init__(self, *, vit: nn.Module, width: int, dim: int, resample: nn.Module | None = None) -> None:
        super().__init__()
        self.vit = vit
        self.resample = resample
        self.summary = nn.Linear(width, dim)
        self.image = None if resample is None else nn.Linear(width, dim)
        xavier(self.summary)
        if self.image is not None:
            xavier(self.image)

    def forward(self, pixels: Tensor) -> Tensor:
        if pixels.dim() != 4:
            raise ValueError(f"expected one picture per row (B, 3, S, S), got shape {tuple(pixels.shape)}")
        features = self.vit(pixels)
        tokens = [self.summary(features[:, :1])]
        if self.resample is not None and self.image is not None:
            tokens.append(self.image(self.resample(features[:, 1:])))
        return torch.cat(tokens, dim=1)[:, None]
