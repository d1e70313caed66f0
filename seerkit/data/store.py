"""A store: recorded episodes as memory-mapped arrays, one file per key.

```
store/
  store.json             format, counts, conventions
  episodes.jsonl         one line per episode: start, length, instruction, success, seed, task
  steps/                 what `TensorDict.load_memmap(store / "steps")` reads: all steps of all episodes, end to end
    observation/image/<camera>.memmap    uint8   (N, 3, H, W), the camera's own size
    observation/depth/<camera>.memmap    uint16  (N, 1, H, W), millimetres, 0 = nothing measured; if recorded
    observation/state.memmap             float32 (N, S)
    action.memmap                        float32 (N, A)
    is_init.memmap                       bool    (N, 1)
```
Opening reads no frame; a window is one contiguous copy per camera.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seerkit import keys

FORMAT = "seerkit-store"
VERSION = 1
META = "store.json"
TABLE = "episodes.jsonl"
STEPS = "steps"


class StoreError(RuntimeError):
    """A store that is missing, truncated or inconsistent, or data that does not fit into one."""


@dataclasses.dataclass(frozen=True)
class Conventions:
    """Say what the numbers in a store mean; two stores can be merged only when these are equal.

    Args:
        cameras: each camera's frame as ``(channels, height, width)``.
        state: name and unit of each state entry.
        action: name of each action entry.
        action_scale: metres and radians that an arm entry of 1 stands for.
        gripper: which sign opens the gripper.
        frame_rate: steps per second.
        depth: whether every camera also measured depth, at the size of its frames.
    """

    cameras: Mapping[str, tuple[int, int, int]]
    state: tuple[str, ...] = ("x [m]", "y [m]", "z [m]", "rx [rad]", "ry [rad]", "rz [rad]", "gripper")
    action: tuple[str, ...] = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
    action_scale: tuple[float, float] = (0.02, 0.05)
    gripper: str = "+1 open, -1 closed"
    frame_rate: float = 15.0
    depth: bool = False

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Conventions:
        """Rebuild conventions from their JSON form (lists become tuples)."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        values["cameras"] = {name: tuple(size) for name, size in fields["cameras"].items()}
        return cls(**values)

    def arrays(self) -> dict[tuple[str, ...], tuple[torch.dtype, tuple[int, ...]]]:
        """Return dtype and shape of one step for every array of the store."""
        arrays: dict[tuple[str, ...], tuple[torch.dtype, tuple[int, ...]]] = {
            keys.under(keys.IMAGE, name): (torch.uint8, tuple(size)) for name, size in self.cameras.items()
        }
        if self.depth:
            for name, size in self.cameras.items():
                arrays[keys.under(keys.DEPTH, name)] = (torch.uint16, (1, *size[1:]))
        arrays[keys.STATE] = (torch.float32, (len(self.state),))
        arrays[keys.ACTION,] = (torch.float32, (len(self.action),))
        arrays[keys.IS_INIT,] = (torch.bool, (1,))
        return arrays


@dataclasses.dataclass(frozen=True)
class Episode:
    """Locate one episode in the arrays and say what it shows.

    Args:
        start: row of its first step.
        length: number of steps.
        instruction: the sentence the robot was given.
        success: whether the episode ended in success (one cut short by a change of goal did not).
        seed: seed of the reset it came from; episodes with one seed share their layout.
        task: where it was recorded, for example a gymnasium id.
    """

    start: int
    length: int
    instruction: str
    success: bool = True
    seed: int | None = None
    task: str = ""


