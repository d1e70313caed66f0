"""CALVIN folders: one ``.npz`` file per step of play, and sentences for some spans of it (Mees et al., 2022)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from seerkit.data.conventions import OPEN_IS_PLUS, STATES, Conventions
from seerkit.data.depth import to_millimetres
from seerkit.data.npz import read_npy, read_npz, read_object
from seerkit.data.rows import ReadRows, Recent
from seerkit.data.source import Episode, Segment, Source, StoreError

LOOKS = (
    "a folder with ep_start_end_ids.npy and episode_0000000.npz files, or with such folders training/ and validation/"
)
TABLE = "ep_start_end_ids.npy"
SENTENCES = ("lang_annotations/auto_lang_ann.npy", "auto_lang_ann.npy")
UNLABELLED = ("except_lang_idx/except_lang_idx.npy", "except_lang_idx.npy")
CAMERAS = {"primary": "rgb_static", "wrist": "rgb_gripper"}
DEPTHS = {"primary": "depth_static", "wrist": "depth_gripper"}
VECTORS = {"robot_obs": 15, "rel_actions": 7}
STATE_ENTRIES = (0, 1, 2, 3, 4, 5, 14)
"""Of ``robot_obs``: position, Euler angles, and the last gripper command (+1 open, -1 closed)."""
PROBED = 256
"""How many episodes' first and last files are looked for on opening."""


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    return any((path / name / TABLE).is_file() for name in (".", "training", "validation"))


def read(
    path: Path, *, split: Literal["training", "validation"] | None = None, depth: bool = False, threads: int = 4
) -> Source:
    """Open a CALVIN folder in place; only a few of its files are looked at, since it may have millions.

    State: ``robot_obs`` 0-5 and 14. Action: ``rel_actions`` (1 = 0.02 m, 0.05 rad; +1 opens). Frames: ``rgb_static``
    and ``rgb_gripper``, in the size of the first file. Nothing is rescaled. Spans with a sentence become segments; so
    do, without one, those of ``except_lang_idx.npy`` (the list of Seer's pre-training), cut where episodes end. An
    episode's task is the scene it was recorded in (``scene_info.npy``).

    Args:
        path: the folder with ``ep_start_end_ids.npy``, or the one above.
        split: which of ``training`` and ``validation``, if ``path`` has both; ``training`` if not given.
        depth: read what the cameras measured of depth, too; metres become whole millimetres.
        threads: how many files are decompressed at the same time.

    Raises:
        StoreError: a table is damaged or contradicts the others, or one of the files looked at is not as it should be.
    """
    if not isinstance(threads, int) or threads < 1:
        raise ValueError(f"threads must be a count, got {threads!r}")
    folder = _folder(path, split)
    bounds = _bounds(folder / TABLE)
    steps = _Steps(folder, bounds)
    steps.probe()
    conventions = Conventions(
        cameras=_cameras(steps.file(0), depth=depth),
        state=STATES["pose_gripper"],
        action_scale=(0.02, 0.05),
        gripper=OPEN_IS_PLUS,
        frame_rate=30.0,
        depth=depth,
    )
    count, sizes = len(steps), conventions.cameras
    frames = partial(ReadRows, dtype=torch.uint8, threads=threads)
    deep = partial(ReadRows, dtype=torch.uint16, threads=threads)
    seen = {name: (partial(steps.frame, CAMERAS[name], size), (count, *size)) for name, size in sizes.items()}
    felt = {name: (partial(steps.depth, DEPTHS[name], size), (count, 1, *size[1:])) for name, size in sizes.items()}
    return Source(
        path=path,
        format="calvin",
        conventions=conventions,
        episodes=steps.episodes(_scenes(folder, bounds[:, 0])),
        segments=[*_sentences(folder, steps), *_unlabelled(folder, steps)],
        frames={name: frames(read, shape=shape) for name, (read, shape) in seen.items()},
        depth={name: deep(read, shape=shape) for name, (read, shape) in felt.items() if depth},
        state=ReadRows(steps.state, shape=(count, len(STATE_ENTRIES)), dtype=torch.float32),
        action=ReadRows(steps.action, shape=(count, VECTORS["rel_actions"]), dtype=torch.float32),
    )


