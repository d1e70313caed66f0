"""Tell from a checkpoint's shapes which recipe it belongs to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from seerkit.convert.official import OtherModelError, System, absent_parts, carry
from seerkit.convert.read import WeightsError
from seerkit.recipe import Recipe, list_recipes, load_recipe

if TYPE_CHECKING:
    from seerkit.policy import Policy


def skeleton(recipe: Recipe) -> Policy:
    """Build a policy without numbers: names, shapes and types only, in a moment and without memory."""
    from seerkit.policy import Policy

    with torch.device("meta"):
        return Policy(recipe)


def fitting_recipe(official: Mapping[str, Tensor], system: System) -> str:
    """Return the name of the only recipe whose policy has exactly these tensors.

    Recipes that build the same policy and differ in data or training alone (with and without pre-training, say) count
    as one.

    Raises:
        WeightsError: if several fit that build different policies; names them. If none fits: with the nearest one's
            table of differences.
    """
    groups = _candidates(official, system)
    misfits: list[tuple[int, str]] = []
    fitting: list[str] = []
    for names in groups:
        name = _plainest(names)
        policy = skeleton(load_recipe(name))
        if absent_parts(policy):  # would fit, but leave official tensors without use
            continue
        try:
            carry(official, policy, system)
            fitting.append(name)
        except OtherModelError:
            continue
        except WeightsError as error:
            misfits.append((str(error).count("\n"), str(error)))
    if len(fitting) > 1:
        raise WeightsError(f"these tensors fit {' and '.join(sorted(fitting))}; say which with --recipe")
    if not fitting:
        sizes = ", ".join(f"{key} {size}" for key, size in _sizes(official, system).items())
        nearest = f"; the nearest: {min(misfits)[1]}" if misfits else ""
        raise WeightsError(f"no recipe fits these tensors ({sizes}); name one with --recipe{nearest}")
    return fitting[0]


def _candidates(official: Mapping[str, Tensor], system: System) -> list[list[str]]:
    """Return the recipes that agree best in width, steps and depth, those that build the same policy together."""
    wanted = _sizes(official, system)
    groups: dict[int, dict[str, list[str]]] = {}
    for name in list_recipes():
        if not name.startswith(system.recipes):  # neither another model's nor an ablation
            continue
        structure, sizes, benchmark = _known(name)
        if benchmark == "any" or not _classes(name) <= _classes(system.original):  # a base of others, or our own idea
            continue
        alike = sum(size == wanted[key] for key, size in sizes.items())
        groups.setdefault(alike, {}).setdefault(structure, []).append(name)
    best = max((alike for alike in groups if alike), default=None)
    return [] if best is None else [*groups[best].values()]


@cache
def _known(name: str) -> tuple[str, dict[str, int | None], str | None]:
    from seerkit.describe import structure

    recipe = load_recipe(name)
    config = recipe.config
    sizes = {"dim": config.get("dim"), "steps": config.get("steps"), "depth": config["trunk"].get("depth")}
    return structure(recipe), sizes, config["meta"].get("benchmark")


@cache
def _classes(name: str) -> frozenset[str]:
    """Return the classes a recipe's policy is built of."""
    flat, built = load_recipe(name).flat(), ("encoders.", "targets.", "trunk.", "heads.")
    return frozenset(str(value) for key, value in flat.items() if key.startswith(built) and key.endswith("_target_"))


def _plainest(names: list[str]) -> str:
    return min(names, key=lambda name: (name.endswith("_scratch"), len(name), name))


def _sizes(official: Mapping[str, Tensor], system: System) -> dict[str, int | None]:
    """Read width, steps and depth off the tensors, through our names for them."""
    sizes: dict[str, int | None] = {"dim": None, "steps": None, "depth": None}
    blocks = set()
    for name, tensor in official.items():
        try:
            ours = system.table.our_name(name) or ""
        except KeyError:
            continue
        if ours == "trunk.time":
            sizes["steps"] = max(tensor.shape[:-1], default=None)
        elif ours == "trunk.final.weight":
            sizes["dim"] = tensor.shape[-1]
        elif ours.startswith("trunk.blocks."):
            blocks.add(int(ours.split(".")[2]))
    sizes["depth"] = max(blocks, default=-1) + 1
    return sizes
