"""Batches of the right shape with nothing in them: for checks, descriptions and tests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from tensordict import TensorDict

from seerkit import keys
from seerkit.recipe import Recipe


def sample_batch(recipe: Recipe, *, batch: int, steps: int | None = None, targets: bool = True) -> TensorDict:
    """Return random windows as a data set would give them for this recipe (see `seerkit.keys`).

    Args:
        recipe: says which cameras, how many steps, how long a chunk, how many future frames.
        batch: rows.
        steps: steps of the window; the recipe's by default.
        targets: also what only training reads.

    Example:
        >>> from seerkit import load_recipe
        >>> sample_batch(load_recipe("seer_tabletop"), batch=2)["target", "chunk"].shape[2:]
        torch.Size([3, 7])
    """
    config = recipe.config
    steps = int(steps or config["steps"])
    size, ahead, chunk = config["image_size"], recipe.ahead, config["chunk"]
    td = TensorDict({}, batch_size=[batch])
    for name in config["cameras"]:
        td[keys.under(keys.IMAGE, name)] = _frames(batch, steps, size)
        if targets and ahead:
            td[keys.under(keys.FUTURE, name)] = _frames(batch, ahead, size)
    td[keys.STATE] = torch.randn(batch, steps, _state_size(recipe))
    td.set_non_tensor(keys.INSTRUCTION, [f"reach block {row}" for row in range(batch)])
    for key in _goals(recipe):
        td[key] = torch.randn(batch, _goal_size(recipe)) if key == keys.GOAL_STATE else _frames(batch, 1, size)[:, 0]
    if targets:
        chunks = torch.rand(batch, steps, chunk, 7) * 2 - 1
        td[keys.TARGET_CHUNK] = torch.cat([chunks[..., :-1], chunks[..., -1:].sign()], dim=-1)
        td[keys.ACTION_IS_PAD] = torch.zeros(batch, steps, chunk, dtype=torch.bool)
        td[keys.FUTURE_IS_PAD] = torch.zeros(batch, steps, dtype=torch.bool)
    return td


def _frames(batch: int, count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (batch, count, 3, size, size), dtype=torch.uint8)


def _goals(recipe: Recipe) -> list[keys.NestedKey]:
    """Return which pictures and states to be reached the recipe's encoders read."""
    read = [tuple(key) for part in recipe.config["encoders"].values() for key in part["reads"] if key[0] == "goal"]
    return [key for key in dict.fromkeys(read) if key == keys.GOAL_STATE or key[:2] == keys.GOAL_IMAGE]


def _state_size(recipe: Recipe) -> int:
    return _size(recipe.config["encoders"].get("state", {}).get("module", {}))


def _goal_size(recipe: Recipe) -> int:
    return _size(recipe.config["encoders"]["goal"]["module"].get("encoder", {}))


def _size(encoder: Mapping[str, Any]) -> int:
    return 6 + (2 if encoder.get("gripper") == "widths" else 1)
