"""All cameras of one step to image tokens and summary tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from seerkit.initialise import Start, begin


class CameraTokens(nn.Module):
    """Encode every camera with one vision encoder and one resampler, then project per camera to the trunk's width.

    As in Seer and GR-1 the encoder and the resampler are shared, the projections are not.

    Args:
        cameras: names, in token order.
        vit: images ``(N, 3, S, S)`` -> ``(N, 1 + P, width)``, summary first.
        resample: patches ``(N, P, width)`` -> ``(N, Q, width)``; one for all cameras, or one per camera by name;
            ``None`` drops the patches: no image tokens, summaries only.
        width: feature size of ``vit``.
        dim: width of the trunk.
        start: how the projections start, ``"xavier"`` (Seer) or ``"torch"`` (GR-1).

    Shape:
        pixels: one ``(B, T, 3, S, S)`` per camera.
        returns: image tokens ``(B, T, sum of Q, dim)``, camera by camera; summaries ``(B, T, cameras, dim)``.

    Raises:
        ValueError: if another number of cameras comes, or images of another size than the encoder's.
    """

    def __init__(
        self,
        *,
        cameras: Sequence[str],
        vit: nn.Module,
        resample: nn.Module | Mapping[str, nn.Module] | None,
        width: int,
        dim: int,
        start: Start = "xavier",
    ) -> None:
        super().__init__()
        self.cameras = tuple(cameras)
        if isinstance(resample, Mapping) and set(resample) != set(cameras):
            raise ValueError(f"expected one resampler per camera {[*cameras]}, got {[*resample]}")
        self.vit = vit
        self.resample = nn.ModuleDict(resample) if isinstance(resample, Mapping) else resample
        patched = () if resample is None else self.cameras
        self.image = nn.ModuleDict({name: nn.Linear(width, dim) for name in patched})
        self.summary = nn.ModuleDict({name: nn.Linear(width, dim) for name in self.cameras})
        begin(self.image, start)
        begin(self.summary, start)

    def forward(self, *pixels: Tensor) -> tuple[Tensor, Tensor]:
        stacked = self._stack(pixels)  # (C, B, T, 3, S, S)
        return self._tokens(self.vit(stacked.flatten(0, 2)), stacked.shape[:3])

    def from_features(self, *features: Tensor) -> tuple[Tensor, Tensor]:
        """Do the same from what the vision encoder made of the images: ``(B, T, 1 + P, width)`` per camera.

        Raises:
            ValueError: if another number of cameras comes.
        """
        stacked = self._stack(features)
        return self._tokens(stacked.flatten(0, 2).float(), stacked.shape[:3])

    def _stack(self, inputs: Sequence[Tensor]) -> Tensor:
        if len(inputs) != len(self.cameras):
            raise ValueError(f"expected one image per camera {list(self.cameras)}, got {len(inputs)}")
        return torch.stack([*inputs])

    def _tokens(self, features: Tensor, lead: torch.Size) -> tuple[Tensor, Tensor]:
        summary = features[:, :1].unflatten(0, lead)
        summaries = self._project(summary.unbind(), self.summary)
        if self.resample is None:
            return summaries[:, :, :0], summaries
        return self._project(self._resample(features[:, 1:], lead), self.image), summaries

    def _resample(self, patches: Tensor, lead: torch.Size) -> Sequence[Tensor]:
        if not isinstance(self.resample, nn.ModuleDict):
            return self.resample(patches).unflatten(0, lead).unbind()  # pyright: ignore[reportOptionalCall]
        own = patches.unflatten(0, (lead[0], -1))
        return [self.resample[name](rows).unflatten(0, lead[1:]) for name, rows in zip(self.cameras, own, strict=True)]

    def _project(self, features: Sequence[Tensor], layers: nn.ModuleDict) -> Tensor:
        return torch.cat([layers[name](own) for name, own in zip(self.cameras, features, strict=True)], dim=2)
