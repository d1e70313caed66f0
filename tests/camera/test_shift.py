"""The random shift against the official one, and what it may never do."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from seerkit.camera.shift import apply_shift, random_shift


def test_equals_the_official_shift(golden: Path) -> None:
    folder = golden / "seer" / "augment"
    recorded = load_file(folder / "shift.safetensors")
    cases = json.loads((folder / "config.json").read_text())["meta"]
    for name, case in cases.items():
        mine = apply_shift(recorded[f"{name}_in"], recorded[f"{name}_shift_traj"], case["pad"])
        torch.testing.assert_close(mine, recorded[f"{name}_out_traj"], rtol=0, atol=3e-5)


def test_is_the_padded_crop() -> None:
    images = torch.rand(2, 3, 3, 10, 12)
    shifts = torch.randint(0, 9, (2, 3, 2))
    padded = torch.nn.functional.pad(images.flatten(0, 1), (4, 4, 4, 4), mode="replicate").view(2, 3, 3, 18, 20)
    shifted = apply_shift(images, shifts, 4)
    for row in range(2):
        for step in range(3):
            x, y = shifts[row, step].tolist()
            assert torch.equal(shifted[row, step], padded[row, step, :, y : y + 10, x : x + 12])


def test_keeps_uint8_and_the_middle_is_the_identity() -> None:
    images = torch.randint(0, 256, (1, 2, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(apply_shift(images, torch.full((1, 2, 2), 4), 4), images)
    assert torch.equal(random_shift(images, 0), images)


def test_draws_one_to_twice_the_pad() -> None:
    ramp = torch.arange(40.0).expand(400, 1, 1, 40, 40)  # the value is the column: the middle one tells the offset
    middle = random_shift(ramp, 3, generator=torch.Generator().manual_seed(0))[:, 0, 0, 20, 20]
    assert set((middle - 20).tolist()) == {-2.0, -1.0, 0.0, 1.0, 2.0, 3.0}


def test_window_shares_one_offset_and_frame_does_not() -> None:
    frame = torch.rand(1, 1, 3, 16, 16)
    images = frame.expand(4, 5, 3, 16, 16)
    same = random_shift(images, 4, per="window", generator=torch.Generator().manual_seed(1))
    assert torch.equal(same, same[:, :1].expand_as(same))
    each = random_shift(images, 4, per="frame", generator=torch.Generator().manual_seed(1))
    assert not torch.equal(each, each[:, :1].expand_as(each))


def test_bad_input_says_what_was_expected() -> None:
    images = torch.rand(2, 3, 3, 8, 8)
    with pytest.raises(ValueError, match=r"\(2, 3, 2\).*got"):
        apply_shift(images, torch.zeros(2, 2), 4)
    with pytest.raises(ValueError, match=r"\(B, T, C, H, W\)"):
        random_shift(images[0], 4)
    with pytest.raises(ValueError, match="at least 0"):
        random_shift(images, -1)
    with pytest.raises(ValueError, match="'frame' or 'window'"):
        random_shift(images, 4, per="episode")  # type: ignore[arg-type]
