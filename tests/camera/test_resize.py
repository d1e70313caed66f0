"""The resize equals Pillow's on every pixel, and what follows it changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from seerkit.camera import Pixels, resize_crop
from seerkit.camera.resize import _parts, resize_crop_products
from seerkit.camera.shift import random_shift

SIZES = [(84, 84, 224), (200, 200, 224), (480, 640, 224), (128, 96, 224), (256, 256, 64), (224, 300, 224)]


def by_pillow(image: Tensor, size: int) -> Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    short = min(picture.size)
    wide, high = (int(size * side / short) for side in picture.size)
    left, top = round((wide - size) / 2), round((high - size) / 2)
    resized = np.asarray(picture.resize((wide, high), Image.Resampling.BICUBIC))
    return torch.from_numpy(resized[top : top + size, left : left + size].copy()).permute(2, 0, 1)


@pytest.mark.parametrize(("height", "width", "size"), SIZES)
def test_every_pixel_of_noise_equals_pillows(height: int, width: int, size: int) -> None:
    torch.manual_seed(height)
    images = torch.randint(0, 256, (2, 3, height, width), dtype=torch.uint8)
    images[1] = torch.where(images[1] > 127, 255, 0)  # overshoots everywhere
    ours = resize_crop(images, size)
    for mine, image in zip(ours, images, strict=True):
        assert torch.equal(mine.byte(), by_pillow(image, size))
    assert torch.equal(resize_crop(images.mT.contiguous().mT, size), ours), "however the frames lie in memory"
    assert torch.equal(resize_crop_products(images, size), ours), "as where there is no Pillow"
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(resize_crop(images, size), ours)


def test_frames_may_lie_in_memory_as_a_camera_gives_them() -> None:
    """As LIBERO's files hold them: colours side by side."""
    frames = torch.randint(0, 256, (2, 30, 40, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    assert torch.equal(resize_crop(frames, 16), resize_crop(frames.contiguous(), 16))


@pytest.mark.parametrize("side", [84, 200, 480])
def test_the_weights_have_no_more_bits_than_tf32_keeps(side: int) -> None:
    for part in _parts(side, 224, 224, torch.device("cpu")):
        assert part.any()
        assert not (part.view(torch.int32) & 0x1FFF).any()


def test_shifting_levels_is_shifting_pixels() -> None:
    mean, std = [0.48, 0.46, 0.41], [0.27, 0.26, 0.28]
    pixels = Pixels(size=32, mean=mean, std=std, shift=4)
    frames = torch.randint(0, 256, (2, 3, 3, 40, 40), dtype=torch.uint8)
    levels = resize_crop(frames, 32) / 255
    plain = (levels - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(3, 1, 1)
    assert torch.equal(pixels.eval()(frames), plain)
    torch.manual_seed(1)
    shifted = pixels.train()(frames)
    torch.manual_seed(1)
    assert torch.equal(shifted, random_shift(plain, 4))
    assert not torch.equal(shifted, plain)


def test_what_is_no_frame_is_refused() -> None:
    pixels = Pixels(size=16, mean=(0.5,) * 3, std=(0.5,) * 3)
    with pytest.raises(
        ValueError, match=r"expected uint8 images \(\.\.\., 3, H, W\), got torch.float32 \(1, 2, 3, 20, 20\)"
    ):
        pixels(torch.rand(1, 2, 3, 20, 20))
    with pytest.raises(ValueError, match=r"got torch.uint8 \(1, 2, 4, 16, 16\)"):
        pixels(torch.zeros(1, 2, 4, 16, 16, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"\(B, T, 3, H, W\)"):
        pixels(torch.zeros(2, 3, 16, 16, dtype=torch.uint8))
