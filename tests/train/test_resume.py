"""Killed and resumed, a run ends where the uninterrupted one ends, bit for bit."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from seerkit.train.logging import METRICS, read_metrics
from tests.train import toy


def kill(store: Path, out: Path, *options: str) -> None:
    """Start or resume a run in a process of its own that kills itself."""
    command = [sys.executable, toy.__file__, str(store), str(out), *options]
    assert subprocess.run(command, check=False, timeout=300).returncode == -signal.SIGKILL


def same(first: Path, second: Path) -> bool:
    one, other = (toy.saved_state(out / "checkpoints" / "last") for out in (first, second))
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "store"
    toy.toy_store(path)
    return path


@pytest.fixture(scope="module")
def whole(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole")
    toy.run(store, out, toy.ToyPolicy())
    return out


def test_sigkill_and_resume_is_bitwise_the_same(store: Path, whole: Path, tmp_path: Path) -> None:
    kill(store, tmp_path, "--kill-loss", "7", "--after", "000004")
    assert (tmp_path / "checkpoints" / "last").resolve().name == "000004"
    kill(store, tmp_path, "--kill-loss", "6", "--after", "000008")
    assert (tmp_path / "checkpoints" / "last").resolve().name == "000008"
    toy.run(store, tmp_path, toy.ToyPolicy(), resume=True)
    assert (tmp_path / "checkpoints" / "last").resolve().name == "000012"
    assert same(whole, tmp_path)
    logs = [read_metrics(out / METRICS) for out in (whole, tmp_path)]
    for line in [*logs[0], *logs[1]]:
        del line["windows_per_second"]
    assert logs[0] == logs[1]
    assert [line["step"] for line in logs[0]] == [2, 4, 6, 8, 10, 12]


def test_so_it_is_with_averaging_and_accumulation(store: Path, tmp_path: Path) -> None:
    toy.run(store, tmp_path / "whole", toy.ToyPolicy(), ema=0.9, micro_batch=4)
    kill(store, tmp_path / "killed", "--kill-loss", "14", "--after", "000004", "--ema", "0.9", "--micro", "4")
    toy.run(store, tmp_path / "killed", toy.ToyPolicy(), ema=0.9, micro_batch=4, resume=True)
    assert same(tmp_path / "whole", tmp_path / "killed")


def test_sigkill_inside_a_save_leaves_the_checkpoint_before(store: Path, whole: Path, tmp_path: Path) -> None:
    kill(store, tmp_path, "--kill-save", "2")
    shown = sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir() if not entry.name.startswith("."))
    assert shown == ["000004", "last"]
    toy.run(store, tmp_path, toy.ToyPolicy(), resume=True)
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == ["000008", "000012", "last"]
    assert same(whole, tmp_path)


def test_sigterm_saves_and_returns(store: Path, whole: Path, tmp_path: Path) -> None:
    policy = toy.ToyPolicy()
    policy.at_loss = {6: toy.ask}
    result = toy.run(store, tmp_path, policy)
    assert (result.updates, result.interrupted) == (6, True)
    assert (tmp_path / "checkpoints" / "last").resolve().name == "000006"
    assert not toy.run(store, tmp_path, toy.ToyPolicy(), resume=True).interrupted
    assert same(whole, tmp_path)


def test_who_is_asked_to_stop_saves_and_does_not_validate_first(store: Path, tmp_path: Path) -> None:
    policy = toy.ToyPolicy()
    policy.at_loss = {6: toy.ask}
    result = toy.run(store, tmp_path, policy, holdout=0.3, validate_every=4)
    assert (result.updates, result.interrupted) == (6, True)
    told = [line["step"] for line in read_metrics(tmp_path / METRICS) if "val_loss" in line]
    assert told == [4]


def test_resuming_a_finished_run_changes_nothing(store: Path, tmp_path: Path) -> None:
    first = toy.run(store, tmp_path, toy.ToyPolicy())
    before = toy.saved_state(tmp_path / "checkpoints" / "last")
    again = toy.run(store, tmp_path, toy.ToyPolicy(), resume=True)
    assert (first.updates, again.updates, again.interrupted) == (12, 12, False)
    after = toy.saved_state(tmp_path / "checkpoints" / "last")
    assert all(torch.equal(before[name], after[name]) for name in before)
