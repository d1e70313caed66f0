"""Ask a policy about one moment: what it foresees, how good that is, and what its actions look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tensordict import TensorDictBase
from torch import Tensor, nn

from seerkit import keys
from seerkit.camera import CameraTokens
from seerkit.eval.quality import psnr, ssim
from seerkit.viz.attention import attention, by_group
from seerkit.viz.spread import spread

if TYPE_CHECKING:
    from seerkit.policy import Policy
    from seerkit.viz.moment import Moment

OVER = "The episode, or the part of it that belongs to the sentence, was over before what is foreseen could come."
Frame = np.ndarray
"""uint8 ``(3, S, S)``, as the vision encoder is shown it."""


@dataclass(frozen=True)
class Likeness:
    """How near a frame is to the one that came: PSNR in dB, SSIM, and the mean error in levels of 255."""

    psnr: float
    ssim: float
    error: float


@dataclass(frozen=True)
class CameraView:
    """One camera at the moment.

    Args:
        now: what it showed.
        predicted: the frame foreseen, None if the policy foresees no pictures.
        real: the frame that came, None if the episode was over.
        foreseen: how near ``predicted`` is to ``real``.
        repeated: how near ``now`` is to ``real``: what knowing nothing of the future would score.
        attention: ``(rows, columns)``, share of the action queries' attention per patch of ``now``; None if it cannot
            be told where in the picture the tokens are from.
    """

    now: Frame
    predicted: Frame | None
    real: Frame | None
    foreseen: Likeness | None
    repeated: Likeness | None
    attention: np.ndarray | None


@dataclass(frozen=True)
class View:
    """What `look` found.

    Args:
        cameras: by name.
        shares: per token group, how much of their attention the action queries give to it at this step and at others.
        notes: what could not be shown, and why.
    """

    cameras: Mapping[str, CameraView]
    shares: Mapping[str, tuple[float, float]]
    notes: tuple[str, ...]


@torch.no_grad()
def look(policy: Policy, moment: Moment, *, block: int = -1) -> View:
    """Encode the moment's window, read what the policy foresees and recompute what its action queries attend to.

    Frames are compared as the vision encoder sees them: resized, and cut to a square if the recipe does so.

    Args:
        policy: put into evaluation mode.
        moment: see `seerkit.viz.moment`.
        block: the trunk's block whose attention is shown, see `attention`.

    Raises:
        ValueError: if there is no such block.
    """
    policy.eval()
    td = moment.td.to(next(policy.parameters()).device)
    encoded = policy.encode(td)
    tokens = {name: encoded[keys.under(keys.TOKENS, name)] for name in policy.layout.context}
    predicted, untold = _foresight(policy, moment, encoded, tokens)
    shares, maps, unseen = _attention(policy, encoded, tokens, at=moment.at, block=block)
    cameras = {}
    for name in policy.cameras:
        now = _levels(policy, name, encoded[keys.under(keys.PIXELS, name)][0, moment.at])
        real = _shown(policy, name, moment.later[name]) if name in moment.later else None
        guess = predicted.get(name)
        cameras[name] = CameraView(now, guess, real, _like(guess, real), _like(now, real), maps.get(name))
    late = () if moment.later or not moment.ahead else (OVER,)
    return View(cameras, shares, (*untold, *late, *unseen))


def action_group(policy: Policy) -> str | None:
    """Return which query group the action head reads; None if there is no action head, or it reads none."""
    head = policy.recipe.config["heads"].get("action") or {"reads": []}
    return next((str(key[1]) for key in head["reads"] if key[0] == keys.HIDDEN[0]), None)


def _foresight(
    policy: Policy,
    moment: Moment,
    encoded: TensorDictBase,
    tokens: Mapping[str, Tensor],
) -> tuple[dict[str, Frame], tuple[str, ...]]:
    if not policy.pictures:
        what = policy.recipe.foresees
        return {}, (f"The policy foresees {what}, no pictures." if what else "The policy foresees nothing.",)
    out = policy.read(tokens, heads=["foresight"], at=[moment.at])
    frames = {}
    for name in policy.cameras:
        patches, pixels = out[keys.under(keys.FORESIGHT, name)][0, 0], encoded[keys.under(keys.PIXELS, name)][0]
        frames[name] = policy.picture(name, patches, pixels[moment.at]).cpu().numpy()
    goal_is_there = moment.at + policy.goal_ahead < moment.td[keys.under(keys.IMAGE, policy.cameras[0])].shape[1]
    if goal_is_there:
        return frames, ()
    return frames, (
        f"Foresight was trained with the state {policy.goal_ahead} steps later as its goal; here it had none.",
    )


def _attention(
    policy: Policy,
    encoded: TensorDictBase,
    tokens: Mapping[str, Tensor],
    *,
    at: int,
    block: int,
) -> tuple[dict[str, tuple[float, float]], dict[str, np.ndarray], tuple[str, ...]]:
    """Return the shares per group, a map per camera, and what cannot be told."""
    group = action_group(policy)
    if group is None:
        return {}, {}, ("The policy has no action queries, so there is no attention of theirs.",)
    try:
        weights = attention(policy.trunk, tokens, query=group, at=at, block=block)
    except TypeError as error:
        return {}, {}, (f"No attention: {error}.",)
    slots = policy.layout.slots()
    shares = by_group(weights, slots, at=at)
    found = _image_tokens(policy)
    if found is None:
        return shares, {}, ("No token stands for a place in a picture: attention is told per group only.",)
    name, module = found
    pixels = [encoded[keys.under(keys.PIXELS, camera)][:, at : at + 1] for camera in module.cameras]
    own = weights.mean(dim=(0, 1, 2))[at, slots[name]]
    maps, unplaced = _maps(module, pixels, own)
    told = (f"Tokens of {', '.join(unplaced)} stand for no place in the picture.",) if unplaced else ()
    return shares, maps, told


def _image_tokens(policy: Policy) -> tuple[str, CameraTokens] | None:
    """Find the group of image tokens and the encoder that makes it."""
    for name, part in policy.recipe.config["encoders"].items():
        module = policy.encoders[name]
        written = [
            str(key[1]) for key in part["writes"] if key[0] == keys.TOKENS[0] and key[1] in policy.layout.context
        ]
        if isinstance(module, CameraTokens) and module.resample is not None:
            return written[0], module
    return None


def _maps(module: CameraTokens, pixels: list[Tensor], weights: Tensor) -> tuple[dict[str, np.ndarray], list[str]]:
    """Bring the attention of image tokens back to the patches they were made of, camera by camera."""
    maps, unplaced, first = {}, [], 0
    for camera, frames in zip(module.cameras, pixels, strict=True):
        patches = module.vit(frames.flatten(0, 1))[:, 1:]
        resample = module.resample[camera] if isinstance(module.resample, nn.ModuleDict) else module.resample
        count = resample(patches).shape[1]  # pyright: ignore[reportOptionalCall]
        own, first = weights[first : first + count], first + count
        made_of = spread(resample, patches)  # pyright: ignore[reportArgumentType]
        side = round(patches.shape[1] ** 0.5)
        if made_of is None or side * side != patches.shape[1]:
            unplaced.append(camera)
        else:
            maps[camera] = (own @ made_of[0]).reshape(side, side).cpu().numpy()
    return maps, unplaced


def _shown(policy: Policy, camera: str, frame: Tensor) -> Frame:
    pixels = policy.pixels[camera](frame[None, None].to(next(policy.parameters()).device))
    return _levels(policy, camera, pixels[0, 0])


def _levels(policy: Policy, camera: str, pixels: Tensor) -> Frame:
    return policy.pixels[camera].levels(pixels).cpu().numpy()  # pyright: ignore[reportCallIssue]


def _like(guess: Frame | None, real: Frame | None) -> Likeness | None:
    if guess is None or real is None:
        return None
    one, other = guess.transpose(1, 2, 0), real.transpose(1, 2, 0)
    return Likeness(psnr(one, other), ssim(one, other), float(np.abs(one.astype(float) - other).mean()))
