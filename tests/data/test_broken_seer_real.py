"""Damaged folders of steps: every error names the file and the field; a failed export leaves nothing behind."""

from __future__ import annotations

import os
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from seerkit.data.formats import open_source
from seerkit.data.seer_folder import SeerFolder, write_seer_folder
from seerkit.data.source import StoreError
from tests.data.broken import fails
from tests.data.made import episodes
from tests.data.made_seer_real import write

MADE = episodes(2, (6, 5), size=(12, 16), wrist=(8, 8))
EPISODE = Path("0000", "000001", "steps")
FIRST, LATER = EPISODE / "0000", EPISODE / "0003"
DELTA = "delta_cur_2_last_action"


def changed(step: Path, **fields: Any) -> Callable[[Path], Path]:  # noqa: ANN401
    """Replace fields of a step's file, or leave them out (``None``)."""

    def damage(root: Path) -> Path:
        file = root / step / "other.npz"
        with np.load(file) as stored:
            kept = {**stored, **fields}
        np.savez(file, **{name: value for name, value in kept.items() if value is not None})
        return file

    return damage


def cut(path: Path, share: float) -> Callable[[Path], Path]:
    def damage(root: Path) -> Path:
        os.truncate(root / path, int(share * (root / path).stat().st_size))
        return root / path

    return damage


def removed(path: Path, named: Path | None = None) -> Callable[[Path], Path]:
    def damage(root: Path) -> Path:
        shutil.rmtree(root / path) if (root / path).is_dir() else (root / path).unlink()
        return root / (named or path)

    return damage


def copied(source: Path, target: Path) -> Callable[[Path], Path]:
    def damage(root: Path) -> Path:
        shutil.copyfile(root / source, root / target)
        return root / target

    return damage


def strange(root: Path) -> Path:
    (root / EPISODE / "0002").rename(root / EPISODE / "two")
    return root / EPISODE


def emptied(root: Path) -> Path:
    shutil.rmtree(root / EPISODE)
    (root / EPISODE).mkdir()
    return root / EPISODE