class Store:
    """Open a store and map its arrays into memory; changes to the tensors never reach the disk.

    Attributes:
        conventions: what the numbers mean.
        episodes: the table, in the order of the arrays.
        frames: uint8 ``(N, 3, H, W)`` per camera.
        depth: uint16 ``(N, 1, H, W)`` millimetres per camera; empty if none was recorded.
        state: float32 ``(N, S)``.
        action: float32 ``(N, A)``.

    Raises:
        StoreError: the folder is not a store, or a file has another size than its table says.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        meta = _read_meta(self.path)
        self.conventions = Conventions.read(meta["conventions"])
        self.episodes = _read_table(self.path / TABLE, episodes=meta["episodes"], steps=meta["steps"])
        self._steps = int(meta["steps"])
        arrays = {key: self._map(key, *kind) for key, kind in self.conventions.arrays().items()}
        self.frames = {name: arrays[keys.under(keys.IMAGE, name)] for name in self.conventions.cameras}
        self.depth = {name: arrays[keys.under(keys.DEPTH, name)] for name in self.frames if self.conventions.depth}
        self.state = arrays[keys.STATE]
        self.action = arrays[keys.ACTION,]

    def __len__(self) -> int:
        return self._steps

    def __repr__(self) -> str:
        cameras = ", ".join(f"{name} {size[1]}x{size[2]}" for name, size in self.conventions.cameras.items())
        return f"Store({str(self.path)!r}: {len(self.episodes)} episodes, {len(self)} steps, {cameras})"

    @property
    def instructions(self) -> list[str]:
        """The distinct instructions, sorted."""
        return sorted({episode.instruction for episode in self.episodes})

    def episode(self, index: int) -> dict[tuple[str, ...], Tensor]:
        """Return one episode's arrays as views, by key."""
        chosen = self.episodes[index]
        rows = slice(chosen.start, chosen.start + chosen.length)
        views = {keys.under(keys.IMAGE, name): frames[rows] for name, frames in self.frames.items()}
        views |= {keys.under(keys.DEPTH, name): depth[rows] for name, depth in self.depth.items()}
        return {**views, keys.STATE: self.state[rows], (keys.ACTION,): self.action[rows]}

    def _map(self, key: tuple[str, ...], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        file = array_file(self.path, key)
        expected = self._steps * math.prod(shape) * dtype.itemsize
        given = file.stat().st_size if file.is_file() else None
        if given != expected:
            found = "it is missing" if given is None else f"it has {given}"
            raise StoreError(f"{file} must have {expected} bytes ({self._steps} steps of {shape} {dtype}); {found}")
        flat = torch.from_file(str(file), shared=False, size=self._steps * math.prod(shape), dtype=dtype)
        return flat.view(self._steps, *shape)


def array_file(path: Path, key: tuple[str, ...]) -> Path:
    """Return the file that holds the array of ``key`` in the store at ``path``."""
    return path.joinpath(STEPS, *key[:-1], f"{key[-1]}.memmap")


def _read_meta(path: Path) -> dict[str, Any]:
    file = path / META
    if not file.is_file():
        raise StoreError(f"{path} is not a store: it has no {META}")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise StoreError(f"{file} is not valid JSON: {error}") from error
    if meta.get("format") != FORMAT or meta.get("version") != VERSION:
        given = (meta.get("format"), meta.get("version"))
        raise StoreError(f"{file}: expected format {(FORMAT, VERSION)}, got {given}")
    missing = {"steps", "episodes", "conventions"} - meta.keys()
    if missing:
        raise StoreError(f"{file} lacks {sorted(missing)}")
    return meta


def _read_table(file: Path, *, episodes: int, steps: int) -> list[Episode]:
    if not file.is_file():
        raise StoreError(f"{file} is missing; it must list {episodes} episodes")
    try:
        table = [Episode(**json.loads(line)) for line in file.read_text(encoding="utf-8").splitlines()]
    except (json.JSONDecodeError, TypeError) as error:
        raise StoreError(f"{file}: line is not an episode: {error}") from error
    if len(table) != episodes:
        raise StoreError(f"{file} must list {episodes} episodes, it lists {len(table)}")
    expected = 0
    for index, episode in enumerate(table):
        if episode.start != expected or episode.length < 1:
            raise StoreError(f"{file}: episode {index} must start at step {expected}, got {episode}")
        expected += episode.length
    if expected != steps:
        raise StoreError(f"{file}: the episodes must add up to {steps} steps, they have {expected}")
    return table
