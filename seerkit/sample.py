"""Batches of the right shape with nothing in them: for checks, descriptions and tests."""

from __future__ import annotations

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
    if targets:
        chunks = torch.rand(batch, steps, chunk, 7) * 2 - 1
        td[keys.TARGET_CHUNK] = torch.cat([chunks[..., :-1], chunks[..., -1:].sign()], dim=-1)
        td[keys.ACTION_IS_PAD] = torch.zeros(batch, steps, chunk, dtype=torch.bool)
        td[keys.FUTURE_IS_PAD] = torch.zeros(batch, steps, dtype=torch.bool)
    return td


def _frames(batch: int, count: int, size: int) -> torch.Tensor:
    return torch.randint(0, 256, (batch, count, 3, size, size), dtype=torch.uint8)


def _state_size(recipe: Recipe) -> int:
    state = recipe.config["encoders"].get("state", {}).get("module", {})
    return 6 + (2 if state.get("gripper") == "widths" else 1)
