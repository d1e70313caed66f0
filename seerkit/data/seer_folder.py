"""Write demonstrations as Seer's real-robot scripts read them: one folder per step."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seerkit import keys
from seerkit.data.conventions import OPEN_IS_PLUS, STATES, Conventions
from seerkit.data.convert import NOTE, Progress
from seerkit.data.files import fresh_folder, write_text
from seerkit.data.jpeg import encode
from seerkit.data.poses import follow
from seerkit.data.source import Source, StoreError, fingerprint
from seerkit.data.writer import Array, check_arrays

EXPERIMENT = "0000"
CAMERAS = ("primary", "wrist")
SCALE = (0.02, 0.05)
FRAME_RATE = 15.0
JOINTS = 7


class SeerFolder:
    """Append demonstrations to an experiment's folder, each one whole or not at all.

    ``<experiment>/<episode:06>/steps/<step:04>/`` gets ``image_primary.jpg``, ``image_wrist.jpg`` (quality 95, 4:4:4)
    and ``other.npz``: ``gripper_pose``, ``gripper_open_state``, ``joints``, ``action_gripper_pose``,
    ``delta_cur_2_last_action``, ``language_instruction``. Episodes are numbered on from those that are there, so a
    recording that was interrupted goes on after the last one that was finished.

    Args:
        path: the experiment's folder, such as ``data/stack_cups/0000``; made if it is missing.
        conventions: of what will be added.

    Raises:
        StoreError: the layout has no place for data of these conventions.
    """

    def __init__(self, path: str | Path, conventions: Conventions) -> None:
        self.path, self.conventions = Path(path), conventions
        check_fits(conventions, where=str(self.path))

    def __len__(self) -> int:
        """Return how many episodes are there."""
        number = 0
        while self._folder(number).is_dir():
            number += 1
        return number

    def add(
        self,
        images: Mapping[str, Array],
        state: Array,
        action: Array,
        *,
        instruction: str,
        joints: Array | None = None,
        commands: Array | None = None,
    ) -> Path:
        """Write one episode and return its folder.

        Shape:
            images: uint8 ``(L, 3, H, W)`` for ``primary`` and ``wrist``.
            state: ``(L, 7)``, measured pose and gripper.
            action: ``(L, 7)`` in [-1, 1], in the scale of the conventions; motion from the last command to this one.
            joints: ``(L, 7)`` radians; zeros if not given (Seer's loader reads them, its policies do not).
            commands: ``(L, 6)``, the poses that were commanded; if not given, the actions are followed from the first
                measured pose on.

        Raises:
            StoreError: an array is missing, not finite or of another shape or type, or the disk is full.
        """
        arrays = {keys.under(keys.IMAGE, name): frames for name, frames in images.items()}
        arrays |= {keys.STATE: state, (keys.ACTION,): action}
        checked = check_arrays(self.conventions, arrays, len(state))
        measured = checked[keys.STATE].double().numpy()
        motion = checked[keys.ACTION,].double().numpy()
        motion[:, :3] *= self.conventions.scale[0]
        motion[:, 3:6] *= self.conventions.scale[1]
        length = len(measured)
        given = {
            "joints": _given(joints, (length, JOINTS), np.zeros((length, JOINTS)), "joints"),
            "gripper_pose": measured[:, :6],
            "gripper_open_state": measured[:, 6:],
            "action_gripper_pose": np.concatenate(
                [_given(commands, (length, 6), follow(measured[0, :6], motion[:, :6]), "commands"), motion[:, 6:]],
                axis=1,
            ),
            "delta_cur_2_last_action": motion,
        }
        frames = {name: checked[keys.under(keys.IMAGE, name)] for name in CAMERAS}
        folder = self._folder(len(self))
        try:
            with fresh_folder(folder) as draft:
                for step in range(length):
                    numbers = {name: array[step] for name, array in given.items()}
                    pictures = {name: frames[name][step] for name in CAMERAS}
                    _write_step(draft / "steps" / f"{step:04d}", pictures, numbers, instruction)
        except OSError as error:
            raise StoreError(f"{folder} cannot be written: {error}") from error
        return folder

    def _folder(self, number: int) -> Path:
        return self.path / f"{number:06d}"


def check_fits(conventions: Conventions, *, where: str) -> None:
    """Make sure that the layout can say what the numbers mean.

    Raises:
        StoreError: it cannot.
    """
    expected = (CAMERAS, STATES["pose_gripper"], OPEN_IS_PLUS, FRAME_RATE)
    rate = float(conventions.frame_rate)
    given = (tuple(sorted(conventions.cameras)), conventions.state, conventions.gripper, rate)
    names = ("cameras", "state", "gripper", "steps per second")
    wrong = [
        f"  {name}: the layout has {ours!r}, the data {theirs!r}"
        for name, ours, theirs in zip(names, expected, given, strict=True)
        if ours != theirs
    ]
    if not conventions.action:
        wrong.append("  action: the data has none")
    if wrong:
        raise StoreError(f"{where} cannot be written as Seer's real-robot folders:\n" + "\n".join(wrong))


def write_seer_folder(source: Source, out: str | Path, *, progress: Progress | None = None) -> Path:
    """Copy a source into new folders of Seer's layout: ``out/0000/000000/steps/0000/...``.

    The copy grows in a hidden sibling of ``out``, episode by episode; a second call with the same source goes on there.
    Actions and states keep every number; pictures become JPEG. The layout has no place for depth, seeds, success and
    task names: they stay behind.

    Args:
        source: what to copy; sentences must belong to whole episodes.
        out: where it will be; must not exist.
        progress: is told steps copied and steps in all.

    Raises:
        StoreError: ``out`` exists, an interrupted copy there is of something else, or the data does not fit the layout.
    """
    out = Path(out)
    if out.exists():
        raise StoreError(f"{out} exists already; choose another name or remove it")
    if source.segments is not None:
        raise StoreError(f"{source.path}: its sentences belong to parts of episodes, those of the layout to whole ones")
    check_fits(source.conventions, where=str(source.path))
    draft = out.with_name(f".{out.name}.writing")
    _begin(draft, source)
    folder = SeerFolder(draft / EXPERIMENT, dataclasses.replace(source.conventions, depth=False))
    for index in range(len(folder), len(source.episodes)):
        arrays = source.episode(index)
        folder.add(
            {name: arrays[keys.under(keys.IMAGE, name)] for name in CAMERAS},
            arrays[keys.STATE],
            arrays[keys.ACTION,],
            instruction=source.episodes[index].instruction,
        )
        if progress is not None:
            progress(source.episodes[index].end, len(source))
    draft.joinpath(NOTE).unlink()
    draft.rename(out)
    return out


def _begin(draft: Path, source: Source) -> None:
    """Note what is copied, or make sure that an interrupted copy is of the same."""
    note = {"path": str(source.path.resolve()), "format": source.format, "table": fingerprint(source)}
    if (file := draft / NOTE).is_file():
        if json.loads(file.read_text(encoding="utf-8")) != note:
            raise StoreError(
                f"{draft} holds an interrupted copy of something else, or {source.path} has changed; remove it"
            )
        return
    draft.mkdir(parents=True, exist_ok=True)
    write_text(file, json.dumps(note))


def _given(array: Array | None, shape: Sequence[int], default: np.ndarray, name: str) -> np.ndarray:
    """Return an array that need not be given, checked."""
    if array is None:
        return default
    numbers = torch.as_tensor(array).double().numpy()
    if numbers.shape != tuple(shape) or not np.isfinite(numbers).all():
        raise StoreError(f"{name} must be {tuple(shape)} finite numbers, got shape {numbers.shape}")
    return numbers


def _write_step(
    folder: Path, pictures: Mapping[str, Tensor], numbers: Mapping[str, np.ndarray], instruction: str
) -> None:
    folder.mkdir(parents=True)
    for name, picture in pictures.items():
        (folder / f"image_{name}.jpg").write_bytes(encode(picture))
    fields: dict[str, Any] = {**numbers, "language_instruction": np.array(instruction)}
    np.savez_compressed(folder / "other.npz", **fields)
