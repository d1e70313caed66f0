"""What the official Seer reads and how large it is: images, shifts, tokens, masks, tensors."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from seerkit import Policy, TokenLayout, load_recipe
from seerkit.camera import resize_crop
from seerkit.camera.shift import apply_shift
from seerkit.convert.seer import seer_name
from seerkit.goal import ClipTokenizer
from seerkit.wiring import make_layout
from tests.parity import golden

CASES = golden.cases("seer")
pytestmark = pytest.mark.skipif(not CASES, reason=golden.MISSING)


# -- preprocessing --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", golden.of_kind("preprocess"))
def test_resize_equals_pillow(case: Path) -> None:
    images = load_file(case / "images.safetensors")
    sources = [name.removesuffix("_in") for name in images if name.endswith("_in")]
    assert sources
    for name in sources:
        theirs = images[f"{name}_resized_u8"]
        ours = resize_crop(images[f"{name}_in"].permute(2, 0, 1)[None], theirs.shape[-1])[0]
        assert torch.equal(ours.byte(), theirs), name
        in_single = resize_crop(images[f"{name}_in"].permute(2, 0, 1)[None].to("cpu"), theirs.shape[-1])
        assert torch.equal(in_single[0], in_single[0].round()), "levels are whole numbers"


@pytest.mark.parametrize("case", golden.of_kind("preprocess"))
def test_recipe_normalises_as_recorded(case: Path) -> None:
    settings = golden.config(case)
    for part in load_recipe("seer_calvin").config["pixels"].values():
        np.testing.assert_allclose(part["mean"], settings["mean"], atol=1e-7)
        np.testing.assert_allclose(part["std"], settings["std"], atol=1e-7)


@pytest.mark.parametrize("case", golden.of_kind("shift"))
def test_random_shift(case: Path) -> None:
    recorded = load_file(case / "shift.safetensors")
    for name, meta in golden.config(case)["meta"].items():
        ours = apply_shift(recorded[f"{name}_in"], recorded[f"{name}_shift_traj"].long(), meta["pad"])
        # the official shift interpolates; ours crops
        bound = max(3e-5, 1.1 * meta["max_diff_vs_integer_crop"])
        torch.testing.assert_close(ours, recorded[f"{name}_out_traj"], atol=bound, rtol=0)


@pytest.mark.parametrize("case", golden.of_kind("tokens"))
def test_tokens(case: Path) -> None:
    recorded = json.loads((case / "tokens.json").read_text())["cases"]
    ours = ClipTokenizer()([entry["text"] for entry in recorded])
    for entry, row in zip(recorded, ours.tolist(), strict=True):
        assert row == entry["tokens"], entry["text"]


# -- full size ------------------------------------------------------------------------------------------------------

RECIPE_OF_MASK = {
    "calvin_seer_ft": "seer_calvin",
    "calvin_seer_pre": "seer_calvin_pretrain",
    "calvin_large_ft": "seer_large_calvin",
    "calvin_large_pre": "seer_large_calvin_pretrain",
    "libero_ft": "seer_libero_long",
    "libero_pre": "seer_libero_pretrain",
    "real_ft": "seer_real",
    "real_pre": "seer_droid_pretrain",
}


@pytest.mark.parametrize("case", golden.of_kind("structure"))
def test_full_size_masks(case: Path) -> None:
    for name, recorded in json.loads((case / "masks.json").read_text()).items():
        recipe = load_recipe(RECIPE_OF_MASK[name]).config
        layout = make_layout(recipe["layout"])
        mask = layout.mask(recipe["steps"])
        if recorded["random"]:
            mask &= ~official_draw(layout, recipe["steps"])
        assert (len(mask), layout.tokens_per_step) == (recorded["tokens"], recorded["per_step"]), name
        assert mask.sum() == recorded["allowed"], name
        packed = np.packbits(mask.numpy().astype(np.uint8)).tobytes()
        assert hashlib.sha256(packed).hexdigest() == recorded["sha256_packbits_allowed_rowmajor"], name


def official_draw(layout: TokenLayout, steps: int) -> Tensor:
    """The pairs the official code hides after ``numpy.random.seed(0)``: one choice of foresight tokens per step."""
    generator = np.random.RandomState(0)
    size, slots = layout.tokens_per_step, layout.slots()
    hidden = torch.zeros(steps, size, steps, size, dtype=torch.bool)
    for step in range(steps):
        count = int(layout.edge("action", "foresight").hide * layout.sizes["foresight"])
        columns = generator.choice(layout.sizes["foresight"], count, replace=False)
        hidden[step, slots["action"], step, slots["foresight"].start + torch.from_numpy(columns)] = True
    return hidden.flatten(2).flatten(0, 1)


@pytest.mark.parametrize("case", golden.of_kind("structure"))
@pytest.mark.parametrize("name", ["seer_calvin", "seer_large_calvin"])
def test_full_size_tensors(case: Path, name: str) -> None:
    """Every tensor of the official checkpoint has its place in ours, of the same size, and none is left over."""
    recorded = json.loads((case / f"{name}.json").read_text())
    used = {}
    for entry in recorded["keys"]:
        target = seer_name(entry["key"].removeprefix("module."))
        assert (target is not None) == entry["used_in_forward"], entry["key"]
        if target is not None:
            used[target] = int(np.prod(entry["shape"]))
    with torch.device("meta"):
        policy = Policy(load_recipe(name))
    ours = {key: p.numel() for key, p in policy.named_parameters() if p.requires_grad}
    assert ours == used
