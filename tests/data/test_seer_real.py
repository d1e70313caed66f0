"""Seer's folders of steps: real robot, DROID and LIBERO read in place, and written."""

from __future__ import annotations

import contextlib
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.readers import libero, seer_real
from seerkit.data.seer_folder import SeerFolder, write_seer_folder
from seerkit.data.source import Source, StoreError
from seerkit.data.store import Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter
from tests.data import made_libero
from tests.data.made import episodes
from tests.data.made_seer_real import Kind, commands, write

MADE = episodes(3, (9, 4, 12), size=(48, 64), wrist=(32, 32))


def same_numbers(source: Source, made: list[dict[str, Any]]) -> None:
    for number, episode in enumerate(made):
        arrays = source.episode(number)
        fingers = source.conventions.gripper.startswith("-1 open")
        state = made_libero.state(episode) if fingers else episode["state"]
        assert torch.equal(arrays["observation", "state"], torch.from_numpy(state))
        assert torch.equal(arrays["action",], torch.from_numpy(episode["action"]))
        assert source.episodes[number].instruction == episode["instruction"]


def psnr(given: torch.Tensor, expected: np.ndarray) -> float:
    error = (given.double() - torch.from_numpy(expected).double()).square().mean()
    return float(10 * torch.log10(255**2 / error))


@pytest.mark.parametrize("kind", ["robot", "droid", "libero"])
def test_numbers_are_kept_and_pictures_are_pillow_s(tmp_path: Path, kind: Kind) -> None:
    source = open_source(write(tmp_path / "data", MADE, kind))
    assert (source.format, source.in_place) == ("seer_real", True)
    same_numbers(source, MADE)
    same_numbers(convert(source, tmp_path / "store"), MADE)
    for camera in ("primary", "wrist"):
        assert psnr(source.episode(2)["observation", "image", camera], MADE[2]["images"][camera]) > 38
    with Image.open(next((tmp_path / "data").glob("*/000001/steps/0003/image_primary.jpg"))) as picture:
        shown = np.array(picture.convert("RGB")).transpose(2, 0, 1)
    assert torch.equal(source.episode(1)["observation", "image", "primary"][3], torch.from_numpy(shown))


@pytest.mark.parametrize(("kind", "means"), [("robot", (0.02, 0.05, 15)), ("libero", (0.05, 0.5, 20))])
def test_conventions(tmp_path: Path, kind: Kind, means: tuple[float, ...]) -> None:
    path = write(tmp_path / "data", MADE[:1], kind)
    told = open_source(path).conventions
    assert (*told.action_scale, told.frame_rate) == means
    assert told.gripper == ("+1 open, -1 closed" if kind == "robot" else "-1 open, +1 closed")
    assert told.cameras == {"primary": (3, 48, 64), "wrist": (3, 32, 32)}


def test_a_folder_of_millions_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To tell that CALVIN's is of neither format must not take as long as listing it."""
    for number in range(3000):
        (tmp_path / f"{number:06d}.npz").touch()
    seen: list[str] = []
    plain = os.scandir

    def noted(entries: Iterator[os.DirEntry[str]]) -> Iterator[os.DirEntry[str]]:
        for entry in entries:
            seen.append(entry.name)
            yield entry

    @contextlib.contextmanager
    def scandir(path: Path) -> Iterator[Iterator[os.DirEntry[str]]]:
        with plain(path) as entries:
            yield noted(entries)

    monkeypatch.setattr(os, "scandir", scandir)
    assert not libero.looks(tmp_path)
    assert not seer_real.looks(tmp_path)
    assert 0 < len(seen) < 1100


def test_one_experiment_or_all(tmp_path: Path) -> None:
    path = write(tmp_path / "data", MADE[:2])
    shutil.copytree(path / "0000", path / "0001")
    assert [episode.task for episode in open_source(path).episodes] == ["0000", "0000", "0001", "0001"]
    assert len(open_source(path / "0001").episodes) == 2