class _Steps:
    """Find and read the file of a row; the numbering of files has gaps between episodes, that of rows has none."""

    def __init__(self, folder: Path, bounds: np.ndarray) -> None:
        self._folder, self._bounds = folder, bounds
        lengths = bounds[:, 1] - bounds[:, 0] + 1
        self._end = lengths.cumsum()
        self._start = self._end - lengths
        self._numbers = Recent(self._read_numbers, size=1 << 14)

    def __len__(self) -> int:
        return int(self._end[-1])

    def episodes(self, scenes: Sequence[str]) -> list[Episode]:
        """List the episodes, each with the scene it was recorded in."""
        ends = zip(self._start.tolist(), self._end.tolist(), scenes, strict=True)
        return [Episode(start, end - start, "", task=scene) for start, end, scene in ends]

    def file(self, row: int) -> Path:
        """Return the file of a row."""
        episode = int(np.searchsorted(self._end, row, side="right"))
        return self._folder / f"episode_{int(self._bounds[episode, 0]) + row - int(self._start[episode]):07d}.npz"

    def spans(self, frames: np.ndarray) -> list[list[tuple[int, int, int]]]:
        """Locate spans of file numbers, both ends included: episode, first row and length of every part of each."""
        first = np.searchsorted(self._bounds[:, 1], frames[:, 0])
        last = np.searchsorted(self._bounds[:, 0], frames[:, 1], side="right")
        found = []
        for (begin, end), one, other in zip(frames.tolist(), first.tolist(), last.tolist(), strict=True):
            parts = []
            for episode in range(one, other):
                low, high = max(begin, int(self._bounds[episode, 0])), min(end, int(self._bounds[episode, 1]))
                row = int(self._start[episode]) + low - int(self._bounds[episode, 0])
                parts.append((episode, row, high - low + 1))
            found.append(parts)
        return found

    def probe(self) -> None:
        """Look for the first and the last file of some episodes, and read the very last one.

        Raises:
            StoreError: one is missing or not as it should be.
        """
        some = np.unique(np.linspace(0, len(self._bounds) - 1, min(PROBED, len(self._bounds))).astype(int))
        for episode in some.tolist():
            for row in (self._start[episode], self._end[episode] - 1):
                if not (file := self.file(int(row))).is_file():
                    span = self._bounds[episode].tolist()
                    raise StoreError(f"{file} is missing; {TABLE} says that episode {episode} has the files {span}")
        self._read_numbers(len(self) - 1)

    def frame(self, name: str, size: tuple[int, int, int], row: int) -> Tensor:
        """Read a picture, uint8 ``(3, H, W)``."""
        file = self.file(row)
        picture = read_npz(file, [name])[name]
        shape = (*size[1:], 3)
        if picture.shape != shape or picture.dtype != np.uint8:
            raise StoreError(f"{file}: {name} must be {shape} uint8, got {picture.shape} {picture.dtype}")
        return torch.from_numpy(np.ascontiguousarray(picture.transpose(2, 0, 1)))

    def depth(self, name: str, size: tuple[int, int, int], row: int) -> Tensor:
        """Read a picture of depth, uint16 ``(1, H, W)`` millimetres."""
        file = self.file(row)
        metres = read_npz(file, [name])[name]
        if metres.shape != size[1:] or metres.dtype.kind != "f":
            raise StoreError(f"{file}: {name} must be {size[1:]} float32, got {metres.shape} {metres.dtype}")
        return torch.from_numpy(to_millimetres(metres)[None])

    def state(self, row: int) -> Tensor:
        """Read pose and gripper, float32 ``(7,)``."""
        return self._numbers(row)[0]

    def action(self, row: int) -> Tensor:
        """Read the relative action, float32 ``(7,)``."""
        return self._numbers(row)[1]

    def _read_numbers(self, row: int) -> tuple[Tensor, Tensor]:
        file = self.file(row)
        given = read_npz(file, list(VECTORS))
        for name, length in VECTORS.items():
            vector = given[name]
            if vector.shape != (length,) or vector.dtype.kind != "f":
                raise StoreError(f"{file}: {name} must be ({length},) float, got {vector.shape} {vector.dtype}")
            if not np.isfinite(vector).all():
                raise StoreError(f"{file}: {name} must be finite, got {vector.tolist()}")
        state = given["robot_obs"][list(STATE_ENTRIES)]
        return torch.from_numpy(state.astype(np.float32)), torch.from_numpy(given["rel_actions"].astype(np.float32))


def _folder(path: Path, split: str | None) -> Path:
    """Return the folder that holds the files."""
    if split not in (None, "training", "validation"):
        raise ValueError(f"split must be training or validation, got {split!r}")
    known = (path, path / "training", path / "validation") if split is None else (path / split, path)
    for folder in known:
        if (folder / TABLE).is_file() and (split is None or folder.name == split):
            return folder
    wanted = f"{split}/{TABLE}" if split else TABLE
    raise StoreError(f"{path} has no {wanted}")


def _bounds(file: Path) -> np.ndarray:
    """Read which files make up each episode, both ends included."""
    bounds = _frames(read_npy(file), f"{file}: episode")
    if not len(bounds):
        raise StoreError(f"{file} lists no episode")
    if (bad := np.flatnonzero(bounds[1:, 0] <= bounds[:-1, 1])).size:
        pair = bounds[bad[0] : bad[0] + 2].tolist()
        raise StoreError(f"{file}: episodes must be in order and not overlap, got {pair} at {int(bad[0])}")
    return bounds


