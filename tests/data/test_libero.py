"""LIBERO's files are read as they are: every number, upside-down pictures, LIBERO's own signs."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import threading
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch

from seerkit.data.check import check
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.readers import libero
from seerkit.data.rows import take
from seerkit.data.source import Source
from seerkit.data.windows import Windows
from tests.data.made import episodes
from tests.data.made_libero import state, write

MADE = [
    {**episode, "instruction": "open the drawer" if number == 1 else episode["instruction"]}
    for number, episode in enumerate(episodes(5, (9, 4, 7, 1, 6), size=(16, 24), wrist=(8, 8)))
]


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return open_source(write(tmp_path_factory.mktemp("libero") / "suite", MADE))


def same(source: Source, made: list[dict[str, Any]]) -> None:
    for number, episode in enumerate(made):
        arrays = source.episode(number)
        for camera in ("primary", "wrist"):
            assert torch.equal(arrays["observation", "image", camera], torch.from_numpy(episode["images"][camera]))
        assert torch.equal(arrays["observation", "state"], torch.from_numpy(state(episode)))
        assert torch.equal(arrays["action",], torch.from_numpy(episode["action"]))
        assert source.episodes[number].instruction == episode["instruction"]


def test_every_number_is_kept_in_place_and_in_a_store(suite: Source, tmp_path: Path) -> None:
    assert suite.format == "libero"
    assert suite.in_place
    same(suite, MADE)
    same(convert(suite, tmp_path / "store"), MADE)
    assert list(check(suite)) == []


def test_conventions_are_libero_s_own(suite: Source) -> None:
    means = suite.conventions
    assert means.action_scale == (0.05, 0.5)
    assert means.gripper == "-1 open, +1 closed"
    assert means.frame_rate == 20
    assert means.state[3] == "ax [rad]"
    assert means.cameras == {"primary": (3, 16, 24), "wrist": (3, 8, 8)}


def test_rows_in_any_order_and_number(suite: Source) -> None:
    whole = {key: torch.cat([suite.episode(number)[key] for number in range(5)]) for key in suite.arrays()}
    rows = torch.tensor([[26, 0, 8], [9, 8, 13], [13, 13, 20]])
    for key, array in suite.arrays().items():
        assert torch.equal(take(array, rows), whole[key][rows]), key
        assert take(array, torch.empty(0, dtype=torch.int64)).shape == (0, *array.shape[1:])


def test_the_sentence_is_the_benchmark_s(tmp_path: Path) -> None:
    """It comes from the file's name; what is inside is used where the name is another."""
    path = write(tmp_path / "suite", MADE[:1])
    (file,) = path.iterdir()
    assert [*open_source(file).instructions] == [MADE[0]["instruction"]]
    kitchen = file.rename(path / "LIVING_ROOM_SCENE10_put_both_moka_pots_on_the_stove_demo.hdf5")
    assert open_source(kitchen).instructions == ["put both moka pots on the stove"]
    goal = kitchen.rename(path / "turn_on_the_stove_demo.hdf5")
    assert open_source(goal).instructions == ["turn on the stove"]
    own = goal.rename(path / "mine.hdf5")
    assert open_source(own).instructions == [f"Please {MADE[0]['instruction']}"]
    assert open_source(own).episodes[0].task == "mine"


def test_demonstrations_are_sorted_by_number(tmp_path: Path) -> None:
    many = [{**episode, "instruction": "wait"} for episode in episodes(12, (3, 5, 2), size=(8, 8), wrist=(8, 8))]
    source = open_source(write(tmp_path / "suite", many))
    assert [episode.length for episode in source.episodes] == [3, 5, 2] * 4
    assert torch.equal(source.episode(10)["action",], torch.from_numpy(many[10]["action"]))


def test_opening_reads_no_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "suite", MADE)
    read: list[str] = []
    plain = h5py.Dataset.__getitem__
    monkeypatch.setattr(h5py.Dataset, "__getitem__", lambda self, key: (read.append(self.name), plain(self, key))[1])
    source = open_source(path)
    assert read == []
    source.episode(0)
    assert {name.rsplit("/")[-1] for name in read} == {
        "actions",
        "ee_states",
        "gripper_states",
        "agentview_rgb",
        "eye_in_hand_rgb",
    }


def test_few_files_stay_open(suite: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libero, "OPEN_FILES", 2)
    source = open_source(suite.path)
    before = len(list(Path("/proc/self/fd").iterdir()))
    same(source, MADE)
    assert len(list(Path("/proc/self/fd").iterdir())) <= before + 2


def test_threads_and_forked_processes_read_the_same(suite: Source) -> None:
    windows = Windows(suite, steps=3, chunk=2, ahead=1)
    index = torch.arange(len(windows))
    expected = windows.gather(index)["action_is_pad"], take(suite.frames["primary"], torch.arange(len(suite)))
    wrong: list[int] = []

    def work(seed: int) -> None:
        order = np.random.default_rng(seed).permutation(len(suite))
        for _ in range(5):
            if not torch.equal(take(suite.frames["primary"], torch.from_numpy(order)), expected[1][order]):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    child = multiprocessing.get_context("fork").Process(target=_child, args=(suite, expected[1]))
    child.start()
    for one in (*threads, child):
        one.join(60)
    assert wrong == []
    assert child.exitcode == 0


def _child(source: Source, expected: torch.Tensor) -> None:
    torch.set_num_threads(1)
    frames = source.frames["primary"]
    for row in itertools.chain(range(len(source)), range(len(source))):
        if not torch.equal(take(frames, torch.tensor([row]))[0], expected[row]):
            raise SystemExit(3)


def test_it_can_be_pickled(suite: Source) -> None:
    same(pickle.loads(pickle.dumps(suite)), MADE)
