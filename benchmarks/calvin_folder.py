"""A CALVIN folder of made-up steps whose pictures are as hard to compress as CALVIN's renders.

Pictures: a wooden table with flat boards and a white floor, shaded blocks and an arm of discs that move; in the wrist's
view the table is nearer. The grain is set so that zlib and JPEG (quality 95, 4:4:4) shrink them as they shrink frames
rendered from CALVIN's own assets: zlib 0.44 and 0.27 of the raw size (static, gripper), JPEG 0.20 and 0.20, which
`benchmarks/data.py` prints beside its own. Depth is as rough as a 24-bit depth buffer, so that a file has 230 kB; the
published files of CALVIN ABC have 288 kB on average.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

SIDES = {"rgb_static": 200, "rgb_gripper": 84}
LOOK = {"rgb_static": (12.0, 0.65, 9), "rgb_gripper": (0.3, 0.2, 5)}
"""Roughness of the wood's fibres and of its single pixels, in levels, and how many discs move before it."""
SENTENCES = ("push the red block to the left", "open the drawer", "lift the pink block", "turn on the light bulb")
SPAN = 64


def write_calvin(folder: Path, *, steps: int, seed: int = 0) -> Path:
    """Write one episode of ``steps`` files, with a sentence for every 64 steps, and return its folder."""
    training = folder / "training"
    training.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    pictures = {name: _pictures(np.random.default_rng([seed, side]), side, *LOOK[name]) for name, side in SIDES.items()}
    motion = np.cumsum(rng.normal(0, 0.01, (steps, 15)), axis=0)
    for step in range(steps):
        arrays = {name: next(frames) for name, frames in pictures.items()}
        arrays |= {f"depth_{name.removeprefix('rgb_')}": _depth(rng, frame) for name, frame in arrays.items()}
        arrays |= {"rgb_tactile": _touch(rng)}
        arrays |= {"depth_tactile": np.zeros((160, 120, 2), np.float32), "scene_obs": rng.normal(size=24)}
        state = np.append(motion[step, :14], 1.0 if step // 40 % 2 else -1.0)
        action = np.append(rng.uniform(-1, 1, 6), state[-1])
        arrays |= {"robot_obs": state, "rel_actions": action, "actions": state[:7] + 0.01}
        np.savez_compressed(training / f"episode_{step:07d}.npz", allow_pickle=False, **arrays)
    np.save(training / "ep_start_end_ids.npy", np.array([[0, steps - 1]]))
    spans = [(start, min(start + SPAN, steps - 1)) for start in range(0, steps - 20, SPAN)]
    texts = [SENTENCES[index % len(SENTENCES)] for index in range(len(spans))]
    notes = {"language": {"ann": texts, "task": texts}, "info": {"episodes": [], "indx": spans}}
    (training / "lang_annotations").mkdir()
    np.save(training / "lang_annotations" / "auto_lang_ann.npy", np.array(notes), allow_pickle=True)
    return folder


def _pictures(rng: np.random.Generator, side: int, fibre: float, pixel: float, discs: int) -> Iterator[np.ndarray]:
    """Draw one picture after another, uint8 ``(side, side, 3)``."""
    row, column = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    wood = _wood(rng, row, column, fibre, pixel)
    place = rng.uniform(-0.7, 0.7, (discs, 2))
    colour, radius = rng.uniform(30, 255, (discs, 3)), rng.uniform(0.06, 0.22, discs)
    while True:
        place = np.clip(place + rng.normal(0, 0.01, place.shape), -1, 1)
        picture = wood.copy()
        for (x, y), size, paint in zip(place, radius, colour, strict=True):
            inside = 1 - ((column - x) ** 2 + (row - y) ** 2) / size**2
            light = 0.4 + 0.6 * np.sqrt(np.clip(inside, 0, None))
            picture = np.where(inside[..., None] > 0, np.rint(paint * light[..., None]), picture)
        yield picture.clip(0, 255).astype(np.uint8)


def _wood(rng: np.random.Generator, row: np.ndarray, column: np.ndarray, fibre: float, pixel: float) -> np.ndarray:
    """Return the still part of the scene."""
    side = len(row)
    fibres = np.repeat(rng.normal(0, fibre, (side, -(-side // 4))), 4, axis=1)[:, :side]
    board = np.floor(3 * (row + 0.3 * column)) % 2
    table = np.array([150.0, 110, 70]) + (18 * board + 10 * column + fibres)[..., None] * np.array([1, 0.85, 0.6])
    table += rng.normal(0, pixel, table.shape)
    floor = 225 + 12 * ((np.floor(4 * row) + np.floor(4 * column)) % 2)
    return np.where((row > -0.75)[..., None] & (np.abs(column) < 0.85)[..., None], np.rint(table), floor[..., None])


def _touch(rng: np.random.Generator) -> np.ndarray:
    """Return both fingers' lit gel, with a sensor's noise, uint8 ``(160, 120, 6)``."""
    light = 120 + np.linspace(0, 80, 160)[:, None, None] * np.array([1, 0.3, 0, 0, 0.3, 1])
    return np.rint(light + rng.normal(0, 0.3, (160, 120, 6))).astype(np.uint8)


def _depth(rng: np.random.Generator, picture: np.ndarray) -> np.ndarray:
    """Return metres that follow the picture, rough in their last bits."""
    far = 4 + picture[..., 0] / 256
    return (far + rng.normal(0, 0.02, far.shape)).astype(np.float32)
