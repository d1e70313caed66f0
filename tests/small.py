"""Any recipe at a size that builds and trains in a moment."""

from __future__ import annotations

from seerkit import Policy, load_recipe
from seerkit.recipe import Recipe

SMALL = {
    "dim": 32,
    "image_size": 32,
    "patch": 8,
    "trunk.depth": 2,
    "trunk.heads": 4,
    "encoders.image.module.width": 32,
    "encoders.image.module.vit.width": 32,
    "encoders.image.module.vit.depth": 1,
    "encoders.image.module.vit.heads": 4,
    "encoders.image.module.resample.width": 32,
    "encoders.image.module.resample.depth": 1,
    "encoders.image.module.resample.heads": 2,
    "encoders.image.module.resample.head_dim": 8,
    "heads.foresight.module.depth": 1,
    "heads.foresight.module.heads": 4,
    "pixels.primary.shift": 2,
    "pixels.wrist.shift": 2,
}


def small_recipe(name: str, *overrides: str) -> Recipe:
    """The recipe with its own structure and tiny sizes; only what it has is changed."""
    known = load_recipe(name, *overrides).flat()
    shrink = [f"{key}={value}" for key, value in SMALL.items() if key in known]
    config = load_recipe(name, *overrides).config
    resample, cameras = config["encoders"]["image"]["module"]["resample"], len(config["cameras"])
    if "Perceiver" not in str(resample) and "MeanPool" not in str(resample):  # patches are tokens: 4 x 4 of them now
        shrink.append(f"layout.context.image={cameras * (32 // 8) ** 2}")
    return load_recipe(name, *overrides, *shrink)


def small_policy(name: str, *overrides: str) -> Policy:
    """Build `small_recipe`."""
    return Policy(small_recipe(name, *overrides))
