"""How good foresight of features or depth is, beside repeating the present; pixels are compared in `validate`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from seerkit import keys
from seerkit.loss import cosines, depth_error
from seerkit.recipe import foresight_target

if TYPE_CHECKING:
    from seerkit.policy import Policy

METRICS = {"features": "cosine", "depth": "depth_error"}
"""What is measured for each kind of foresight that is no picture: mean cosine, or mean error in metres."""


def unseen(policy: Policy | nn.Module) -> str:
    """Return what a policy foresees if that is no picture, else an empty string."""
    recipe: Any = policy.recipe
    kind = foresight_target(recipe.config)
    return kind if kind in METRICS else ""


@torch.no_grad()
def foreseen_sums(policy: Policy, batch: TensorDictBase, *, kind: str) -> dict[str, float]:
    """Add up the metric of foresight and of a copy over the frames that exist, and count these, per camera.

    The copy is the present frame's own target: its features, or its depth.
    """
    out = policy.rehearse(batch)
    exists = ~out[keys.FUTURE_IS_PAD]
    still = _standing_still(policy, out)
    sums = {}
    for camera in policy.cameras:
        said, target = out[keys.under(keys.FORESIGHT, camera)], out["target", kind, camera]
        copy = still["target", kind, camera][:, : target.shape[1]]
        values = {"": _compare(said, target, kind), "_copy": _compare(_as_said(copy, kind), target, kind)}
        for suffix, value in values.items():
            sums[f"{METRICS[kind]}{suffix} {camera}"] = float(value[exists].sum())
        sums[f"frames {camera}"] = float(exists.sum())
    return sums


def foreseen_means(sums: Mapping[str, float]) -> dict[str, float]:
    """Turn the sums of all batches into ``val_<metric>_<camera>`` and ``val_<metric>_copy_<camera>``."""
    means = {}
    for name, value in sums.items():
        kind, _, camera = name.partition(" ")
        if kind.removesuffix("_copy") in METRICS.values() and sums[f"frames {camera}"]:
            means[f"val_{kind}_{camera}"] = value / sums[f"frames {camera}"]
    return means


def _standing_still(policy: Policy, out: TensorDictBase) -> TensorDictBase:
    """Make the targets again as if nothing moved: the present frame stands where the future one was."""
    still = out.copy()
    for camera in policy.cameras:
        still[keys.under(keys.TARGET_PIXELS, camera)] = out[keys.under(keys.PIXELS, camera)]
        if (depth := keys.under(keys.FUTURE_DEPTH, camera)) in still.keys(include_nested=True):
            still[depth] = still[depth][:, :0]
    for name, stage in policy.training_stages.items():
        if name.startswith("target_"):
            still = stage(still)
    return still


def _as_said(target: Tensor, kind: str) -> Tensor:
    """Bring a target to the form of a prediction: depth is predicted as a logarithm."""
    return target.clamp(min=1e-3).log() if kind == "depth" else target


def _compare(said: Tensor, target: Tensor, kind: str) -> Tensor:
    return depth_error(said, target) if kind == "depth" else cosines(said, target)[0]
