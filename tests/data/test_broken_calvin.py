"""Damaged CALVIN folders: an error that names file and field, at once, and nothing half-written."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from seerkit.cli import app
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.source import StoreError
from tests.data import made_calvin as made

FIRST, MIDDLE, LAST = (f"episode_{number:07d}.npz" for number in (17, 60, 160))
TABLE, NOTES, SCENES = "ep_start_end_ids.npy", "lang_annotations/auto_lang_ann.npy", "scene_info.npy"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("calvin") / "training"
    made.write_calvin(path)
    return path


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy of links, so that a case can replace a file without touching the others."""
    shutil.copytree(whole, tmp_path / "training", copy_function=os.link)
    return tmp_path / "training"


def save(file: Path, value: object) -> None:
    file.unlink()
    np.save(file, value, allow_pickle=True)


def change(name: str, **given: object) -> Callable[[Path], None]:
    """Replace arrays of a file; ``None`` leaves one out."""

    def at(folder: Path) -> None:
        with np.load(folder / name) as file:
            arrays = {**file, **given}
        (folder / name).unlink()
        np.savez_compressed(folder / name, **{key: value for key, value in arrays.items() if value is not None})

    return at


def note(group: str, name: str, value: Callable[[list[Any]], object]) -> Callable[[Path], None]:
    """Replace a list of the sentences' file."""

    def at(folder: Path) -> None:
        notes = np.load(folder / NOTES, allow_pickle=True).item()
        notes[group][name] = value(notes[group][name])
        save(folder / NOTES, np.array(notes))

    return at


