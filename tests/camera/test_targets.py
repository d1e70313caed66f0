"""Targets of foresight: which frame, which patch, and in whose normalisation."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from seerkit.camera import DepthPatches, FrozenFeatures, Pixels


class Seen(nn.Module):
    """Hand on the image's own pixels as patches of one pixel, behind a summary."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        patches = images.flatten(2).transpose(1, 2) * self.scale
        return torch.cat([patches[:, :1] * 0, patches], dim=1)


CAMERA, OTHER = ([0.48, 0.46, 0.41], [0.27, 0.26, 0.28]), ([0.1, 0.2, 0.3], [0.5, 0.6, 0.7])


def test_the_encoder_reads_its_own_normalisation() -> None:
    levels = torch.randint(0, 256, (2, 3, 3, 8, 8), dtype=torch.uint8)
    mine, its = (Pixels(size=8, mean=mean, std=std)(levels) for mean, std in (CAMERA, OTHER))
    sizes = dict(zip(("mean", "std", "pixel_mean", "pixel_std"), (*OTHER, *CAMERA), strict=True))
    features = FrozenFeatures(encoder=Seen(), size=8, **sizes)
    (out,) = features(mine)
    torch.testing.assert_close(out, its.flatten(3).transpose(2, 3), rtol=1e-5, atol=1e-5)
    first, second = features(mine, mine.flip(-1))
    assert torch.equal(first, out)
    assert not torch.equal(second, out)


def test_it_gives_no_gradient_and_never_trains() -> None:
    same = {"mean": [0.5] * 3, "std": [0.5] * 3, "pixel_mean": [0.5] * 3, "pixel_std": [0.5] * 3}
    features = FrozenFeatures(encoder=nn.Sequential(Seen(), nn.Dropout(0.5)), size=4, **same).train()
    pixels = torch.randn(1, 1, 3, 8, 8, requires_grad=True)
    (out,) = features(pixels)
    assert out.shape == (1, 1, 16, 3)  # resized to the encoder's 4 x 4
    assert not out.requires_grad
    assert not any(module.training for module in features.modules())
    assert not [name for name, p in features.named_parameters() if p.requires_grad]


def test_depth_is_that_of_the_frame_ahead_patch_by_patch() -> None:
    torch.manual_seed(0)
    frames = torch.randint(1, 60000, (2, 7, 1, 8, 8)).to(torch.uint16)
    now, later = frames[:, :5], frames[:, 5:]
    (out,) = DepthPatches(image_size=8, patch=4)(now, later)
    assert out.shape == (2, 5, 4, 16)
    for step in range(5):
        metres = frames[:, step + 2, 0].float() / 1000
        torch.testing.assert_close(out[:, step, 0], metres[:, :4, :4].flatten(1))
        torch.testing.assert_close(out[:, step, 1], metres[:, :4, 4:].flatten(1))
        torch.testing.assert_close(out[:, step, 2], metres[:, 4:, :4].flatten(1))
    (still,) = DepthPatches(image_size=8, patch=4)(now, later[:, :0])
    torch.testing.assert_close(still[:, 0, 0], frames[:, 0, 0, :4, :4].float().flatten(1) / 1000)


def test_depth_is_cropped_like_the_picture_and_never_mixed() -> None:
    wide = torch.zeros(1, 1, 1, 16, 32, dtype=torch.int32)
    wide[..., 8:24], wide[..., 12, 16] = 1000, 5000
    wide = wide.to(torch.uint16)
    (out,) = DepthPatches(image_size=8, patch=8)(wide, wide)
    assert set(out.unique().tolist()) <= {1.0, 5.0}
    picture = torch.where(wide == 1000, 255, 0).to(torch.uint8).expand(-1, -1, 3, -1, -1)
    seen = Pixels(size=8, mean=[0.0] * 3, std=[1.0] * 3)(picture)
    assert seen.shape[-2:] == (8, 8)
    assert seen[..., 0].mean() > 0.9
    assert seen[..., -1].mean() > 0.9


def test_patches_must_fill_the_frame() -> None:
    with pytest.raises(ValueError, match="divisible"):
        DepthPatches(image_size=30, patch=16)
    with pytest.raises(ValueError, match="as many"):
        DepthPatches(image_size=16, patch=16)(torch.zeros(1, 1, 1, 16, 16))
