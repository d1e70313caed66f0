"""Everything that can change a success rate, written down beside it."""

import hashlib
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerkit.fingerprint import weights_hash
from seerkit.recipe import foresight_ahead

if TYPE_CHECKING:
    from seerkit.policy import Policy

PACKAGES = (
    "seerkit",
    "torch",
    "tensordict",
    "torchrl",
    "timm",
    "open_clip_torch",
    "numpy",
    "pillow",
    "gymnasium",
    "mujoco",
    "franky-sim",
    "pybullet",
    "robosuite",
    "hf-libero",
)
WEIGHTS = "model.safetensors"
MEANING = ("state", "fps", "action_scale", "gripper")
"""What a recipe's ``data`` section and an environment both say about their numbers; null says nothing."""


def provenance(
    policy: "Policy",
    *,
    checkpoint: Path | None = None,
    protocol: Mapping[str, Any],
    environments: Mapping[str, Mapping[str, Any]] | None = None,
) -> dict[str, Any]:
    """Describe a policy, how it was run and on what, in plain values for a report.

    Args:
        policy: what acted.
        checkpoint: the folder it was loaded from, if any.
        protocol: environments, seeds, episodes, workers: see `seerkit.eval.evaluate.Plan.to_dict`.
        environments: task -> what its environment says of itself: see `seerkit.eval.seat.Seat.described`.
    """
    said = environments or {}
    config = policy.recipe.config
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "recipe": {
            "name": policy.recipe.name,
            "hash": policy.recipe.hash,
            "overrides": list(policy.recipe.overrides),
            "config": config,
        },
        "weights": {
            "sha256": weights_hash(policy.state_dict()),
            "file_sha256": file_hash(checkpoint / WEIGHTS) if checkpoint else None,
            "checkpoint": str(checkpoint) if checkpoint else None,
        },
        "protocol": dict(protocol),
        "execution": execution(policy),
        "image_pipeline": {
            "frames": {task: dict(one["frames"]) for task, one in said.items()},
            **(config.get("pixels") or {}),
        },
        "conventions": conventions(config, said),
        "settings": {task: dict(one.get("settings") or {}) for task, one in said.items()},
        "renderer": {**renderer(), "environments": {task: one["renderer"] for task, one in said.items()}},
        "simulators": {task: one["simulator"] for task, one in said.items() if one.get("simulator")},
        "versions": versions(),
        "machine": machine(),
    }


def execution(policy: "Policy") -> dict[str, Any]:
    """Say how predictions become actions: ensembler, executed steps, chunk, sampler, history, device."""
    config = policy.recipe.config
    parameter = next(policy.parameters())
    return {
        "ensemble": config.get("ensemble"),
        "chunk": config.get("chunk"),
        "history_steps": config.get("steps"),
        "foresight_ahead": foresight_ahead(config),
        "actions_per_prediction": (config.get("ensemble") or {}).get("replan_interval", 1),
        "sampler": sampler(config),
        "device": str(parameter.device),
        "dtype": str(parameter.dtype).removeprefix("torch."),
    }


def sampler(config: Mapping[str, Any]) -> dict[str, Any] | None:
    """Say how an action head that samples does it; None for a head that computes its answer."""
    head = (config.get("heads") or {}).get("action")
    if head is None or all(key[0] != "noise" for key in head["reads"]):
        return None
    settings = {name: value for name, value in head["module"].items() if isinstance(value, bool | int | float | str)}
    return {**settings, "noise": "standard normal, drawn per episode from the episode's seed"}


def conventions(config: Mapping[str, Any], environments: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """State units, frames and signs of actions, state and images: what is promised, and what either side says."""
    data = config.get("data") or {}
    said = {task: {name: one.get(name) for name in MEANING} for task, one in environments.items()}
    return {**contracted(environments), "policy": {name: data.get(name) for name in MEANING}, "environments": said}


def mismatches(config: Mapping[str, Any], environments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Name every number that means one thing to the policy and another in an environment, one sentence each."""
    told, own = [], conventions(config, environments)
    for name, meant in own["policy"].items():
        for task, said in own["environments"].items():
            if meant is not None and said[name] is not None and meant != said[name]:
                told.append(f"{name}: the recipe means {meant!r}, the environment {task} gives {said[name]!r}.")
    return told


def contracted(environments: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """State what every environment of seerkit promises, and the axes and rate of those that were played."""
    from seerkit.envs import contract

    axes = sorted({str(one.get("axes", contract.AXES)) for one in environments.values()}) or [contract.AXES]
    rates = sorted({float(one.get("fps", contract.CONTROL_HZ)) for one in environments.values()})
    return {
        "action": f"6 relative pose numbers along the {' or '.join(axes)}, from the last commanded pose, times "
        f"{contract.MAX_TRANSLATION} m and {contract.MAX_ROTATION} rad (extrinsic xyz Euler), then the gripper",
        "gripper": f"{contract.GRIPPER_OPEN:+g} open, {contract.GRIPPER_CLOSED:+g} closed",
        "state": "tool position in m in the base frame, extrinsic xyz Euler angles in rad, gripper",
        "image": "uint8 RGB, channels first, first row at the top",
        "control_hz": rates[0] if len(rates) == 1 else rates or contract.CONTROL_HZ,
    }


def renderer() -> dict[str, Any]:
    """Say what drew the frames: the GL library chosen and, where it can be asked, the device behind it."""
    library = os.environ.get("MUJOCO_GL")
    if not library:
        return {"library": None, "device": None}
    from seerkit.envs.tabletop.render import probe

    return {"library": library, "device": probe(library)}


def versions() -> dict[str, str | None]:
    """Give the version of every package that can change a number; None if it is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def machine() -> dict[str, Any]:
    """Describe operating system, processor and accelerator."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "system": platform.platform(),
        "processor": platform.machine(),
        "cpus": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "torch_threads": torch.get_num_threads(),
        "accelerator": torch.cuda.get_device_name() if cuda else None,
    }


def file_hash(path: Path) -> str | None:
    """Return the sha256 of a file, None if it is not there."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