def truncate(name: str) -> Callable[[Path], None]:
    def at(folder: Path) -> None:
        content = (folder / name).read_bytes()
        (folder / name).unlink()
        (folder / name).write_bytes(content[: len(content) * 2 // 3])

    return at


def flip(name: str) -> Callable[[Path], None]:
    """Change one byte in the middle of the compressed picture."""

    def at(folder: Path) -> None:
        content = bytearray((folder / name).read_bytes())
        content[content.index(b"rgb_static.npy") + 300] ^= 0x55
        (folder / name).unlink()
        (folder / name).write_bytes(content)

    return at


def replace(name: str, value: object) -> Callable[[Path], None]:
    return lambda folder: save(folder / name, value)


def remove(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def bounds(*rows: tuple[int, int]) -> np.ndarray:
    return np.array(rows, np.int64)


NOT_FINITE = np.full(15, np.nan)
OPENING = {
    "table truncated": (truncate(TABLE), r"ep_start_end_ids.npy is not a whole array"),
    "table of floats": (replace(TABLE, np.ones((3, 2))), r"ep_start_end_ids.npy.*whole numbers, got \(3, 2\) float64"),
    "table of another shape": (replace(TABLE, np.ones((3, 3), int)), r"\(N, 2\) whole numbers, got \(3, 3\)"),
    "table empty": (replace(TABLE, np.zeros((0, 2), int)), r"ep_start_end_ids.npy lists no episode"),
    "episodes overlap": (
        replace(TABLE, bounds((17, 50), (47, 70))),
        r"not overlap, got \[\[17, 50\], \[47, 70\]\] at 0",
    ),
    "episodes shuffled": (replace(TABLE, bounds((47, 70), (17, 46))), r"in order and not overlap"),
    "episode backwards": (replace(TABLE, bounds((17, 46), (70, 47))), r"episode 1 must go from .*\[70, 47\]"),
    "table needs code": (replace(TABLE, np.array({"a": Bomb()})), r"ep_start_end_ids.npy is not a whole array"),
    "last file missing": (remove(LAST), r"0000160.npz is missing; ep_start_end_ids.npy says that episode 2"),
    "first file missing": (remove(FIRST), r"episode_0000017.npz is missing"),
    "first file truncated": (truncate(FIRST), r"0000017.npz is not a whole .npz file"),
    "first file is text": (
        lambda folder: (folder / FIRST).unlink() or (folder / FIRST).write_text("no"),
        r"0000017.npz",
    ),
    "no rgb_static": (change(FIRST, rgb_static=None), r"0000017.npz: rgb_static is missing; it has \['actions'"),
    "float picture": (change(FIRST, rgb_static=np.ones((20, 20, 3))), r"rgb_static must be .* uint8, got .* float64"),
    "grey picture": (change(FIRST, rgb_gripper=np.ones((12, 12), "u1")), r"rgb_gripper must be \(H, W, 3\) uint8"),
    "no sentences in it": (replace(NOTES, np.array({"info": {}})), r"auto_lang_ann.npy: language.ann must be a list"),
    "sentences truncated": (truncate(NOTES), r"auto_lang_ann.npy is damaged"),
    "sentences need code": (replace(NOTES, np.array({"a": Bomb()})), r"auto_lang_ann.npy: needs posix.mkdir"),
    "sentences are numbers": (replace(NOTES, np.ones(4)), r"auto_lang_ann.npy must hold one object"),
    "a sentence too few": (note("language", "ann", lambda a: a[:-1]), r"equally long, got \(3, 4, 4\)"),
    "a sentence is empty": (note("language", "ann", lambda a: [" ", *a[1:]]), r"language.ann 0 must be a sentence"),
    "a sentence is bytes": (note("language", "ann", lambda a: [b"x", *a[1:]]), r"language.ann 0 must be .*b'x'"),
    "span outside": (note("info", "indx", lambda s: [*s[:-1], (158, 170)]), r"indx 3 must lie inside .*158 .. 170"),
    "span over two episodes": (note("info", "indx", lambda s: [*s[:-1], (40, 50)]), r"info.indx 3 must lie inside one"),
    "span backwards": (note("info", "indx", lambda s: [(30, 20), *s[1:]]), r"info.indx 0 must go from.*\[30, 20\]"),
    "scenes are numbers": (
        replace(SCENES, np.array([[0, 9]])),
        r"scene_info.npy must hold one object, it holds an array",
    ),
    "scene without end": (replace(SCENES, np.array({"scene_A": [3]})), r"scene_info.npy: scene_A must be \(N, 2\)"),
}


@pytest.mark.parametrize(("damage", "text"), OPENING.values(), ids=OPENING.keys())
def test_opening_says_what_is_wrong(
    folder: Path, damage: Callable[[Path], None], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    damage(folder)
    with pytest.raises(StoreError, match=text) as caught:
        open_source(folder.parent)
    assert str(folder) in str(caught.value)
    assert not (folder.parent / "exploded").exists()


def test_a_list_of_other_data(folder: Path) -> None:
    np.save(folder / "except_lang_idx.npy", bounds((20, 30), (90, 130)))
    with pytest.raises(
        StoreError, match=r"except_lang_idx.npy lists the files 90 .. 130, .*if it belongs to other data"
    ):
        open_source(folder)


READING = {
    "file missing": (remove(MIDDLE), r"episode_0000060.npz is missing"),
    "file truncated": (truncate(MIDDLE), r"episode_0000060.npz is not a whole .npz file"),
    "file empty": (
        lambda folder: (folder / MIDDLE).unlink() or (folder / MIDDLE).touch(),
        r"0000060.npz is not a whole",
    ),
    "a byte flipped": (flip(MIDDLE), r"episode_0000060.npz: rgb_static is damaged"),
    "no robot_obs": (change(MIDDLE, robot_obs=None), r"0000060.npz: robot_obs is missing; it has \['actions'"),
    "state not finite": (change(MIDDLE, robot_obs=NOT_FINITE), r"0000060.npz: robot_obs must be finite, got \[nan"),
    "action not finite": (change(MIDDLE, rel_actions=np.full(7, np.inf)), r"rel_actions must be finite, got \[inf"),
    "action too short": (change(MIDDLE, rel_actions=np.ones(6)), r"rel_actions must be \(7,\) float, got \(6,\)"),
    "action of whole numbers": (change(MIDDLE, rel_actions=np.ones(7, int)), r"\(7,\) float, got \(7,\) int64"),
    "another size": (change(MIDDLE, rgb_static=np.ones((9, 9, 3), "u1")), r"rgb_static must be \(20, 20, 3\) uint8"),
    "another type": (change(MIDDLE, rgb_gripper=np.ones((12, 12, 3))), r"rgb_gripper must be .* uint8, got .* float64"),
    "needs code": (change(MIDDLE, robot_obs=np.array({"a": Bomb()})), r"0000060.npz: robot_obs is not a whole array"),
    "no depth": (change(MIDDLE, depth_static=None), r"0000060.npz: depth_static is missing"),
    "depth of another size": (change(MIDDLE, depth_static=np.ones((3, 3), "f4")), r"depth_static must be \(20, 20\)"),
}


@pytest.mark.parametrize(("damage", "text"), READING.values(), ids=READING.keys())
def test_converting_says_what_is_wrong_and_writes_no_store(
    folder: Path, damage: Callable[[Path], None], text: str, tmp_path: Path
) -> None:
    damage(folder)
    source = open_source(folder, depth=True)
    with pytest.raises(StoreError, match=text):
        convert(source, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_command_finds_every_damaged_episode(folder: Path) -> None:
    truncate(MIDDLE)(folder)
    change("episode_0000130.npz", rel_actions=np.full(7, np.nan))(folder)
    done = CliRunner().invoke(app, ["data", "check", str(folder)])
    assert done.exit_code == 1
    for text in ("episode 1", "episode_0000060.npz", "episode 2", "rel_actions must be finite"):
        assert text in done.output


def test_what_is_not_read_may_be_anything(folder: Path) -> None:
    change(MIDDLE, rgb_tactile=None, scene_obs=NOT_FINITE, actions=None)(folder)
    assert len(open_source(folder).episode(1)) == 4


def test_no_pickle_is_run_even_if_numpy_would(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "bomb.npy", np.array({"a": Bomb()}), allow_pickle=True)
    np.load(tmp_path / "bomb.npy", allow_pickle=True)
    assert (tmp_path / "exploded").exists(), "the bomb works"
