"""Check a batch before it reaches the parts, so that errors speak of keys and shapes, not of matrix products."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

import torch
from tensordict import TensorDictBase
from torch import Tensor

from seerkit import keys

if TYPE_CHECKING:
    from seerkit.policy import Policy


def check_inputs(policy: Policy, td: TensorDictBase, *, longer: bool = False) -> None:
    """Check what a forward pass reads.

    Args:
        policy: says what it reads.
        td: the batch.
        longer: whether rows may be longer than the policy's history.

    Raises:
        KeyError: if a key is missing; names it, what is there, and the nearest.
        ValueError: if images are not uint8 ``(B, T, 3, H, W)``, histories differ or are too long, or a goal's picture
            or state has a time axis or is not finite.
    """
    _require(td, policy.inputs)
    steps: set[int] = set()
    for name in policy.cameras:
        steps.add(_check_image(td, keys.under(keys.IMAGE, name), td.batch_size))
    if keys.STATE in policy.inputs:
        state = td[keys.STATE]
        if state.dim() != 3 or not state.is_floating_point():
            raise ValueError(f"{keys.STATE}: expected float (B, T, S), got {state.dtype} {tuple(state.shape)}")
        _check_finite(state, f"{keys.STATE}: expected finite numbers")
        steps.add(state.shape[1])
    for key in policy.inputs:
        _check_goal(td, key)
    if len(steps) > 1 or (max(steps) > policy.steps and not longer):
        raise ValueError(f"expected one history of 1..{policy.steps} steps for every input, got {sorted(steps)}")


def check_targets(policy: Policy, td: TensorDictBase) -> None:
    """Check what the losses read beside the predictions.

    Raises:
        KeyError: if a key is missing.
        ValueError: if chunk, padding, future frames or depth do not have the recipe's shape, or depth is not in whole
            millimetres (uint16).
    """
    _require(td, policy.training_inputs)
    batch, steps = td.batch_size[0], td[keys.under(keys.IMAGE, policy.cameras[0])].shape[1]
    needed = set(policy.training_inputs)
    expected: dict[keys.NestedKey, tuple[int, ...]] = {}
    if keys.TARGET_CHUNK in needed:
        chunk, action_dim = policy.recipe.config["chunk"], td[keys.TARGET_CHUNK].shape[-1]
        expected[keys.TARGET_CHUNK] = (batch, steps, chunk, action_dim)
        expected[keys.ACTION_IS_PAD] = (batch, steps, chunk)
        _check_finite(td[keys.TARGET_CHUNK], f"{keys.TARGET_CHUNK}: expected finite actions")
    if keys.FUTURE_IS_PAD in needed:
        expected[keys.FUTURE_IS_PAD] = (batch, steps)
    if keys.STEP_IS_PAD in set(td.keys()):
        expected[keys.STEP_IS_PAD] = (batch, steps)
    for key, shape in expected.items():
        if tuple(td[key].shape) != shape:
            raise ValueError(f"{key}: expected shape {shape}, got {tuple(td[key].shape)}")
    for name in policy.cameras:
        key = keys.under(keys.FUTURE, name)
        if key in needed and (frames := _check_image(td, key, td.batch_size)) != policy.ahead:
            raise ValueError(f"{key}: expected {policy.ahead} frames after the window, got {frames}")
        counts = {keys.under(keys.DEPTH, name): steps, keys.under(keys.FUTURE_DEPTH, name): policy.ahead}
        _check_depth(td, {key: count for key, count in counts.items() if key in needed})


def _check_finite(value: Tensor, expected: str) -> None:
    """Look for NaN and infinity, but not on an accelerator, which everybody would have to wait for.

    A store's numbers are checked when they are recorded; what else goes wrong shows in the loss.
    """
    if value.device.type == "cpu" and not torch.isfinite(value).all():
        raise ValueError(f"{expected}, got NaN or infinity")


def _check_goal(td: TensorDictBase, key: keys.NestedKey) -> None:
    """Check one input if it is a goal's picture or state."""
    if key[:2] == keys.GOAL_IMAGE:
        image = td[key]
        if image.dtype != torch.uint8 or image.dim() != 4 or image.shape[1] != 3:
            raise ValueError(f"{key}: expected uint8 (B, 3, H, W), got {image.dtype} {tuple(image.shape)}")
    if key == keys.GOAL_STATE:
        state = td[key]
        if state.dim() != 2 or not state.is_floating_point():
            raise ValueError(f"{key}: expected float (B, S), got {state.dtype} {tuple(state.shape)}")
        _check_finite(state, f"{key}: expected finite numbers")


def _check_image(td: TensorDictBase, key: keys.NestedKey, batch: torch.Size) -> int:
    image = td[key]
    if image.dtype != torch.uint8 or image.dim() != 5 or image.shape[2] != 3:
        raise ValueError(f"{key}: expected uint8 (B, T, 3, H, W), got {image.dtype} {tuple(image.shape)}")
    if image.shape[:1] != batch:
        raise ValueError(f"{key}: expected a batch of {tuple(batch)}, got {tuple(image.shape[:1])}")
    return image.shape[1]


def _check_depth(td: TensorDictBase, counts: Mapping[keys.NestedKey, int]) -> None:
    """Check one camera's depth: as many frames as ``counts`` says, all of one size."""
    size: tuple[int, ...] = ()
    for key, count in counts.items():
        depth = td[key]
        if depth.dtype != torch.uint16 or depth.dim() != 5 or depth.shape[2] != 1:
            raise ValueError(f"{key}: expected uint16 (B, T, 1, H, W), got {depth.dtype} {tuple(depth.shape)}")
        size = size or tuple(depth.shape[-2:])
        if tuple(depth.shape) != (shape := (td.batch_size[0], count, 1, *size)):
            raise ValueError(f"{key}: expected shape {shape}, got {tuple(depth.shape)}")


def _require(td: TensorDictBase, needed: Collection[keys.NestedKey]) -> None:
    known = set(td.keys(include_nested=True))
    for key in needed:
        if key not in known:
            near = difflib.get_close_matches(str(key), map(str, known), n=1, cutoff=0.5)
            hint = f"; nearest: {near[0]}" if near else ""
            raise KeyError(f"the batch lacks {key!r}{hint}; it holds {sorted(map(str, known))}")
