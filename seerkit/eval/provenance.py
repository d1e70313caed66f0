"""Everything that can change a success rate, written down beside it."""

import hashlib
import os
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerkit.recipe import foresight_ahead

if TYPE_CHECKING:
    from torch import Tensor

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
    "hf-libero",
)
WEIGHTS = "model.safetensors"


def provenance(policy: "Policy", *, checkpoint: Path | None = None, protocol: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a policy, how it was run and on what, in plain values for a report.

    Args:
        policy: what acted.
        checkpoint: the folder it was loaded from, if any.
        protocol: environments, seeds, episodes, workers: see `seerkit.eval.evaluate.Plan.to_dict`.
    """
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
        "image_pipeline": config.get("pixels"),
        "conventions": conventions(),
        "renderer": renderer(),
        "versions": versions(),
        "machine": machine(),
    }


def execution(policy: "Policy") -> dict[str, Any]:
    """Say how predictions become actions: ensembler, chunk, history, device."""
    config = policy.recipe.config
    parameter = next(policy.parameters())
    return {
        "ensemble": config.get("ensemble"),
        "chunk": config.get("chunk"),
        "history_steps": config.get("steps"),
        "foresight_ahead": foresight_ahead(config),
        "actions_per_prediction": (config.get("ensemble") or {}).get("replan_interval", 1),
        "device": str(parameter.device),
        "dtype": str(parameter.dtype).removeprefix("torch."),
    }


def conventions() -> dict[str, Any]:
    """State units, frames and signs of actions, state and images."""
    from seerkit.envs import contract

    return {
        "action": f"6 relative pose numbers in the last commanded tool frame, times {contract.MAX_TRANSLATION} m and "
        f"{contract.MAX_ROTATION} rad (extrinsic xyz Euler), then the gripper",
        "gripper": f"{contract.GRIPPER_OPEN:+g} open, {contract.GRIPPER_CLOSED:+g} closed",
        "state": "tool position in m in the base frame, extrinsic xyz Euler angles in rad, gripper",
        "image": "uint8 RGB, channels first, first row at the top",
        "control_hz": contract.CONTROL_HZ,
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


def weights_hash(weights: Mapping[str, "Tensor"]) -> str:
    """Return sha256 over names, types, shapes and bytes of all tensors in order of their names.

    It depends on neither the file format nor the device.
    """
    import torch

    digest = hashlib.sha256()
    for name in sorted(weights):
        tensor = weights[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def file_hash(path: Path) -> str | None:
    """Return the sha256 of a file, None if it is not there."""
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
