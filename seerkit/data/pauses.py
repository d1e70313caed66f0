"""Leave out the steps at which nothing happens, without losing the little that does."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from seerkit.data.rows import take
from seerkit.data.source import Source, StoreError

TRANSLATION = 5e-4
"""Metres along an axis, as in Seer's filter of real-robot data."""

ROTATION = 1.25e-3
"""Radians about an axis: of the largest step of 0.05 rad the same share as `TRANSLATION` is of 0.02 m."""

BLOCK = 1 << 16


def without_pauses(source: Source, *, translation: float = TRANSLATION, rotation: float = ROTATION) -> Source:
    """Leave pauses out of a source; see `moving`.

    The motion of the steps left out is added to the next step that stays, so that the commands still lead to the same
    places: what the motions would have been, had the pause not been recorded. (They are added up as vectors; composed
    as motions they differ by the product of what was left out and one step, less than 0.1 mm and 0.2 mrad.)

    Raises:
        StoreError: the source has no actions, or nothing ever moves.
    """
    return thinned(source, *moving(source, translation=translation, rotation=rotation))


def thinned(source: Source, kept: Tensor, carried: Tensor) -> Source:
    """Leave steps out of a source and give the others new actions, as `moving` tells both."""
    return dataclasses.replace(source.only(kept), action=carried[kept])


def moving(source: Source, *, translation: float = TRANSLATION, rotation: float = ROTATION) -> tuple[Tensor, Tensor]:
    """Tell the steps that move from pauses.

    A step stays if the gripper is told something new, or if all motion since the last step that stayed reaches a
    threshold along or about some axis: slow motion is thinned out and never lost. The rest at an episode's end stays
    as it is, because it shows what it means to be done.

    Seer's filter (``filter_real_data``) looks at single steps and at translation alone: it drops turns on the spot, and
    the motion of what it drops. Its threshold and its treatment of the end are the same.

    Args:
        source: recorded episodes, with motions as actions.
        translation: metres along an axis.
        rotation: radians about an axis.

    Returns:
        Which steps stay, and the actions they then should have.

    Shape:
        returns: bool ``(N,)`` and float32 ``(N, A)``; rows of steps left out mean nothing.

    Raises:
        StoreError: the source has no actions.
        ValueError: a threshold is not positive.
    """
    if source.action is None:
        raise StoreError(f"{source.path} has no actions, so pauses cannot be told")
    if translation <= 0 or rotation <= 0:
        raise ValueError(f"translation and rotation must be above 0, got {translation} and {rotation}")
    metres, radians = source.conventions.scale
    least = torch.tensor([translation / metres] * 3 + [rotation / radians] * 3, dtype=torch.float64)
    kept = torch.zeros(len(source), dtype=torch.bool)
    carried = actions(source).clone()
    for episode in source.episodes:
        rows = slice(episode.start, episode.end)
        kept[rows] = _thin(carried[rows], least)
    return kept, carried


def actions(source: Source) -> Tensor:
    """Read all actions of a source, a block at a time.

    Shape:
        returns: float32 ``(N, A)``.
    """
    if source.action is None:
        raise StoreError(f"{source.path} has no actions")
    if isinstance(source.action, Tensor):
        return source.action
    return torch.cat([take(source.action, rows) for rows in torch.arange(len(source)).split(BLOCK)])


def _thin(action: Tensor, least: Tensor) -> Tensor:
    """Choose the steps of one episode that stay and let them carry what the others moved, in place.

    Shape:
        action: ``(L, A)``, arm motion, then the gripper; changed.
        least: ``(6,)``, the thresholds in units of the action.
        returns: bool ``(L,)``.
    """
    told, motions, limits = action[:, 6], action[:, :6].double().tolist(), least.tolist()
    news = torch.cat([torch.zeros(1, dtype=torch.bool), told[1:] != told[:-1]]).tolist()
    waiting, kept = [0.0] * 6, torch.zeros(len(action), dtype=torch.bool)
    for step, (new, motion) in enumerate(zip(news, motions, strict=True)):
        waiting = [before + now for before, now in zip(waiting, motion, strict=True)]
        if new or any(abs(moved) >= limit for moved, limit in zip(waiting, limits, strict=True)):
            kept[step] = True
            action[step, :6] = torch.tensor(waiting)
            waiting = [0.0] * 6
    last = int(kept.nonzero()[-1]) if kept.any() else -1
    kept[last + 1 :] = True
    return kept