def _cameras(file: Path, *, depth: bool) -> dict[str, tuple[int, int, int]]:
    """Read the sizes of the cameras off a file."""
    wanted = [*CAMERAS.values(), *(DEPTHS.values() if depth else ())]
    given = read_npz(file, wanted)
    sizes = {}
    for camera, name in CAMERAS.items():
        shape = given[name].shape
        if len(shape) != 3 or shape[2] != 3 or given[name].dtype != np.uint8:
            raise StoreError(f"{file}: {name} must be (H, W, 3) uint8, got {shape} {given[name].dtype}")
        if depth and given[DEPTHS[camera]].shape != shape[:2]:
            raise StoreError(f"{file}: {DEPTHS[camera]} must be {shape[:2]}, got {given[DEPTHS[camera]].shape}")
        sizes[camera] = (3, shape[0], shape[1])
    return sizes


def _sentences(folder: Path, steps: _Steps) -> list[Segment]:
    """Read which spans have a sentence; none have if there is no such file."""
    file = next((folder / name for name in SENTENCES if (folder / name).is_file()), None)
    if file is None:
        return []
    notes = read_object(file)
    texts, tasks = _list(notes, file, "language", "ann"), _list(notes, file, "language", "task")
    frames = _frames(np.asarray(_list(notes, file, "info", "indx")), f"{file}: info.indx")
    if not len(texts) == len(tasks) == len(frames):
        counts = (len(texts), len(tasks), len(frames))
        raise StoreError(f"{file}: language.ann, language.task and info.indx must be equally long, got {counts}")
    segments = []
    for index, (parts, text, task) in enumerate(zip(steps.spans(frames), texts, tasks, strict=True)):
        if not isinstance(text, str) or not text.strip():
            raise StoreError(f"{file}: language.ann {index} must be a sentence, got {text!r}")
        begin, end = frames[index].tolist()
        if len(parts) != 1 or parts[0][2] != end - begin + 1:
            raise StoreError(f"{file}: info.indx {index} must lie inside one episode of {TABLE}, got {begin} .. {end}")
        episode, start, length = parts[0]
        segments.append(Segment(start, length, str(text), episode, str(task)))
    return segments


def _unlabelled(folder: Path, steps: _Steps) -> list[Segment]:
    """Read the spans that are listed as having no sentence, if they are."""
    file = next((folder / name for name in UNLABELLED if (folder / name).is_file()), None)
    if file is None:
        return []
    frames = _frames(read_npy(file), str(file))
    found = []
    for (begin, end), parts in zip(frames.tolist(), steps.spans(frames), strict=True):
        if sum(length for *_, length in parts) != end - begin + 1:
            raise StoreError(
                f"{file} lists the files {begin} .. {end}, of which some are in no episode of {TABLE}; if it belongs "
                "to other data, remove it: the spans without a sentence are then found from the sentences"
            )
        found += [Segment(start, length, "", episode) for episode, start, length in parts]
    return found


def _scenes(folder: Path, first: np.ndarray) -> list[str]:
    """Name the scene in which each episode begins."""
    file = folder / "scene_info.npy"
    names = [""] * len(first)
    if not file.is_file():
        return names
    scenes = read_object(file)
    if not isinstance(scenes, dict):
        raise StoreError(f"{file} must hold a dictionary of scenes, got {type(scenes).__name__}")
    for scene, span in scenes.items():
        begin, end = _frames(np.asarray([span]), f"{file}: {scene}")[0].tolist()
        for index in np.flatnonzero((first >= begin) & (first <= end)).tolist():
            names[index] = str(scene)
    return names


def _list(notes: Any, file: Path, group: str, name: str) -> Sequence[Any]:  # noqa: ANN401
    found = notes.get(group) if isinstance(notes, dict) else None
    found = found.get(name) if isinstance(found, dict) else None
    if isinstance(found, np.ndarray) and found.ndim:
        return found.tolist()
    if not isinstance(found, list | tuple):
        raise StoreError(f"{file}: {group}.{name} must be a list, got {type(found).__name__}")
    return found


def _frames(spans: np.ndarray, where: str) -> np.ndarray:
    """Check spans of file numbers, both ends included."""
    if spans.shape in ((0,), (0, 2)):
        return np.zeros((0, 2), np.int64)
    if spans.ndim != 2 or spans.shape[1] != 2 or spans.dtype.kind not in "iu":
        raise StoreError(f"{where} must be (N, 2) whole numbers, got {spans.shape} {spans.dtype}")
    if (bad := np.flatnonzero((spans[:, 1] < spans[:, 0]) | (spans[:, 0] < 0))).size:
        raise StoreError(f"{where} {int(bad[0])} must go from a number to a later one, got {spans[bad[0]].tolist()}")
    return spans.astype(np.int64)
