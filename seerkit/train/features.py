"""Keep what a frozen image encoder makes of every frame of a data set, in a folder beside it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seerkit import keys
from seerkit.data.files import fresh_folder, write_text
from seerkit.data.rows import take
from seerkit.data.source import Source, StoreError
from seerkit.fingerprint import weights_hash

if TYPE_CHECKING:
    from seerkit.policy import Policy

META = "features.json"
FRAMES = 16
"""Frames encoded at a time."""


class HalfRows:
    """Rows of bf16 numbers in a file, mapped into memory.

    Args:
        file: the numbers, row after row.
        shape: ``(N, ...)``.
    """

    dtype = torch.bfloat16

    def __init__(self, file: Path, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self._bits = torch.from_numpy(np.memmap(file, dtype=np.int16, mode="c", shape=shape))

    def take(self, rows: Tensor) -> Tensor:
        """Return a copy of some rows: ``(*rows.shape, ...)``."""
        return take(self._bits, rows).view(torch.bfloat16)


def features_folder(policy: Policy, source: Source) -> Path:
    """Return where the features of a data set's frames belong: beside it, named by all that decides what they are.

    That is the encoder's weights, how frames are prepared, and which episodes there are.

    Raises:
        StoreError: the policy's features are not the same at every look: its image encoder learns, it has none that can
            be told features, or its frames are shifted at random.
    """
    encoder, pixels = _encoder(policy), policy.recipe.config["pixels"]
    shifted = [name for name in policy.cameras if pixels[name].get("shift")]
    if shifted:
        off = " ".join(f"pixels.{name}.shift=0" for name in shifted)
        raise StoreError(f"recipe {policy.recipe.name!r} shifts frames at random; features can be kept with: {off}")
    episodes = [dataclasses.asdict(episode) for episode in source.episodes]
    decides = [weights_hash(encoder.vit.state_dict()), [pixels[name] for name in policy.cameras], episodes]
    number = hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]
    path = Path(source.path)
    return path.with_name(f"{path.name}.features") / number


def build_features(
    policy: Policy,
    source: Source,
    *,
    device: torch.device | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,  # noqa: ARG005 - says nothing
) -> Path:
    """Encode every frame of a data set and write the features, in bf16; returns their folder.

    A folder that is complete is left as it is. One frame of ViT-B/16 takes 303 kB.

    Args:
        policy: whose encoder; moved to ``device``.
        source: recorded episodes.
        device: where to encode, by bf16 autocast on an accelerator; where the policy is, if not given.
        progress: is told how many frames are done, of how many.

    Raises:
        StoreError: see `features_folder`.
    """
    folder = features_folder(policy, source)
    if folder.is_dir():
        return folder
    if device is not None:
        policy.to(device)
    steps = sum(episode.length for episode in source.episodes)
    total, shapes = steps * len(policy.cameras), {}
    with fresh_folder(folder) as draft:
        for index, name in enumerate(policy.cameras):
            out: np.memmap | None = None
            for first in range(0, steps, FRAMES):
                found = _encode(
                    policy, name, take(source.frames[name], torch.arange(first, min(first + FRAMES, steps)))
                )
                if out is None:
                    shapes[name] = [steps, *found.shape[1:]]
                    out = np.memmap(draft / f"{name}.bf16", dtype=np.int16, mode="w+", shape=tuple(shapes[name]))
                out[first : first + len(found)] = found.numpy()
                progress(index * steps + first + len(found), total)
            if out is not None:
                out.flush()
        write_text(draft / META, json.dumps({"format": "seerkit-features", "version": 1, "shapes": shapes}) + "\n")
    return folder


def open_features(policy: Policy, source: Source) -> dict[keys.NestedKey, HalfRows]:
    """Open what `build_features` wrote, by key of a batch.

    Raises:
        StoreError: there are none, or they are shorter than they say; see also `features_folder`.
    """
    folder = features_folder(policy, source)
    if not (folder / META).is_file():
        raise StoreError(
            f"no features of this encoder, preparation and data in {folder}; build them once: "
            f"seerkit features {policy.recipe.name} --data {source.path}"
        )
    shapes: Mapping[str, list[int]] = json.loads((folder / META).read_text(encoding="utf-8"))["shapes"]
    for name, shape in shapes.items():
        size, file = 2 * int(np.prod(shape)), folder / f"{name}.bf16"
        if not file.is_file() or file.stat().st_size != size:
            raise StoreError(f"{file} does not have the {size} bytes it should; remove {folder} and build it again")
    return {
        keys.under(keys.FEATURES, name): HalfRows(folder / f"{name}.bf16", tuple(shape))
        for name, shape in shapes.items()
    }


@torch.no_grad()
def _encode(policy: Policy, camera: str, frames: Tensor) -> Tensor:
    """Return the features of frames ``(n, 3, H, W)``, the bits of bf16 as int16, on the CPU."""
    device = next(policy.parameters()).device
    was_training = policy.training
    try:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type != "cpu"):
            pixels = policy.eval().pixels[camera](frames[None].to(device))[0]
            features = _encoder(policy).vit(pixels)
    finally:
        policy.train(was_training)
    return features.bfloat16().cpu().contiguous().view(torch.int16)


def _encoder(policy: Policy) -> Any:  # noqa: ANN401 - whatever turns frames into tokens
    """Return the policy's image encoder, if what it makes of a frame can be kept."""
    encoder: Any = next((part for part in policy.encoders.values() if hasattr(part, "from_features")), None)
    if encoder is None or any(parameter.requires_grad for parameter in encoder.vit.parameters()):
        raise StoreError(f"recipe {policy.recipe.name!r} has no frozen image encoder whose features could be kept")
    return encoder
