"""Build the policy a recorded case of the official GR-1 describes, whatever its sizes and modes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from _pytest.mark import ParameterSet
from safetensors.torch import load_file
from torch import Tensor

from seerkit import Policy, load_recipe
from seerkit.convert.gr1 import from_gr1
from seerkit.hub import load_strictly
from tests.parity import golden

FOLDER = golden.ROOT / "gr1"
CAMERAS = {"fwd_pred": "primary", "fwd_pred_hand": "wrist"}
"""The official names of foreseeing a camera."""


def kind(case: Path) -> str:
    """What a case records, told by its files and the sections of its configuration."""
    names = {path.name for path in case.iterdir()}
    if {"config.json", "inputs.safetensors", "outputs.safetensors"} <= names:
        settings = golden.config(case)
        if "model" in settings and "state.safetensors" in names:
            return "rollout" if "goal" in settings else "model"
        if "resize" in settings:
            return "preprocess"
        if "pad" in settings:
            return "shift"
    raise LookupError(f"case {case.name!r} of GR-1 is of no known kind; it holds {sorted(names)}")


def of_kind(name: str) -> list[ParameterSet]:
    """The official GR-1's cases of a kind, as parameters of a test."""
    return [pytest.param(case, id=case.name) for case in golden.cases("gr1") if kind(case) == name]


def inputs(case: Path) -> dict[str, Tensor]:
    return load_file(case / "inputs.safetensors")


def outputs(case: Path) -> dict[str, Tensor]:
    return load_file(case / "outputs.safetensors")


def cameras(settings: dict) -> list[str]:
    """The cameras the model sees."""
    return ["primary", "wrist"] if settings["use_hand_rgb"] else ["primary"]


def foreseen(settings: dict) -> list[str]:
    """The cameras whose future the model predicts."""
    return [camera for target, camera in CAMERAS.items() if target in settings["training_target"]]


def overrides(settings: dict, *, queries: int) -> list[str]:
    """Sizes and modes of a configuration as overrides of `gr1_calvin`."""
    model, mae, resampler = settings["model"], settings["mae"], settings["model"]["resampler_params"]
    if model["n_inner"] != 4 * model["hidden_size"]:
        raise LookupError(f"a feed-forward layer four times as wide as the trunk is expected, got {model}")
    width, frames = mae["embed_dim"], foreseen(settings)
    change = [
        "goal=words",
        "+encoders.goal.module.normalise=true",
        f"encoders.goal.module.width={model['lang_feat_dim']}",
        f"cameras=[{','.join(cameras(settings))}]",
        f"steps={model['sequence_length']}",
        f"dim={model['hidden_size']}",
        f"image_size={model['_image_size']}",
        f"patch={model['_patch_size']}",
        f"trunk.depth={model['n_layer']}",
        f"trunk.heads={model['n_head']}",
        f"trunk.activation={model['activation_function']}",
        f"layout.context.image={len(cameras(settings)) * resampler['num_latents']}",
        *(f"encoders.image.module.{key}={width}" for key in ("width", "vit.width", "resample.width")),
        f"encoders.image.module.vit.depth={mae['depth']}",
        f"encoders.image.module.vit.heads={mae['num_heads']}",
        f"encoders.image.module.resample.latents={resampler['num_latents']}",
        f"encoders.image.module.resample.depth={resampler['depth']}",
        f"encoders.image.module.resample.heads={resampler['heads']}",
        f"encoders.image.module.resample.head_dim={resampler['dim_head']}",
    ]
    if "act_pred" not in settings["training_target"]:
        change.append("action=none")
    if not frames:
        return [*change, "foresight=none"]
    listed = ",".join(f"[foresight,{camera}]" for camera in frames)
    targets = ",".join(f"[target,pixels,{camera}]" for camera in frames)
    return [
        *change,
        f"layout.queries.foresight={queries * len(frames)}",
        f"heads.foresight.module.cameras=[{','.join(frames)}]",
        f"heads.foresight.writes=[{listed}]",
        f"losses.foresight.reads=[{listed},{targets},future_is_pad]",
        f"losses.foresight.module.normalise={not settings['without_norm_pixel_loss']}",
    ]


def build(case: Path) -> Policy:
    """Build the case's policy and load the recorded weights, strictly but for what this mode never computes."""
    settings, state = golden.config(case), load_file(case / "state.safetensors")
    settings.setdefault("without_norm_pixel_loss", False)
    queries = len(state["obs_queries.weight"]) if "obs_queries.weight" in state else 1
    policy = Policy(load_recipe("gr1_calvin", *overrides(settings, queries=queries)))
    policy.encoders["goal"].tower = golden.TableTower(state["model_clip.table"])
    own = policy.state_dict()
    frozen = {
        f"encoders.image.vit.vit.{name.removeprefix('model_mae.')}": tensor
        for name, tensor in state.items()
        if name.startswith("model_mae.")
    }
    weights = {name: tensor for name, tensor in from_gr1(state).items() if name in own or not _idle(name, settings)}
    if foreseen(settings) == ["primary"]:
        weights["trunk.queries.foresight"] = weights["trunk.queries.foresight"][:queries]
    load_strictly(policy, weights | frozen, source=str(case))
    return policy.eval()


def _idle(name: str, settings: dict) -> bool:
    """Whether the official model keeps this tensor without using it in the case's mode."""
    unused = [] if foreseen(settings) else ["heads.foresight.", "trunk.queries.foresight"]
    unused += [] if "act_pred" in settings["training_target"] else ["heads.action.", "trunk.queries.action"]
    unused += [] if settings["use_hand_rgb"] else ["encoders.image.image.wrist", "encoders.image.summary.wrist"]
    return name.startswith(tuple(unused)) if unused else False


def official_order(policy: Policy) -> Tensor:
    """Return, for every place of the official sequence of one step, which of our tokens stands there.

    Context as the layout interleaves it, then the action's query, then those of each camera's future.
    """
    layout = policy.layout
    context = sum(layout.context.values())
    order = [layout.places()[:context].argsort()]
    slots = layout.slots()
    order += [torch.arange(slots[name].start, slots[name].stop) for name in ("action", "foresight") if name in slots]
    return torch.cat(order)
