"""Folders with one folder per step, as Seer keeps real-robot data, DROID and LIBERO (Tian et al., 2025)."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from seerkit.data.conventions import OPEN_IS_MINUS, STATES, Conventions
from seerkit.data.jpeg import BlobError, decode
from seerkit.data.poses import steps_between
from seerkit.data.readers.step_file import StepFile
from seerkit.data.rows import ReadRows, Recent
from seerkit.data.source import Episode, Source, StoreError

LOOKS = "a folder of episodes 000000/steps/0000/ with image_primary.jpg and other.npz (or .h5)"
CAMERAS = {"primary": "image_primary.jpg", "wrist": "image_wrist.jpg"}
STEPS = "steps"
LOOKED_AT = 20
"""How many entries of a folder are looked at to tell what it is."""

COMMAND = "action_gripper_pose"
"""Absolute pose that was commanded, and the gripper."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """Say what a step's file holds.

    Args:
        file: its name.
        state: fields that make the state, with their lengths.
        action: the field that holds the action.
        metric: whether the action is in metres and radians and grippers are +1 or -1, in the action and in the state.
        conventions: what the numbers mean once the action is divided by the scale; without the cameras.
    """

    file: str
    state: tuple[tuple[str, int], ...]
    action: str
    metric: bool
    conventions: Conventions


ROBOT = Kind(
    file="other.npz",
    state=(("gripper_pose", 6), ("gripper_open_state", 1)),
    action="delta_cur_2_last_action",
    metric=True,
    conventions=Conventions(cameras={}),
)
"""Demonstrations of one's own Franka."""

DROID = Kind(
    file="other.h5",
    state=(("observation/gripper_pose6d", 6), ("observation/gripper_open_state", 1)),
    action="action_delta_wrist_pose",
    metric=True,
    conventions=Conventions(cameras={}),
)
"""DROID as Seer's ``convert_public_droid_to_h5_per_step.py`` writes it: the pose is the flange's."""

LIBERO = Kind(
    file="other.h5",
    state=(("observation/tcp_pose", 6), ("observation/gripper_position", 2)),
    action="action",
    metric=False,
    conventions=Conventions(
        cameras={},
        state=STATES["axis_angle_fingers"],
        action_scale=(0.05, 0.5),
        gripper=OPEN_IS_MINUS,
        frame_rate=20.0,
    ),
)
"""LIBERO as Seer's ``convert_libero_per_step.py`` writes it; means what `seerkit.data.readers.libero` says."""


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    experiments = [path, *_some(path)] if path.is_dir() else []
    episodes = [folder / STEPS for experiment in experiments for folder in _some(experiment)]
    return any(any(step.glob("other.*")) for steps in episodes if steps.is_dir() for step in _some(steps))


def _some(folder: Path) -> list[Path]:
    """Return some of a folder's folders; one of CALVIN has millions of files."""
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in itertools.islice(entries, LOOKED_AT) if entry.is_dir()]


def read(path: Path, *, recompute: bool = False) -> Source:
    """Open the episodes of one experiment, or of all experiments in a folder, in place.

    ``<experiment>/<episode>/steps/<step>/`` holds ``image_primary.jpg``, ``image_wrist.jpg`` and ``other.npz`` or
    ``other.h5``; what that file is (`ROBOT`, `DROID`, `LIBERO`) follows from the fields of the very first one. Numbers
    are those on disk, except that motions in metres and radians are divided by (0.02 m, 0.05 rad), as by Seer's loader;
    they are not clipped. A motion leads from the last *command* to this one, in the tool's frame, with extrinsic-xyz
    Euler angles; an episode's first one begins at the measured pose.

    The sentence is that of an episode's first step. It is decoded as what it is: ``np.savez`` writes UTF-32, of which
    Seer's loader makes text with three NULs after every letter.

    Args:
        path: the folder.
        recompute: work out a real robot's motions anew from the commands: where steps were left out after the motions
            had been stored (by Seer's ``filter_real_data``, say), they no longer lead from one step to the next. It is
            done anyway where none are stored (Seer's helper for storing them, ``compute_delta_action``, returns none).

    Raises:
        StoreError: steps are not numbered from 0 on, or a file is missing, damaged or lacks a field.
        ValueError: ``recompute`` is asked for where no commands can be.
    """
    folders = _episodes(path)
    kind, computed = _kind(folders[0] / STEPS / "0000")
    if recompute and kind is not ROBOT:
        raise ValueError(f"{path}: only real-robot data ({ROBOT.file}) can be recomputed, this has {kind.file}")
    numbers = _Numbers(kind, computed=recompute or computed)
    episodes: list[Episode] = []
    for folder in folders:
        start, length = episodes[-1].end if episodes else 0, _length(folder / STEPS)
        sentence = _first(folder / STEPS / "0000", kind, numbers, length)
        task = folder.parent.name if folder.parent != path else ""
        episodes.append(Episode(start, length, sentence, task=task))
    sizes = {name: _size(folders[0] / STEPS / "0000" / file) for name, file in CAMERAS.items()}
    places = _Places(folders, np.array([episode.start for episode in episodes]))
    return _source(path, dataclasses.replace(kind.conventions, cameras=sizes), episodes, places, numbers)


