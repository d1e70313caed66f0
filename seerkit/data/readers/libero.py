"""LIBERO files: one HDF5 file of demonstrations per task (Liu et al., 2023)."""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import json
import os
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seerkit.data.conventions import OPEN_IS_MINUS, STATES, Conventions
from seerkit.data.rows import Recent, Rows
from seerkit.data.source import Episode, Source, StoreError

if TYPE_CHECKING:
    import h5py

LOOKS = "a file of demonstrations ending in .hdf5, or a folder of them"
CAMERAS = {"primary": "obs/agentview_rgb", "wrist": "obs/eye_in_hand_rgb"}
NUMBERS = {"state": (("obs/ee_states", 6), ("obs/gripper_states", 2)), "action": (("actions", 7),)}
OPEN_FILES = 32
"""How many files stay open at most; a suite has up to 90."""

LOOKED_AT = 1000
"""How many entries of a folder are looked at to tell whether it is a suite."""

_SCENE = re.compile(r"^[A-Z_]+_SCENE\d+_")
_DEMO = "_demo"


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    if not path.is_dir():
        return path.is_file() and path.suffix == ".hdf5"
    with os.scandir(path) as entries:  # a folder of CALVIN has millions
        return any(entry.name.endswith(".hdf5") for entry in itertools.islice(entries, LOOKED_AT))


def read(path: Path) -> Source:
    """Open one task's file, or a folder of them (a suite), in place.

    Everything is as LIBERO recorded it, because released weights were trained on that: pictures as OpenGL renders
    them, upside down (Seer does not turn them either); a state of position, rotation vector and both fingers; actions
    for LIBERO's controller, 1 = 0.05 m or 0.5 rad, with -1 to open and +1 to close the gripper; 20 steps a second.

    Sentences are those of LIBERO's benchmark, which it takes from the name of the task's file, and so does Seer. (The
    sentence that the files hold inside, ``problem_info``, is another one for 34 of the 130 tasks; it is used only
    where a file's name is not LIBERO's.) `Episode.task` is the file's name.

    Raises:
        StoreError: a file is damaged, lacks a field, or differs from the first one in the size of its pictures.
    """
    files = sorted(path.glob("*.hdf5")) if path.is_dir() else [path]
    opened = _Files()
    demos: list[_Demo] = []
    episodes: list[Episode] = []
    for file in files:
        for demo in opened.demos(file):
            start = episodes[-1].end if episodes else 0
            episodes.append(Episode(start, demo.length, demo.sentence, task=file.stem))
            demos.append(demo)
    if not demos:
        raise StoreError(f"{path}: no demonstration in {len(files)} .hdf5 files")
    conventions = Conventions(
        cameras=_cameras(demos),
        state=STATES["axis_angle_fingers"],
        action_scale=(0.05, 0.5),
        gripper=OPEN_IS_MINUS,
        frame_rate=20.0,
    )
    table = _Table(opened, demos, np.array([episode.start for episode in episodes]))
    steps = episodes[-1].end
    frames: dict[str, Tensor | Rows] = {
        name: _DemoRows(table, ((field, 0),), shape=(steps, *conventions.cameras[name]), dtype=torch.uint8)
        for name, field in CAMERAS.items()
    }
    state, action = (
        _DemoRows(table, fields, shape=(steps, sum(width for _, width in fields)), dtype=torch.float32)
        for fields in NUMBERS.values()
    )
    return Source(
        path=path,
        format="libero",
        conventions=conventions,
        episodes=episodes,
        frames=frames,
        state=state,
        action=action,
    )


@dataclasses.dataclass(frozen=True)
class _Demo:
    """One demonstration: where it is, what it shows."""

    file: Path
    group: str
    length: int
    sentence: str
    sizes: Mapping[str, tuple[int, ...]]


class _Files:
    """Open files as they are needed and keep some of them open; one thread reads at a time, as in h5py itself."""

    def __init__(self) -> None:
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._kept: Recent[Path, h5py.File] = Recent(_open, size=OPEN_FILES)

    @contextlib.contextmanager
    def use(self, path: Path) -> Iterator[Any]:
        """Hand out a file, to nobody else meanwhile; a forked process opens its own."""
        if self._process != os.getpid():
            _Files.__init__(self)
        with self._lock, _named(path):
            yield self._kept(path)

    def demos(self, path: Path) -> list[_Demo]:
        """List a file's demonstrations, by number, after a look at the shapes of their arrays."""
        with self.use(path) as file:
            data: Any = file.get("data")
            if not hasattr(data, "keys"):
                raise StoreError(f"{path}: lacks the group data; it has {sorted(file)}")
            sentence = _sentence(path, data.attrs)
            names = sorted(data, key=lambda name: _number(path, name))
            return [_look(path, f"data/{name}", data[name], sentence) for name in names]

    def __reduce__(self) -> tuple[type[_Files], tuple[()]]:
        return _Files, ()


