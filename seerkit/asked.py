"""What an agent is asked to reach: goals read from observations, and which of them are new."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seerkit import keys

Asked = dict[keys.NestedKey, Any]
"""By key: one sentence per row, or a tensor with one picture or state per row."""


def read_goal(
    observation: Mapping[str, Any], wanted: Collection[keys.NestedKey], *, rows: int, single: bool
) -> dict[keys.NestedKey, Tensor]:
    """Read the pictures and states to be reached from ``observation["goal"]``.

    Args:
        observation: holds ``{"goal": {"image": {camera: uint8 (B, 3, H, W)}, "state": (B, S)}}``, as far as wanted.
        wanted: keys the policy reads; those of no picture or state to be reached are passed over.
        rows: ``B``.
        single: whether the observation has no leading axis.

    Shape:
        returns: uint8 ``(B, 3, H, W)`` per picture, float32 ``(B, S)`` for the state.

    Raises:
        KeyError: if an entry is missing; names it and what is there.
        ValueError: if a shape or type is wrong, or the state is not finite.
    """
    goal: dict[keys.NestedKey, Tensor] = {}
    for key in wanted:
        is_image = key[:2] == keys.GOAL_IMAGE
        if not is_image and key != keys.GOAL_STATE:
            continue
        name, axes = " ".join(map(str, key)), 3 if is_image else 1
        entry = _entry(observation, key)
        value = entry.cpu() if isinstance(entry, Tensor) else torch.as_tensor(np.asarray(entry))
        value = value[None] if single else value
        if value.dim() != axes + 1 or len(value) != rows:
            raise ValueError(f"{name}: expected {rows} rows of {axes} axes, got shape {tuple(value.shape)}")
        if is_image and (value.dtype != torch.uint8 or value.shape[1] != 3):
            raise ValueError(f"{name}: expected uint8 (B, 3, H, W), got {value.dtype} {tuple(value.shape)}")
        goal[key] = value if is_image else value.float()
        if not is_image and not torch.isfinite(goal[key]).all():
            raise ValueError(f"{name}: expected finite numbers, got NaN or infinity")
    return goal


def changed_rows(new: Asked, old: Asked, *, rows: int) -> list[int]:
    """Return the rows whose goal is not what it was; all of them if there was none."""
    changed = torch.zeros(rows, dtype=torch.bool)
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, Tensor):
            same_size = isinstance(before, Tensor) and before.shape == value.shape
            changed |= (value != before).flatten(1).any(dim=1) if same_size else torch.ones_like(changed)
        else:
            changed |= torch.tensor([before is None or word != before[row] for row, word in enumerate(value)])
    return changed.nonzero().flatten().tolist()


def _entry(observation: Mapping[str, Any], key: keys.NestedKey) -> Any:  # noqa: ANN401 - whatever was observed
    found: Any = observation
    for depth, part in enumerate(key):
        if not isinstance(found, Mapping) or part not in found:
            holder = "".join(f"[{name!r}]" for name in key[:depth])
            there = sorted(found) if isinstance(found, Mapping) else type(found).__name__
            raise KeyError(f"the policy's goal is {key!r}, but observation{holder} lacks {part!r}; it holds {there}")
        found = found[part]
    return found