def _source(
    path: Path, conventions: Conventions, episodes: Sequence[Episode], places: _Places, numbers: _Numbers
) -> Source:
    steps, scale = episodes[-1].end, torch.ones(7, dtype=torch.float64)
    if numbers.kind.metric:
        scale[:3], scale[3:6] = conventions.scale

    def both(row: int) -> tuple[np.ndarray, np.ndarray]:
        return numbers.read(*places.of(row))

    kept = Recent(both, size=1024)

    def state(row: int) -> Tensor:
        return torch.from_numpy(kept(row)[0]).float()

    def action(row: int) -> Tensor:
        return (torch.from_numpy(kept(row)[1]) / scale).float()

    def frames(name: str) -> ReadRows:
        shape = conventions.cameras[name]
        return ReadRows(
            lambda row: _picture(places.of(row)[0] / CAMERAS[name], shape), shape=(steps, *shape), dtype=torch.uint8
        )

    return Source(
        path=path,
        format="seer_real",
        conventions=conventions,
        episodes=episodes,
        frames={name: frames(name) for name in conventions.cameras},
        state=ReadRows(state, shape=(steps, len(conventions.state)), dtype=torch.float32),
        action=ReadRows(action, shape=(steps, len(conventions.action)), dtype=torch.float32),
    )


class _Places:
    """Find the folder of a step, and of the one before it, by its row."""

    def __init__(self, folders: Sequence[Path], starts: np.ndarray) -> None:
        self._folders, self._starts = folders, starts

    def of(self, row: int) -> tuple[Path, Path | None]:
        number = int(np.searchsorted(self._starts, row, side="right")) - 1
        steps, step = self._folders[number] / STEPS, row - int(self._starts[number])
        return steps / f"{step:04d}", steps / f"{step - 1:04d}" if step else None


class _Numbers:
    """Read states and actions.

    Args:
        kind: what the files hold.
        computed: whether motions are worked out from the commands.
    """

    def __init__(self, kind: Kind, *, computed: bool) -> None:
        self.kind, self._computed = kind, computed

    def read(self, folder: Path, before: Path | None) -> tuple[np.ndarray, np.ndarray]:
        """Return a step's state and action, in the units of the disk."""
        with StepFile(folder / self.kind.file) as file:
            return self.state_action(file, before)

    def state_action(self, file: StepFile, before: Path | None) -> tuple[np.ndarray, np.ndarray]:
        """Return both from an open file; ``before`` is the folder of the step before."""
        state = np.concatenate([file.numbers(name, count) for name, count in self.kind.state])
        source = COMMAND if self._computed else self.kind.action
        action = file.numbers(source, 7)
        if self.kind.metric:
            for name, value in ((self.kind.state[-1][0], state[-1]), (source, action[-1])):
                if value not in (-1, 1):
                    raise StoreError(
                        f"{file.path}: the gripper in {name} must be +1 (open) or -1 (closed), got {value}"
                    )
        if self._computed:
            begin = state if before is None else self._command(before)
            action = np.append(steps_between(begin[:6], action[:6]), action[6])
        return state, action

    def _command(self, folder: Path) -> np.ndarray:
        with StepFile(folder / self.kind.file) as file:
            return file.numbers(COMMAND, 7)


def _episodes(path: Path) -> list[Path]:
    """List the folders of all episodes, by name."""
    found = _inside(path) or [episode for folder in _folders(path) for episode in _inside(folder)]
    if not found:
        raise StoreError(f"{path}: expected episodes such as 000000/{STEPS}/0000 in it, or in its folders; found none")
    return found


def _inside(path: Path) -> list[Path]:
    folders = _folders(path)
    found = [folder for folder in folders if (folder / STEPS).is_dir()]
    if found and len(found) < len(folders):
        absent = next(folder for folder in folders if not (folder / STEPS).is_dir())
        raise StoreError(f"{absent} lacks the folder {STEPS}, which {found[0].name} beside it has")
    return found


def _folders(path: Path) -> list[Path]:
    return sorted(child for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))


def _length(steps: Path) -> int:
    """Count an episode's steps and make sure that none is missing."""
    names = {child.name for child in steps.iterdir() if not child.name.startswith(".")}
    for step in range(len(names)):
        if f"{step:04d}" not in names:
            raise StoreError(f"{steps} must hold the steps 0000 to {len(names) - 1:04d}; {step:04d} is missing")
    if not names:
        raise StoreError(f"{steps} is empty; an episode must have at least one step")
    return len(names)


def _kind(folder: Path) -> tuple[Kind, bool]:
    """Find out what the files hold, and whether motions must be worked out."""
    if (folder / ROBOT.file).is_file():
        with StepFile(folder / ROBOT.file) as file:
            return ROBOT, ROBOT.action not in file and COMMAND in file
    if not (folder / DROID.file).is_file():
        raise StoreError(f"{folder} holds neither {ROBOT.file} nor {DROID.file}")
    with StepFile(folder / DROID.file) as file:
        for kind in (DROID, LIBERO):
            if kind.action in file:
                return kind, False
        raise StoreError(f"{file.path} lacks {DROID.action} (DROID) and {LIBERO.action} (LIBERO); has {file.names()}")


def _first(folder: Path, kind: Kind, numbers: _Numbers, length: int) -> str:
    """Check an episode's first step and return its sentence."""
    with StepFile(folder / kind.file) as file:
        numbers.state_action(file, None)
        if "episode_length" in file and (said := int(file.numbers("episode_length", 1)[0])) != length:
            raise StoreError(f"{file.path}: episode_length is {said}, but there are {length} steps")
        return file.sentence()


def _size(file: Path) -> tuple[int, int, int]:
    height, width = _decoded(file).shape[1:]
    return 3, height, width


def _picture(file: Path, shape: tuple[int, ...]) -> Tensor:
    picture = _decoded(file)
    if tuple(picture.shape) != shape:
        raise BlobError(f"{file} must be {shape}, as the first one, it is {tuple(picture.shape)}")
    return picture


def _decoded(file: Path) -> Tensor:
    try:
        return decode(file.read_bytes(), where=str(file))
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
