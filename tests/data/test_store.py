"""Stores: what is written is read, bad data is named, nothing half-written remains."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from seerkit.data.store import Conventions, Store, StoreError, array_file
from seerkit.data.writer import StoreWriter, merge

CONVENTIONS = Conventions(cameras={"primary": (3, 6, 8), "wrist": (3, 4, 4)})


def episode(length: int, seed: int) -> tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    images = {
        name: random.integers(0, 256, (length, *size), dtype=np.uint8) for name, size in CONVENTIONS.cameras.items()
    }
    return images, random.normal(size=(length, 7)), random.uniform(-1, 1, (length, 7)).astype(np.float32)


def write(path: Path, lengths: list[int], seed: int = 0) -> Store:
    with StoreWriter(path, CONVENTIONS) as writer:
        for index, length in enumerate(lengths):
            writer.add(*episode(length, seed + index), instruction=f"do {index}", seed=seed + index, task="toy")
    return Store(path)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = write(tmp_path / "store", [3, 1, 5])
    assert [(e.start, e.length, e.instruction, e.seed) for e in store.episodes] == [
        (0, 3, "do 0", 0),
        (3, 1, "do 1", 1),
        (4, 5, "do 2", 2),
    ]
    assert len(store) == 9
    assert store.conventions == CONVENTIONS
    assert store.instructions == ["do 0", "do 1", "do 2"]
    images, state, action = episode(5, 2)
    got = store.episode(2)
    assert np.array_equal(got["observation", "image", "wrist"].numpy(), images["wrist"])
    assert np.array_equal(got["observation", "state"].numpy(), state.astype(np.float32))
    assert np.array_equal(got["action",].numpy(), action)
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_tensordict_reads_the_arrays(tmp_path: Path) -> None:
    store = write(tmp_path / "store", [3, 2])
    steps = TensorDict.load_memmap(tmp_path / "store" / "steps")
    assert steps.batch_size == (5,)
    assert torch.equal(steps["observation", "image", "primary"], store.frames["primary"])
    assert torch.equal(steps["observation", "state"], store.state)
    assert torch.equal(steps["action"], store.action)
    assert steps["is_init"][:, 0].tolist() == [True, False, False, True, False]


def test_the_disk_is_never_changed_by_a_reader(tmp_path: Path) -> None:
    store = write(tmp_path / "store", [3])
    store.action.zero_()
    assert Store(tmp_path / "store").action.abs().sum() > 0


def test_merge_keeps_order_and_facts(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a", [2, 3]), write(tmp_path / "b", [4], seed=7)
    both = merge([first, second], tmp_path / "both")
    assert [e.length for e in both.episodes] == [2, 3, 4]
    chosen = merge([first, second], tmp_path / "chosen", order=[(1, 0), (0, 1)])
    assert [(e.start, e.length, e.seed) for e in chosen.episodes] == [(0, 4, 7), (4, 3, 1)]
    assert torch.equal(chosen.frames["primary"][:4], second.frames["primary"])
    with pytest.raises(StoreError, match="at least one"):
        merge([], tmp_path / "none")


def test_merge_refuses_other_conventions(tmp_path: Path) -> None:
    first = write(tmp_path / "a", [2])
    with StoreWriter(tmp_path / "b", Conventions(cameras=CONVENTIONS.cameras, frame_rate=30.0)) as writer:
        writer.add(*episode(2, 0), instruction="x")
    with pytest.raises(StoreError, match=r"frame_rate: 30\.0 and 15\.0"):
        merge([first, Store(tmp_path / "b")], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_an_exception_leaves_nothing(tmp_path: Path) -> None:
    def interrupted() -> None:
        with StoreWriter(tmp_path / "store", CONVENTIONS) as writer:
            writer.add(*episode(3, 0), instruction="x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    with pytest.raises(StoreError, match="nothing to store"), StoreWriter(tmp_path / "store", CONVENTIONS):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_kill_leaves_no_store_and_the_next_writer_sweeps(tmp_path: Path) -> None:
    script = """
        import os, signal, sys, torch
        from seerkit.data.store import Conventions
        from seerkit.data.writer import StoreWriter
        with StoreWriter(sys.argv[1], Conventions(cameras={"primary": (3, 6, 8), "wrist": (3, 4, 4)})) as writer:
            images = {"primary": torch.zeros(2, 3, 6, 8, dtype=torch.uint8)}
            images["wrist"] = torch.zeros(2, 3, 4, 4, dtype=torch.uint8)
            writer.add(images, torch.zeros(2, 7), torch.zeros(2, 7), instruction="x")
            os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / "store"
    killed = subprocess.run([sys.executable, "-c", textwrap.dedent(script), str(path)], check=False, env=os.environ)
    assert killed.returncode == -signal.SIGKILL
    assert not path.exists()
    write(path, [2])
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]


