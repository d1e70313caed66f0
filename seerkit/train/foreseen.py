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

    The copy is the present frame's own target: its features, or its depth. Depth is compared where it was measured, for
    the copy in both frames; a frame without such a pixel counts for nothing.
    """
    out = policy.rehearse(batch)
    exists = ~out[keys.FUTURE_IS_PAD]
    still = _standing_still(policy, out)
    sums = {}
    for camera in policy.cameras:
        said, target = out[keys.under(keys.FORESIGHT, camera)], out["target", kind, camera]
        copy = still["target", kind, camera][:, : target.shape[1]]
        for suffix, (guess, truth) in {"": (said, target), "_copy": _repeated(copy, target, kind)}.items():
            counts = exists & _measured(truth, kind)
            sums[f"{METRICS[kind]}{suffix} {camera}"] = float(_compare(guess, truth, kind)[counts].sum())
            sums[f"frames{suffix} {camera}"] = float(counts.sum())
    return sums


def foreseen_means(sums: Mapping[str, float]) -> dict[str, float]:
    """Turn the sums of all batches into ``val_<metric>_<camera>`` and ``val_<metric>_copy_<camera>``."""
    means = {}
    for name, value in sums.items():
        kind, _, camera = name.partition(" ")
        metric = kind.removesuffix("_copy")
        if metric in METRICS.values() and (frames := sums[f"frames{kind.removeprefix(metric)} {camera}"]):
            means[f"val_{kind}_{camera}"] = value / frames
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


def _repeated(copy: Tensor, target: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """Bring a copy to the form of a prediction, log metres for depth, beside the target where the copy knows any."""
    if kind != "depth":
        return copy, target
    known = copy > 0
    return torch.where(known, copy, 1.0).log(), torch.where(known, target, 0.0)


def _measured(target: Tensor, kind: str) -> Tensor:
    """Say which frames ``(B, T)`` have anything to be compared."""
    known = target > 0 if kind == "depth" else torch.ones_like(target, dtype=torch.bool)
    return known.flatten(2).any(dim=-1)


def _compare(said: Tensor, target: Tensor, kind: str) -> Tensor:
    return depth_error(said, target) if kind == "depth" else cosines(said, target)[0]