def test_motions_are_worked_out_from_commands(tmp_path: Path) -> None:
    """Where they are not stored, or when asked for: against SciPy, which made the commands."""
    path = write(tmp_path / "data", MADE)
    expected = [torch.from_numpy(episode["action"]) for episode in MADE]
    again = open_source(path, recompute=True)
    for file in path.rglob("other.npz"):
        with np.load(file) as fields:
            kept = {name: fields[name] for name in fields if name != "delta_cur_2_last_action"}
        np.savez(file, **kept)
    for source in (again, open_source(path)):
        for number, action in enumerate(expected):
            torch.testing.assert_close(source.episode(number)["action",], action, rtol=0, atol=2e-6)


def test_steps_left_out_afterwards_can_be_mended(tmp_path: Path) -> None:
    """Seer's filter copies folders: stored motions then lack what was left out, recomputed ones do not."""
    path = write(tmp_path / "data", MADE[:1])
    steps = path / "0000" / "000000" / "steps"
    shutil.rmtree(steps / "0004")
    for step in range(5, 9):
        (steps / f"{step:04d}").rename(steps / f"{step - 1:04d}")
    stored, mended = (open_source(path, recompute=again).episode(0)["action",] for again in (False, True))
    assert torch.equal(stored[4], torch.from_numpy(MADE[0]["action"][5]))
    scale = torch.tensor([0.02, 0.02, 0.02])
    start, end = (torch.from_numpy(commands(MADE[0])[row, :3]) for row in (3, 5))
    moved = (mended[4, :3] * scale).double()
    assert float((moved.norm() - (end - start).norm()).abs()) < 1e-7
    assert float((stored[4, :3] * scale).double().norm() - (end - start).norm()) < -1e-3


@pytest.mark.parametrize("said", ["açaí → bowl", b"plain bytes", np.array(["one"]), np.bytes_("bytes")])
def test_sentences_are_decoded(tmp_path: Path, said: Any) -> None:  # noqa: ANN401
    path = write(tmp_path / "data", MADE[:1])
    file = path / "0000" / "000000" / "steps" / "0000" / "other.npz"
    with np.load(file) as fields:
        kept = dict(fields)
    np.savez(file, **{**kept, "language_instruction": said})
    plain = said.decode() if isinstance(said, bytes) else str(np.ravel(said)[0])
    assert open_source(path).instructions == [plain]


def store_of(path: Path, made: list[dict[str, Any]]) -> Store:
    source = open_source(write(path / "for-conventions", made[:1]))
    with StoreWriter(path / "store", source.conventions) as writer:
        for episode in made:
            writer.add(episode["images"], episode["state"], episode["action"], instruction=episode["instruction"])
    return Store(path / "store")


def test_written_folders_come_back(tmp_path: Path) -> None:
    store = store_of(tmp_path, MADE)
    told: list[tuple[int, int]] = []
    out = write_seer_folder(store, tmp_path / "out", progress=lambda done, total: told.append((done, total)))
    assert told == [(9, 25), (13, 25), (25, 25)]
    back = open_source(out)
    same_numbers(back, MADE)
    assert back.conventions == store.conventions
    assert sorted(path.name for path in tmp_path.iterdir()) == ["for-conventions", "out", "store"]
    picked = torch.arange(0, 18, 3)
    ours, theirs = (Windows(one, steps=3, chunk=2, ahead=2).gather(picked) for one in (store, back))
    assert torch.equal(ours["target", "chunk"], theirs["target", "chunk"])
    assert psnr(theirs["observation", "image", "primary"], ours["observation", "image", "primary"].numpy()) > 38


