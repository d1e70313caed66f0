"""All cameras of one step to image tokens and summary tokens."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from seerkit.initialise import xavier


class CameraTokens(nn.Module):
    """Encode every camera with one vision encoder and one resampler, then project per camera to the trunk's width.

    As in Seer and GR-1 the encoder and the resampler are shared, the projections are not.

    Args:
        cameras: names, in token order.
        vit: images ``(N, 3, S, S)`` -> ``(N, 1 + P, width)``, summary first.
        resample: patches ``(N, P, width)`` -> ``(N, Q, width)``.
        width: feature size of ``vit``.
        dim: width of the trunk.

    Shape:
        pixels: one ``(B, T, 3, S, S)`` per camera.
        returns: image tokens ``(B, T, cameras * Q, dim)``, camera by camera; summaries ``(B, T, cameras, dim)``.

    Raises:
        ValueError: if another number of cameras comes, or images of another size than the encoder's.
    """

    def __init__(self, *, cameras: Sequence[str], vit: nn.Module, resample: nn.Module, width: int, dim: int) -> None:
        super().__init__()
        self.cameras = tuple(cameras)
        self.vit, self.resample = vit, resample
        self.image = nn.ModuleDict({name: nn.Linear(width, dim) for name in self.cameras})
        self.summary = nn.ModuleDict({name: nn.Linear(width, dim) for name in self.cameras})
        xavier(self.image)
        xavier(self.summary)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, Tensor]:
        if len(pixels) != len(self.cameras):
            raise ValueError(f"expected one image per camera {list(self.cameras)}, got {len(pixels)}")
        stacked = torch.stack(pixels)  # (C, B, T, 3, S, S)
        features = self.vit(stacked.flatten(0, 2))
        lead = stacked.shape[:3]
        latents = self.resample(features[:, 1:]).unflatten(0, lead)
        summary = features[:, :1].unflatten(0, lead)
        return self._project(latents, self.image), self._project(summary, self.summary)

    def _project(self, features: Tensor, layers: nn.ModuleDict) -> Tensor:
        return torch.cat([layers[name](own) for name, own in zip(self.cameras, features, strict=True)], dim=2)
