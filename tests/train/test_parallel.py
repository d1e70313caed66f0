"""Several processes learn what one learns, stop together and are told when they were started wrongly."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from seerkit.data.store import Store
from seerkit.train.blocks import repeated_blocks
from seerkit.train.parallel import PLACE, ParallelError, join
from seerkit.train.settings import Settings
from tests.conftest import ROOT
from tests.train import toy

RIGHT = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}


@pytest.fixture(scope="module")
def measured() -> dict[str, Any]:
    """Run the benchmark with few kills; it forks all processes from one, so that torch is imported once."""
    command = [sys.executable, str(ROOT / "benchmarks" / "resume.py"), "--kills", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.xdist_group("resume")
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["single", "ddp", "fsdp"])
def test_a_killed_run_ends_where_the_uninterrupted_one_does(measured: dict[str, Any], mode: str) -> None:
    found = measured["details"]["killed"][mode]
    assert found["equal"]
    assert (found["kills"], found["tensors"]) == (1, 510)


@pytest.mark.xdist_group("resume")
@pytest.mark.slow
@pytest.mark.parametrize("mode", ["ddp", "fsdp"])
def test_two_processes_learn_what_one_learns(measured: dict[str, Any], mode: str) -> None:
    assert measured["details"]["together"][mode]["worst"] <= 1e-6


@pytest.mark.xdist_group("resume")
@pytest.mark.slow
@pytest.mark.parametrize("change", ["fsdp to single", "ddp to single", "single to fsdp"])
def test_others_may_go_on_and_one_asked_to_stop_stops_all(measured: dict[str, Any], change: str) -> None:
    found = measured["details"]["continued by others"][change]
    assert found["worst"] <= 1e-5
    assert 12 <= found["stopped"] < 24


@pytest.mark.slow
def test_torchrun_starts_the_command(tmp_path: Path) -> None:
    toy.toy_store(tmp_path / "store", cameras=("primary", "wrist"), side=20)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "seerkit"]
    short = ["train.updates=2", "train.warmup=0", "train.batch_size=4", "train.holdout=0.2", "trunk.depth=1", "dim=64"]
    given = ["--data", str(tmp_path / "store"), "--out", str(tmp_path / "run"), "--device", "cpu"]
    command = [*torchrun, "train", "seer_tabletop", *short, *given]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("2 updates; evaluate with") == 1
    summary = json.loads((tmp_path / "run" / "checkpoints" / "last" / "training.json").read_text())
    assert (summary["update"], summary["processes"]) == (2, 2)


UNREACHED = """
import sys
from pathlib import Path
import torch
from tests.train import toy
policy = toy.ToyPolicy()
policy.extra = torch.nn.Linear(2, 2)
toy.run(Path(sys.argv[1]), Path(sys.argv[2]), policy)
"""


@pytest.mark.slow
def test_a_parameter_no_gradient_reaches_is_named(tmp_path: Path) -> None:
    toy.toy_store(tmp_path / "store")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        place = {
            **RIGHT,
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(probe.getsockname()[1]),
            "OMP_NUM_THREADS": "1",
        }
    started = []
    for rank in ("0", "1"):
        environment = {**os.environ, **place, "RANK": rank, "LOCAL_RANK": rank, "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-c", UNREACHED, str(tmp_path / "store"), str(tmp_path / "run")]
        started.append(subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True))
    for process in started:
        said = process.communicate(timeout=200)[1]
        assert process.returncode == 1
        assert "TrainingError: 2 trainable parameters have no part in the loss, such as ['extra.weight'" in said


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"MASTER_ADDR": ""}, r"\['MASTER_ADDR'\] are not set"),
        ({"WORLD_SIZE": ""}, r"\['WORLD_SIZE'\] are not set|not set"),
        ({"RANK": "2"}, "RANK < WORLD_SIZE"),
        ({"LOCAL_RANK": "1"}, "LOCAL_RANK <= RANK"),
        ({"RANK": "one"}, "whole numbers"),
    ],
)
def test_a_wrong_start_is_named(change: dict[str, str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**RIGHT, "RANK": "1", "LOCAL_RANK": "1", **change}.items():
        monkeypatch.setenv(name, value)
    if change == {"LOCAL_RANK": "1"}:
        monkeypatch.setenv("RANK", "0")
    with pytest.raises(ParallelError, match=message):
        join("cpu")


def test_one_process_needs_no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in PLACE:
        monkeypatch.delenv(name, raising=False)
    assert (join("cpu").rank, join("cpu").size, join("cpu").first) == (0, 1, True)
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert join("cpu").size == 1


def test_a_batch_divides_among_processes() -> None:
    settings = Settings(updates=1, batch_size=24, micro_batch=3)
    assert [settings.passes(processes) for processes in (1, 2, 4, 8)] == [8, 4, 2, 1]
    assert Settings(updates=1, batch_size=24).passes(8) == 1
    with pytest.raises(ValueError, match="batch_size 24 does not divide among 5 processes"):
        settings.passes(5)
    with pytest.raises(ValueError, match=re.escape("share of the batch, 2 of 24, got 3")):
        settings.passes(12)


def test_repeated_blocks_are_those_of_any_transformer() -> None:
    policy = toy.real_policy("trunk.depth=3")
    names = {block: name for name, block in policy.named_modules()}
    found = [names[block] for block in repeated_blocks(policy)]
    assert [name for name in found if name.startswith("trunk")] == [f"trunk.blocks.{i}" for i in range(3)]
    assert {name.rpartition(".")[0] for name in found} >= {"heads.foresight.blocks", "encoders.image.vit.blocks"}
    assert repeated_blocks(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))) == []


def test_slices_weigh_as_much_as_they_hold(tmp_path: Path) -> None:
    """A batch cut into passes gives the gradient of the whole, although some windows are mostly padding."""
    store: Store = toy.toy_store(tmp_path / "store", cameras=("primary", "wrist"), side=20)
    weights = []
    for place, micro in enumerate((None, 4, 1)):
        policy = toy.real_policy("trunk.dropout=0", "pixels.primary.shift=0", "pixels.wrist.shift=0", "steps=7")
        toy.run(store, tmp_path / str(place), policy, micro_batch=micro, updates=5, warmup=0)
        weights.append(policy.heads["action"].arm.weight.detach())
    for other in weights[1:]:
        torch.testing.assert_close(other, weights[0], rtol=0, atol=2e-6)


def test_counts_say_what_a_loss_is_a_mean_over(tmp_path: Path) -> None:
    from seerkit.data.windows import Windows

    store = toy.toy_store(tmp_path / "store", cameras=("primary", "wrist"), side=20)
    policy = toy.real_policy("steps=7").eval()
    windows = Windows(store, steps=7, chunk=3, ahead=policy.ahead, cameras=policy.cameras)
    index = torch.arange(len(windows))
    assert bool(windows.gather(index)["step_is_pad"].any())
    parts = [windows.gather(part) for part in index.split(2)]
    with torch.no_grad():
        whole = policy.loss(windows.gather(index))
        losses, counts = [policy.loss(part) for part in parts], [policy.counts(part) for part in parts]
    for name in ("loss_arm", "loss_gripper", "loss_foresight"):
        share = torch.stack([count[name] for count in counts]).double()
        assert len(set(share.tolist())) > 1
        mean = (torch.stack([loss[name] for loss in losses]).double() * share).sum() / share.sum()
        assert float(mean) == pytest.approx(float(whole[name]), rel=1e-6)
