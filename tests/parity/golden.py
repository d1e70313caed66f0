"""Find recorded cases and build the policy a case's configuration describes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from safetensors.torch import load_file
from torch import Tensor, nn

from seerkit import Policy, load_recipe
from seerkit.convert.seer import from_seer
from seerkit.hub import load_strictly
from tests.conftest import golden_folder

ROOT = golden_folder()
MISSING = f"no recorded cases at {ROOT}; set SEERKIT_GOLDEN to the folder that holds them"


def cases(system: str) -> list[Path]:
    """Every case folder of a system, in order of name."""
    folder = ROOT / system
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def kind(case: Path) -> str:
    """What a case records, told by the files it holds; a folder of no known kind is an error."""
    names = {path.name for path in case.iterdir()}
    weights = ("state_dict.safetensors", "mae.safetensors")
    kinds = {
        "model": {"config.json", *weights, "inputs.safetensors", "outputs.safetensors"},
        "episode": {"config.json", *weights, "episode.safetensors"},
        "preprocess": {"config.json", "images.safetensors"},
        "shift": {"config.json", "shift.safetensors"},
        "tokens": {"tokens.json"},
        "structure": {"masks.json", "frozen.json"},
    }
    for name, needed in kinds.items():
        if needed <= names:
            return name
    raise LookupError(f"case {case.name!r} is of no known kind; it holds {sorted(names)}")


def of_kind(*kinds: str) -> list[ParameterSet]:
    """The official Seer's cases of some kinds, as parameters of a test."""
    return [pytest.param(case, id=case.name) for case in cases("seer") if kind(case) in kinds]


def config(case: Path) -> dict:
    """The case's configuration."""
    return json.loads((case / "config.json").read_text())


class TableTower(nn.Module):
    """Stand-in for CLIP: the recorded feature of a sentence is a row of a table, chosen by the sum of its tokens."""

    def __init__(self, table: Tensor) -> None:
        super().__init__()
        self.register_buffer("table", table, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.table[tokens.long().sum(dim=-1) % len(self.table)]


def overrides(seer: dict) -> list[str]:
    """Official flags and sizes as overrides of a recipe; works for any of their combinations."""
    only_images = seer["obs_pred"] and seer["atten_only_obs"]
    foresight = "none" if not seer["obs_pred"] else "pixels_pretrain" if only_images else "pixels"
    image, per_camera, width = seer["calvin_input_image_size"], seer["num_resampler_query"], seer["vit_dim"]
    change = [
        "goal=words",
        f"state={'pose_fingers' if seer['gripper_width'] else 'pose_gripper'}",
        f"foresight={foresight}",
        f"steps={seer['sequence_length']}",
        f"chunk={seer['action_pred_steps']}",
        f"dim={seer['hidden_dim']}",
        f"image_size={image}",
        f"patch={seer['patch_size']}",
        f"goal_ahead={seer['atten_goal'] or 'null'}",
        f"trunk.depth={seer['transformer_layers']}",
        f"trunk.heads={seer['transformer_heads']}",
        f"layout.context.image={2 * per_camera}",
        f"encoders.goal.module.width={seer['text_dim']}",
        f"encoders.image.module.width={width}",
        f"encoders.image.module.vit.width={width}",
        f"encoders.image.module.vit.depth={seer['vit_depth']}",
        f"encoders.image.module.vit.heads={seer['vit_heads']}",
        f"encoders.image.module.resample.width={width}",
        f"encoders.image.module.resample.latents={per_camera}",
        f"encoders.image.module.resample.depth={seer['resampler_depth']}",
        f"encoders.image.module.resample.heads={seer['resampler_heads']}",
        f"encoders.image.module.resample.head_dim={seer['resampler_dim_head']}",
    ]
    if seer["obs_pred"]:
        change.append(f"layout.queries.foresight={2 * seer['num_obs_token_per_image']}")
        if not seer["atten_goal_state"]:
            change.append("layout.edges.foresight.state.ahead=null")
    if only_images:
        change.append(f"layout.edges.action.foresight.hide={seer['mask_l_obs_ratio']}")
        if seer["attn_robot_proprio_state"]:
            change.append("layout.edges.action.state.when=same_step")
    return change


def build(case: Path, table: Tensor, *extra: str) -> Policy:
    """Build the case's policy and load the recorded weights, strictly."""
    recipe = load_recipe("seer_calvin", *overrides(config(case)["seer"]), *extra)
    policy = Policy(recipe)
    policy.encoders["goal"].tower = TableTower(table)
    weights = from_seer(load_file(case / "state_dict.safetensors"))
    known = policy.state_dict()
    vit = {
        f"encoders.image.vit.vit.{key}": value
        for key, value in load_file(case / "mae.safetensors").items()
        if f"encoders.image.vit.vit.{key}" in known
    }
    if not config(case)["seer"]["obs_pred"]:  # the official model keeps the decoder's weights without using them
        weights = {key: value for key, value in weights.items() if "foresight" not in key}
    load_strictly(policy, weights | vit, source=str(case))
    return policy.eval()


def relative(ours: Tensor, theirs: Tensor) -> float:
    """Largest difference, relative to the largest recorded number."""
    return ((ours - theirs).abs().max() / theirs.abs().max().clamp(min=1e-12)).item()


def allowed(additive: Tensor) -> Tensor:
    """An additive mask (0 / -inf) as a boolean one."""
    return torch.isfinite(additive)
