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
    "feature": 32,
    "encoders.image.module.vit.depth": 1,
    "encoders.image.module.vit.heads": 4,
    "encoders.image.module.resample.depth": 1,
    "encoders.image.module.resample.heads": 2,
    "encoders.image.module.resample.head_dim": 8,
    "encoders.image.module.resample.hidden": 8,
    "heads.action.module.denoiser.depth": 1,
    "heads.action.module.denoiser.heads": 4,
    "heads.action.module.bins": 16,
    "heads.foresight.module.depth": 1,
    "heads.foresight.module.heads": 4,
    "targets.features.module.size": 32,
    "pixels.primary.shift": 2,
    "pixels.wrist.shift": 2,
}

TINY = {"resnet50": ("test_resnet", 96), "vit_base": ("test_vit", 64)}
"""Architectures of timm and their features, in the place of those whose names begin so."""


def tiny(model: str) -> tuple[str, int]:
    """Name a tiny architecture of timm of the same kind, and the size of its features."""
    return next(small for begins, small in TINY.items() if model.startswith(begins))


def small_recipe(name: str, *overrides: str) -> Recipe:
    """The recipe with its own structure and tiny sizes; only what it has is changed."""
    known = load_recipe(name, *overrides).flat()
    sizes = {key: value for key, value in SMALL.items() if key in known}
    if model := known.get("encoders.image.module.vit.model"):
        sizes["encoders.image.module.vit.model"], sizes["feature"] = tiny(model)
    if model := known.get("targets.features.module.encoder.model"):
        place = "targets.features.module.encoder"
        sizes[f"{place}.model"], sizes[f"{place}.width"] = tiny(model)
        sizes["heads.foresight.module.patch"] = 16
    shrink = [f"{key}={value}" for key, value in sizes.items()]
    config = load_recipe(name, *overrides).config
    resample, cameras = config["encoders"]["image"]["module"]["resample"], len(config["cameras"])
    if "KeepPatches" in str(resample):  # patches are tokens: 4 x 4 of them now
        shrink.append(f"layout.context.image={cameras * (32 // 8) ** 2}")
    return load_recipe(name, *overrides, *shrink)


def small_policy(name: str, *overrides: str) -> Policy:
    """Build `small_recipe`."""
    return Policy(small_recipe(name, *overrides))