CASES: dict[str, tuple[Callable[[Path], Path], tuple[str, ...], str]] = {
    "a missing step": (removed(EPISODE / "0002", EPISODE), ("0002 is missing",), "opened"),
    "a step of another name": (strange, ("0002 is missing",), "opened"),
    "an empty episode": (emptied, ("at least one step",), "opened"),
    "an episode without steps": (removed(EPISODE, EPISODE.parent), ("lacks the folder steps",), "opened"),
    "no file in the first step": (removed(FIRST / "other.npz"), ("is missing",), "opened"),
    "no file in a later step": (removed(LATER / "other.npz"), ("is missing",), "read"),
    "an empty first file": (cut(FIRST / "other.npz", 0), ("truncated",), "opened"),
    "half a first file": (cut(FIRST / "other.npz", 0.5), ("truncated",), "opened"),
    "half a later file": (cut(LATER / "other.npz", 0.5), ("truncated",), "read"),
    "no pose": (changed(FIRST, gripper_pose=None), ("lacks gripper_pose", DELTA), "opened"),
    "no motion": (changed(FIRST, **{DELTA: None}), (f"lacks {DELTA}",), "opened"),
    "no motion later": (changed(LATER, **{DELTA: None}), (f"lacks {DELTA}",), "read"),
    "no sentence": (changed(FIRST, language_instruction=None), ("lacks language_instruction",), "opened"),
    "two sentences": (changed(FIRST, language_instruction=np.array(["a", "b"])), ("one sentence",), "opened"),
    "a number for a sentence": (changed(FIRST, language_instruction=3.0), ("must be text",), "opened"),
    "bytes that are no text": (changed(FIRST, language_instruction=np.bytes_(b"\xff\xfe")), ("UTF-8",), "opened"),
    "six-number motion": (changed(FIRST, **{DELTA: np.zeros(6)}), (DELTA, "7 numbers", "(6,)"), "opened"),
    "a pose of text": (changed(FIRST, gripper_pose=np.array(["x"] * 6)), ("gripper_pose", "<U1"), "opened"),
    "NaN in a pose": (changed(LATER, gripper_pose=np.full(6, np.nan)), ("gripper_pose", "finite"), "read"),
    "infinite motion": (changed(LATER, **{DELTA: np.full(7, np.inf)}), (DELTA, "finite"), "read"),
    "a gripper of 0": (changed(FIRST, gripper_open_state=np.zeros(1)), ("gripper_open_state", "+1"), "opened"),
    "a gripper of 0 later": (changed(LATER, **{DELTA: np.zeros(7)}), (DELTA, "-1 (closed), got 0.0"), "read"),
    "no picture": (removed(LATER / "image_wrist.jpg"), ("cannot be read",), "read"),
    "half a picture": (cut(LATER / "image_primary.jpg", 0.5), ("cannot be decoded",), "read"),
    "an empty picture": (cut(LATER / "image_primary.jpg", 0), ("cannot be decoded",), "read"),
    "a picture of another size": (
        copied(LATER / "image_wrist.jpg", LATER / "image_primary.jpg"),
        ("(3, 12, 16)", "(3, 8, 8)"),
        "read",
    ),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write(tmp_path / "data", MADE)


@pytest.mark.parametrize("case", CASES)
def test_damage(data: Path, tmp_path: Path, case: str) -> None:
    damage, said, when = CASES[case]
    fails(data, tmp_path / "store", str(damage(data)), *said, when=when)


class Bomb:
    """Would leave a trace if anybody unpickled it."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (os.environ["SEERKIT_TEST_BOMB"],)


def test_no_pickle_is_executed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEERKIT_TEST_BOMB", str(tmp_path / "exploded"))
    file = changed(FIRST, language_instruction=np.array([Bomb()], dtype=object))(data)
    fails(data, tmp_path / "store", str(file), "language_instruction", when="opened")
    assert not (tmp_path / "exploded").exists()


def test_hdf5_steps(tmp_path: Path) -> None:
    data = write(tmp_path / "data", MADE, "droid")
    file = data / "episodes" / "000001" / "steps" / "0000" / "other.h5"
    with h5py.File(file, "r+") as opened:
        opened["episode_length"][()] = 7  # pyright: ignore[reportIndexIssue]
    fails(data, tmp_path / "store", str(file), "episode_length is 7", "5 steps", when="opened")
    with h5py.File(file, "r+") as opened:
        opened["episode_length"][()] = 5  # pyright: ignore[reportIndexIssue]
        del opened["observation/gripper_pose6d"]
    fails(data, tmp_path / "store", str(file), "lacks observation/gripper_pose6d", when="opened")
    os.truncate(file, 500)
    fails(data, tmp_path / "store", str(file), "truncated", when="opened")


def test_hdf5_of_something_else(tmp_path: Path) -> None:
    data = write(tmp_path / "data", MADE[:1], "droid")
    file = data / "episodes" / "000000" / "steps" / "0000" / "other.h5"
    with h5py.File(file, "r+") as opened:
        del opened["action_delta_wrist_pose"]
    fails(
        data, tmp_path / "store", str(file), "lacks action_delta_wrist_pose (DROID) and action (LIBERO)", when="opened"
    )
    with pytest.raises(ValueError, match="recompute"):
        open_source(write(tmp_path / "libero", MADE[:1], "libero"), recompute=True)


def test_a_full_disk_leaves_no_half_episode(data: Path, tmp_path: Path) -> None:
    """Files larger than a limit stand for a disk that takes no more."""
    source = open_source(data)
    arrays = source.episode(0)
    frames = {name: arrays["observation", "image", name] for name in ("primary", "wrist")}
    folder = SeerFolder(tmp_path / "rec", source.conventions)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, before[1]))
    try:
        with pytest.raises(StoreError, match="rec/000000 cannot be written"):
            folder.add(frames, arrays["observation", "state"], arrays["action",], instruction="x")
        with pytest.raises(StoreError, match="cannot be written"):
            write_seer_folder(source, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list((tmp_path / "rec").iterdir()) == []
    assert not (tmp_path / "out").exists()
    assert write_seer_folder(source, tmp_path / "out").is_dir()