def test_an_existing_store_is_not_overwritten(tmp_path: Path) -> None:
    write(tmp_path / "store", [2])
    with pytest.raises(StoreError, match="exists already"):
        write(tmp_path / "store", [3])
    assert len(Store(tmp_path / "store")) == 2


def test_a_truncated_store_names_file_and_bytes(tmp_path: Path) -> None:
    write(tmp_path / "store", [3])
    file = array_file(tmp_path / "store", ("observation", "image", "wrist"))
    os.truncate(file, 100)
    with pytest.raises(StoreError, match=r"wrist\.memmap must have 144 bytes .*it has 100"):
        Store(tmp_path / "store")
    file.unlink()
    with pytest.raises(StoreError, match="it is missing"):
        Store(tmp_path / "store")


def test_an_inconsistent_table_is_named(tmp_path: Path) -> None:
    write(tmp_path / "store", [3, 2])
    table = tmp_path / "store" / "episodes.jsonl"
    lines = table.read_text().splitlines()
    table.write_text(lines[0] + "\n")
    with pytest.raises(StoreError, match="must list 2 episodes, it lists 1"):
        Store(tmp_path / "store")
    table.write_text(lines[0] + "\n" + lines[1].replace('"start": 3', '"start": 4') + "\n")
    with pytest.raises(StoreError, match="must start at step 3"):
        Store(tmp_path / "store")
    table.write_text(lines[0] + "\n" + lines[1].replace('"length": 2', '"length": 9') + "\n")
    with pytest.raises(StoreError, match="add up to 5 steps, they have 12"):
        Store(tmp_path / "store")
    table.write_text(lines[0] + "\nnonsense\n")
    with pytest.raises(StoreError, match="not an episode"):
        Store(tmp_path / "store")


def test_no_store_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="not a store"):
        Store(tmp_path)
    (tmp_path / "store.json").write_text('{"format": "other"}')
    with pytest.raises(StoreError, match="expected format"):
        Store(tmp_path)


def test_bad_episodes_are_named(tmp_path: Path) -> None:
    images, state, action = episode(3, 0)
    bad_action = action.copy()
    bad_action[1, 2] = np.nan
    cases = {
        r"\('observation', 'image', 'wrist'\)\], got|must have the arrays": (
            {"primary": images["primary"]},
            state,
            action,
        ),
        r"must be \(3, 3, 4, 4\) torch.uint8, got \(3, 4, 4, 3\)": (
            {**images, "wrist": images["wrist"].transpose(0, 2, 3, 1)},
            state,
            action,
        ),
        r"torch.uint8, got .*float": ({**images, "wrist": images["wrist"] / 255}, state, action),
        r"state'\) must be \(3, 7\)": (images, state[:, :6], action),
        r"must be finite.*at step 1": (images, state, bad_action),
        r"at least one step": ({k: v[:0] for k, v in images.items()}, state[:0], action[:0]),
    }
    for message, arrays in cases.items():
        with pytest.raises(StoreError, match=message), StoreWriter(tmp_path / "store", CONVENTIONS) as writer:
            writer.add(*arrays, instruction="x")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(StoreError, match="not open"):
        StoreWriter(tmp_path / "store", CONVENTIONS).add(images, state, action, instruction="x")