def test_written_steps_are_what_seer_s_scripts_expect(tmp_path: Path) -> None:
    """The fields of REAL-WORLD_POSTPROCESS.md; commands are the motions, followed from the first pose by SciPy."""
    out = write_seer_folder(store_of(tmp_path, MADE), tmp_path / "out")
    folder = out / "0000" / "000002" / "steps" / "0007"
    assert sorted(path.name for path in folder.iterdir()) == ["image_primary.jpg", "image_wrist.jpg", "other.npz"]
    with np.load(folder / "other.npz") as fields:
        assert {name: fields[name].shape for name in fields} == {
            "joints": (7,),
            "gripper_pose": (6,),
            "gripper_open_state": (1,),
            "action_gripper_pose": (7,),
            "delta_cur_2_last_action": (7,),
            "language_instruction": (),
        }
        np.testing.assert_allclose(fields["action_gripper_pose"], commands(MADE[2])[7], rtol=0, atol=1e-12)
        scale = [0.02] * 3 + [0.05] * 3 + [1]
        np.testing.assert_array_equal(fields["delta_cur_2_last_action"], MADE[2]["action"][7].astype(float) * scale)


def test_an_interrupted_export_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = store_of(tmp_path, MADE)
    plain, asked = Store.episode, list[int]()

    def failing(self: Store, index: int) -> dict[tuple[str, ...], torch.Tensor]:
        asked.append(index)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return plain(self, index)

    monkeypatch.setattr(Store, "episode", failing)
    with pytest.raises(KeyboardInterrupt):
        write_seer_folder(store, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(StoreError, match="interrupted copy of something else"):
        write_seer_folder(store_of(tmp_path / "other", MADE[1:]), tmp_path / "out")
    same_numbers(open_source(write_seer_folder(store, tmp_path / "out")), MADE)
    assert asked == [0, 1, 2, 2]
    with pytest.raises(StoreError, match="exists already"):
        write_seer_folder(store, tmp_path / "out")


def test_a_recorder_appends_whole_episodes(tmp_path: Path) -> None:
    """A second one goes on after the last whole episode; joints and commands are kept where they are known."""
    conventions = open_source(write(tmp_path / "data", MADE[:1])).conventions
    joints = np.linspace(-1, 1, 28).reshape(4, 7)
    for number, episode in enumerate(MADE[:2]):
        known = {"joints": joints, "commands": commands(episode)[:, :6]} if number else {}
        folder = SeerFolder(tmp_path / "rec" / "0000", conventions)
        assert len(folder) == number
        numbers = episode["images"], episode["state"], episode["action"]
        folder.add(*numbers, instruction=episode["instruction"], **known)
    bad = MADE[2]["state"].copy()
    bad[5, 2] = np.nan
    with pytest.raises(StoreError, match="at step 5"):
        folder.add(MADE[2]["images"], bad, MADE[2]["action"], instruction="")
    same_numbers(open_source(tmp_path / "rec"), MADE[:2])
    assert sorted(path.name for path in (tmp_path / "rec" / "0000").iterdir()) == ["000000", "000001"]
    with np.load(tmp_path / "rec" / "0000" / "000001" / "steps" / "0002" / "other.npz") as fields:
        assert np.array_equal(fields["joints"], joints[2])


def test_data_that_means_something_else_is_not_written(tmp_path: Path) -> None:
    suite = open_source(made_libero.write(tmp_path / "libero", MADE))
    with pytest.raises(
        StoreError, match=r"(?s)state: .*gripper: .*steps per second: the layout has 15.0, the data 20.0"
    ):
        write_seer_folder(suite, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["libero"]


def test_a_picture_is_encoded_well(tmp_path: Path) -> None:
    out = write_seer_folder(store_of(tmp_path, MADE[:1]), tmp_path / "out")
    blob = (out / "0000" / "000000" / "steps" / "0000" / "image_primary.jpg").read_bytes()
    with Image.open(io.BytesIO(blob)) as picture:
        assert picture.size == (64, 48)
        assert [part[1:3] for part in picture.layer] == [(1, 1)] * 3  # pyright: ignore[reportAttributeAccessIssue]
