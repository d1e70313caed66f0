"""Damaged LIBERO files: every error names the file and the field."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.source import StoreError
from tests.data.broken import fails
from tests.data.made import episodes
from tests.data.made_libero import write

MADE = episodes(2, (6, 5), size=(12, 16), wrist=(8, 8))


def replaced(name: str, value: Any) -> Callable[[h5py.File], None]:  # noqa: ANN401
    """Put other numbers in the place of an array."""

    def damage(file: h5py.File) -> None:
        del file[name]
        file[name] = value

    return damage


def at(name: str, place: int, value: float) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        file[name][place, 0] = value  # pyright: ignore[reportIndexIssue]

    return damage


def without(name: str) -> Callable[[h5py.File], None]:
    def damage(file: h5py.File) -> None:
        del file[name]

    return damage


def renamed(file: h5py.File) -> None:
    file.move("data/demo_0", "data/take_0")


def emptied(file: h5py.File) -> None:
    for name in list(file["data"]):  # pyright: ignore[reportArgumentType]
        del file["data"][name]  # pyright: ignore[reportIndexIssue]


DEMO, SEEN = "data/demo_0", "data/demo_0/obs"
INSIDE: dict[str, tuple[Callable[[h5py.File], None], tuple[str, ...], str]] = {
    "no data": (without("data"), ("lacks the group data",), "opened"),
    "data is an array": (replaced("data", np.zeros(3)), ("lacks the group data",), "opened"),
    "a strange demonstration": (renamed, ("take_0",), "opened"),
    "a demonstration is an array": (replaced(DEMO, np.zeros(3)), (DEMO, "lacks actions"), "opened"),
    "no actions": (without(f"{DEMO}/actions"), (DEMO, "lacks actions"), "opened"),
    "no steps": (replaced(f"{DEMO}/actions", np.zeros((0, 7))), ("actions", "at least one step"), "opened"),
    "six-number actions": (replaced(f"{DEMO}/actions", np.zeros((6, 6))), ("actions must be (6, 7)",), "opened"),
    "actions of integers": (replaced(f"{DEMO}/actions", np.zeros((6, 7), int)), ("actions", "int64"), "opened"),
    "no pictures": (without(f"{SEEN}/agentview_rgb"), ("lacks obs/agentview_rgb", "eye_in_hand_rgb"), "opened"),
    "too few pictures": (
        replaced(f"{SEEN}/agentview_rgb", np.zeros((3, 12, 16, 3), np.uint8)),
        ("agentview_rgb must be (6, H, W, 3)", "(3, 12, 16, 3)"),
        "opened",
    ),
    "pictures of floats": (
        replaced(f"{SEEN}/eye_in_hand_rgb", np.zeros((6, 8, 8, 3), np.float32)),
        ("eye_in_hand_rgb", "float32"),
        "opened",
    ),
    "channels first": (
        replaced(f"{SEEN}/agentview_rgb", np.zeros((6, 3, 12, 16), np.uint8)),
        ("agentview_rgb", "(6, 3, 12, 16)"),
        "opened",
    ),
    "one finger": (replaced(f"{SEEN}/gripper_states", np.zeros((6, 1))), ("gripper_states", "(6, 2)"), "opened"),
    "too short a state": (replaced(f"{SEEN}/ee_states", np.zeros((4, 6))), ("ee_states", "(4, 6)"), "opened"),
    "no state": (without(f"{SEEN}/ee_states"), ("lacks obs/ee_states",), "opened"),
    "NaN in the state": (at(f"{SEEN}/ee_states", 3, np.nan), ("obs/ee_states", "finite", "step 3"), "read"),
    "infinite action": (at(f"{DEMO}/actions", 5, np.inf), ("actions", "finite", "step 5"), "read"),
}


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    return write(tmp_path / "suite", MADE)


@pytest.mark.parametrize("case", INSIDE)
def test_damage_inside(suite: Path, tmp_path: Path, case: str) -> None:
    damage, said, when = INSIDE[case]
    file = sorted(suite.iterdir())[0]
    with h5py.File(file, "r+") as opened:
        damage(opened)
    fails(suite, tmp_path / "store", str(file), *said, when=when)


def test_pictures_of_another_size(suite: Path, tmp_path: Path) -> None:
    first, second = sorted(suite.iterdir())
    with h5py.File(second, "r+") as opened:
        replaced(f"{SEEN}/agentview_rgb", np.zeros((5, 24, 24, 3), np.uint8))(opened)
    fails(suite, tmp_path / "store", str(first), str(second), "(3, 12, 16)", "(3, 24, 24)", when="opened")


def test_a_file_without_demonstrations(suite: Path, tmp_path: Path) -> None:
    for file in suite.iterdir():
        with h5py.File(file, "r+") as opened:
            emptied(opened)
    fails(suite, tmp_path / "store", str(suite), "no demonstration", when="opened")


@pytest.mark.parametrize("share", [0.0, 0.02, 0.5, 0.999])
def test_a_truncated_file(suite: Path, tmp_path: Path, share: float) -> None:
    file = sorted(suite.iterdir())[0]
    os.truncate(file, int(share * file.stat().st_size))
    fails(suite, tmp_path / "store", str(file), "truncated", when="opened")


def test_something_else_of_that_name(suite: Path, tmp_path: Path) -> None:
    file = sorted(suite.iterdir())[0]
    file.write_text("a web page that says that the file is somewhere else")
    fails(suite, tmp_path / "store", str(file), when="opened")


def test_no_sentence(tmp_path: Path) -> None:
    (file,) = write(tmp_path / "suite", MADE[:1]).iterdir()
    file = file.rename(file.with_name("mine.hdf5"))
    with h5py.File(file, "r+") as opened:
        del opened["data"].attrs["problem_info"]
    fails(file, tmp_path / "store", str(file), "problem_info", when="opened")


def test_a_file_that_vanishes_after_opening(suite: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("seerkit.data.readers.libero.OPEN_FILES", 1)
    source = open_source(suite)
    file = sorted(suite.iterdir())[0]
    file.unlink()
    with pytest.raises(StoreError, match=file.name):
        convert(source, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_nowhere_to_write(suite: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="file"):
        convert(open_source(suite), tmp_path / "file" / "store")
    assert (tmp_path / "file").read_text() == ""