def _open(path: Path) -> h5py.File:
    import h5py

    return h5py.File(path, "r", locking="best-effort")


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn what h5py says about damage into an error that names the file."""
    try:
        yield
    except StoreError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise StoreError(f"{path}: cannot be read as HDF5, it may be truncated: {error}") from error


def _number(path: Path, name: str) -> int:
    kind, _, number = name.rpartition("_")
    if kind != "demo" or not number.isdigit():
        raise StoreError(f"{path}: data must hold demo_0, demo_1, ..., got {name!r}")
    return int(number)


def _sentence(path: Path, about: Mapping[str, Any]) -> str:
    """Return what the benchmark says for a file, else what is written inside it."""
    if path.stem.endswith(_DEMO):
        return _SCENE.sub("", path.stem.removesuffix(_DEMO)).replace("_", " ").lower()
    try:
        inside = json.loads(about["problem_info"])["language_instruction"]
    except (KeyError, ValueError, TypeError) as error:
        raise StoreError(
            f"{path}: expected a name such as open_the_drawer{_DEMO}.hdf5, or data's attribute problem_info with a "
            f"language_instruction: {error!r}"
        ) from error
    return inside if isinstance(inside, str) else "".join(inside)


def _look(path: Path, name: str, demo: Any, sentence: str) -> _Demo:  # noqa: ANN401 - a group of h5py
    """Check the shapes of a demonstration's arrays, without reading them."""
    actions = _array(path, name, demo, "actions")
    length = len(actions) if actions.ndim else 0
    if length < 1:
        raise StoreError(f"{path}: {name}/actions must have at least one step, got shape {actions.shape}")
    for field, width in (pair for pairs in NUMBERS.values() for pair in pairs):
        array = _array(path, name, demo, field)
        if array.shape != (length, width) or array.dtype.kind != "f":
            given = f"{array.shape} {array.dtype}"
            raise StoreError(f"{path}: {name}/{field} must be {(length, width)} floating point, got {given}")
    sizes = {}
    for camera, field in CAMERAS.items():
        array = _array(path, name, demo, field)
        if array.ndim != 4 or array.shape[::3] != (length, 3) or array.dtype != np.uint8:
            given = f"{array.shape} {array.dtype}"
            raise StoreError(f"{path}: {name}/{field} must be ({length}, H, W, 3) uint8, got {given}")
        sizes[camera] = (3, *array.shape[1:3])
    return _Demo(path, name, length, sentence, sizes)


def _array(path: Path, name: str, demo: Any, field: str) -> h5py.Dataset:  # noqa: ANN401 - a group of h5py
    array = demo.get(field) if hasattr(demo, "get") else None
    if array is None or not hasattr(array, "shape"):
        found = sorted(demo.get("obs", demo)) if hasattr(demo, "keys") else "no group"
        raise StoreError(f"{path}: {name} lacks {field}; it has {found}")
    return array


def _cameras(demos: Sequence[_Demo]) -> dict[str, tuple[int, int, int]]:
    first = demos[0]
    for demo in demos:
        if demo.sizes != first.sizes:
            raise StoreError(
                f"{demo.file}: {demo.group} has pictures of {dict(demo.sizes)}, {first.file} of {dict(first.sizes)}"
            )
    return {name: (size[0], size[1], size[2]) for name, size in first.sizes.items()}


class _Table:
    """Find a row's demonstration and read spans of it."""

    def __init__(self, files: _Files, demos: Sequence[_Demo], starts: np.ndarray) -> None:
        self._files, self._demos, self._starts = files, demos, starts

    def runs(self, rows: np.ndarray) -> Iterator[tuple[int, int, int]]:
        """Yield ``(demonstration, first, end)`` of the runs that ascending rows form; steps count from its start."""
        place = np.searchsorted(self._starts, rows, side="right") - 1
        breaks = np.flatnonzero((np.diff(rows) != 1) | (np.diff(place) != 0)) + 1
        for run in np.split(np.arange(len(rows)), breaks):
            number = int(place[run[0]])
            first = int(rows[run[0]] - self._starts[number])
            yield number, first, first + len(run)

    def read(self, number: int, first: int, end: int, fields: Sequence[tuple[str, int]]) -> np.ndarray:
        """Read steps ``first .. end - 1`` of some arrays, side by side.

        Raises:
            StoreError: the file is damaged or a number is not finite.
        """
        demo = self._demos[number]
        with self._files.use(demo.file) as file:
            parts = [np.asarray(file[f"{demo.group}/{field}"][first:end]) for field, _ in fields]
        for part, (field, _) in zip(parts, fields, strict=True):
            if part.dtype.kind == "f" and not np.isfinite(part).all():
                step = first + int(np.argwhere(~np.isfinite(part))[0, 0])
                row = part[step - first].tolist()
                raise StoreError(f"{demo.file}: {demo.group}/{field} must be finite, got {row} at step {step}")
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=-1)


class _DemoRows:
    """Rows of an array that lies in many demonstrations."""

    def __init__(
        self, table: _Table, fields: Sequence[tuple[str, int]], *, shape: tuple[int, ...], dtype: torch.dtype
    ) -> None:
        self._table, self._fields, self.shape, self.dtype = table, fields, shape, dtype

    def take(self, rows: Tensor) -> Tensor:
        """Read some rows, each once, neighbours together."""
        if not rows.numel():
            return torch.empty(*rows.shape, *self.shape[1:], dtype=self.dtype)
        distinct, place = np.unique(rows.numpy(), return_inverse=True)
        parts = [self._table.read(*run, self._fields) for run in self._table.runs(distinct)]
        read = torch.from_numpy(np.concatenate(parts))
        if len(self.shape) == 4:
            read = read.permute(0, 3, 1, 2)
        return read.to(self.dtype)[torch.from_numpy(place.ravel())].reshape(*rows.shape, *self.shape[1:])
