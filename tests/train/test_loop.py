"""The loop: what it learns, writes, keeps and refuses."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.distributed.checkpoint.metadata import BytesStorageMetadata

from seerkit.data.store import Store, StoreError
from seerkit.train.checkpoint import STATE, Checkpoints
from seerkit.train.logging import METRICS, read_metrics
from seerkit.train.parallel import World
from seerkit.train.state import Spare
from seerkit.train.trainer import TrainingError
from tests.train import toy


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toy.toy_store(tmp_path_factory.mktemp("data") / "store")


def test_it_learns_and_writes_a_log(store: Store, tmp_path: Path) -> None:
    result = toy.run(store, tmp_path, toy.ToyPolicy(), updates=60)
    lines = read_metrics(tmp_path / METRICS)
    assert [line["step"] for line in lines] == list(range(2, 61, 2))
    assert lines[-1]["loss_arm"] < 0.3 * lines[0]["loss_arm"]
    names = {"step", "lr", "loss", "loss_arm", "loss_gripper", "loss_foresight", "grad_norm", "windows_per_second"}
    assert names < lines[0].keys()
    parts = [lines[0][name] for name in ("loss_arm", "loss_gripper", "loss_foresight")]
    assert lines[0]["loss"] == pytest.approx(sum(parts), rel=1e-4)
    assert list((tmp_path / "tensorboard").iterdir())
    assert result.metrics["loss_arm"] == pytest.approx(lines[-1]["loss_arm"], rel=1e-4)
    assert result.checkpoint == (tmp_path / "checkpoints" / "000060").resolve()


def test_checkpoints_hold_policy_and_summary_and_only_some_stay(store: Store, tmp_path: Path) -> None:
    policy = toy.ToyPolicy()
    toy.run(store, tmp_path, policy)
    folder = tmp_path / "checkpoints"
    assert sorted(entry.name for entry in folder.iterdir()) == ["000008", "000012", "last"]
    assert (folder / "last").readlink() == Path("000012")
    loaded = toy.ToyPolicy.from_pretrained(folder / "last")
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name])
    summary = json.loads((folder / "last" / "training.json").read_text())
    assert (summary["update"], summary["total"], summary["settings"]["lr"]) == (12, 12, 0.01)
    assert summary["conventions"]["gripper"] == "+1 open, -1 closed"


def test_the_same_seed_gives_the_same_weights_and_validation_changes_nothing(store: Store, tmp_path: Path) -> None:
    weights = []
    for place, changes in enumerate(({}, {"validate_every": 2}, {"seed": 2})):
        policy = toy.ToyPolicy()
        toy.run(store, tmp_path / str(place), policy, holdout=0.3, **changes)
        weights.append(policy.arm.weight.detach().clone())
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_micro_batches_follow_the_same_path(store: Store, tmp_path: Path) -> None:
    weights = []
    for place, micro in enumerate((None, 4)):
        policy = toy.ToyPolicy()
        policy.body[2].p = 0.0
        toy.run(store, tmp_path / str(place), policy, micro_batch=micro, updates=1, warmup=0)
        weights.append(policy.arm.weight.detach().clone())
    assert torch.allclose(weights[0], weights[1], atol=0.02)


def test_averaged_weights_are_what_is_saved(store: Store, tmp_path: Path) -> None:
    policy = toy.ToyPolicy()
    toy.run(store, tmp_path, policy, ema=0.9)
    state = toy.saved_state(tmp_path / "checkpoints" / "last")
    saved = toy.ToyPolicy.from_pretrained(tmp_path / "checkpoints" / "last")
    assert torch.equal(saved.arm.weight, state["ema/arm.weight"])
    assert torch.equal(policy.arm.weight, saved.arm.weight)
    assert not torch.equal(state["model/arm.weight"], state["ema/arm.weight"])
    assert not any("frozen" in name for name in state)


def test_validation_tells_whether_the_word_matters(store: Store, tmp_path: Path) -> None:
    result = toy.run(store, tmp_path, toy.ToyPolicy(), updates=80, holdout=0.4, clip=None)
    values = result.metrics
    assert values["val_loss_arm_wrong_word"] > 2 * values["val_loss_arm"]
    assert "val_loss_foresight_wrong_word" not in values
    terms = [values[f"val_loss_{name}"] for name in ("arm", "gripper", "foresight")]
    assert values["val_loss"] == pytest.approx(sum(terms), rel=1e-4)
    assert 5 < values["val_psnr_copy_primary"] < values["val_psnr_primary"] < 20
    assert (tmp_path / "checkpoints" / "best").is_symlink()
    logged = [line["val_loss"] for line in read_metrics(tmp_path / METRICS) if "val_loss" in line]
    best = json.loads((tmp_path / "checkpoints" / "best" / "training.json").read_text())
    assert best["best"] == pytest.approx(min(logged), rel=1e-5)


def test_a_loss_that_is_not_finite_stops_the_run_without_a_checkpoint(store: Store, tmp_path: Path) -> None:
    policy = toy.ToyPolicy()

    def poison() -> None:
        with torch.no_grad():
            policy.arm.weight.fill_(float("nan"))

    policy.at_loss = {4: poison}
    with pytest.raises(TrainingError, match=r"update 4: expected finite numbers, got .*loss_arm.*nan"):
        toy.run(store, tmp_path, policy)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_weights_that_a_gradient_spoils_are_not_saved(store: Store, tmp_path: Path) -> None:
    policy = toy.ToyPolicy()

    def poison() -> None:  # the loss of update 4 is finite, its gradient is not; it is saved and not logged
        policy.arm.weight.register_hook(lambda gradient: gradient * float("inf"))

    policy.at_loss = {4: poison}
    with pytest.raises(TrainingError, match=r"update 4: expected finite numbers, got .*grad_norm"):
        toy.run(store, tmp_path, policy, log_every=3)
    assert list((tmp_path / "checkpoints").iterdir()) == []


def test_a_run_whose_links_were_lost_is_not_begun_anew(store: Store, tmp_path: Path) -> None:
    toy.run(store, tmp_path, toy.ToyPolicy())
    (tmp_path / "checkpoints" / "last").unlink()
    with pytest.raises(TrainingError, match="000012 exists already; resume"):
        toy.run(store, tmp_path, toy.ToyPolicy())
    assert toy.run(store, tmp_path, toy.ToyPolicy(), resume=True).updates == 12
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == ["000008", "000012"]


def test_the_oldest_checkpoint_goes_and_not_the_one_first_in_the_alphabet(tmp_path: Path) -> None:
    present = [tmp_path / "checkpoints" / name for name in ("999999", "1000000", "1000001")]
    for path in present:
        path.mkdir(parents=True)
    spare = Spare(toy.ToyPolicy(), kept=True)
    with Checkpoints(tmp_path, keep=2, spare=spare, world=World(torch.device("cpu"))) as checkpoints:
        assert checkpoints.last() == present[-1]
        checkpoints._drop()
    assert [path.exists() for path in present] == [False, True, True]


def test_an_exception_inside_a_save_leaves_no_half_checkpoint(store: Store, tmp_path: Path) -> None:
    def fail() -> None:
        raise OSError("disk full")

    policy = toy.ToyPolicy()
    policy.at_save = {2: fail}
    with pytest.raises(OSError, match="disk full"):
        toy.run(store, tmp_path, policy)
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == ["000004", "last"]


def test_a_run_is_not_continued_by_accident(store: Store, tmp_path: Path) -> None:
    toy.run(store, tmp_path, toy.ToyPolicy())
    with pytest.raises(TrainingError, match="exists already; resume"):
        toy.run(store, tmp_path, toy.ToyPolicy())


def test_resume_refuses_what_does_not_fit(store: Store, tmp_path: Path) -> None:
    toy.run(store, tmp_path, toy.ToyPolicy())
    with pytest.raises(TrainingError, match=r"lr: saved 0\.01, given 0\.5"):
        toy.run(store, tmp_path, toy.ToyPolicy(), resume=True, lr=0.5)
    with pytest.raises(TrainingError, match="the run saw other data"):
        toy.run(toy.toy_store(tmp_path / "other", seed=6), tmp_path, toy.ToyPolicy(), resume=True)
    toy.run(toy.toy_store(tmp_path / "elsewhere"), tmp_path, toy.ToyPolicy(), resume=True)
    other = toy.ToyPolicy()
    torch.nn.init.zeros_(other.frozen.weight)
    with pytest.raises(TrainingError, match="frozen parameters"):
        toy.run(store, tmp_path, other, resume=True)
    other = toy.ToyPolicy()
    other.gripper = torch.nn.Linear(32, 5)
    with pytest.raises(TrainingError, match=r"another policy \(2 tensors differ\).*gripper"):
        toy.run(store, tmp_path, other, resume=True)
    checkpoint = tmp_path / "checkpoints" / "last"
    content = next((checkpoint / STATE).glob("*.distcp"))
    content.write_bytes(content.read_bytes()[:1000])
    with pytest.raises(TrainingError, match=r"training_state cannot be read \(bytes: \{'__0_0.distcp': 1000\}\)"):
        toy.run(store, tmp_path, toy.ToyPolicy(), resume=True)
    (checkpoint / STATE / ".metadata").write_bytes(b"not a checkpoint at all")
    with pytest.raises(TrainingError, match=r"\.metadata cannot be read"):
        toy.run(store, tmp_path, toy.ToyPolicy(), resume=True)
    (checkpoint / "training.json").write_text("{")
    with pytest.raises(TrainingError, match=r"training\.json cannot be read"):
        toy.run(store, tmp_path, toy.ToyPolicy(), resume=True)
    (checkpoint / "training_state.pt").touch()
    with pytest.raises(TrainingError, match="written by an earlier version"):
        toy.run(store, tmp_path, toy.ToyPolicy(), resume=True)


@pytest.mark.parametrize("way", ["index", "object"])
def test_resuming_runs_nothing_that_a_checkpoint_brings_along(store: Store, tmp_path: Path, way: str) -> None:
    run, trace = tmp_path / "run", tmp_path / "trace"
    toy.run(store, run, toy.ToyPolicy())
    index = run / "checkpoints" / "last" / STATE / ".metadata"
    trap = _Trap(trace)
    if way == "index":
        index.write_bytes(pickle.dumps(trap))
    else:  # torch unpickles what the index calls an object, even in the place of a tensor
        found = pickle.loads(index.read_bytes())
        name = next(iter(found.state_dict_metadata))
        found.state_dict_metadata[name] = BytesStorageMetadata()
        index.write_bytes(pickle.dumps(found))
    with pytest.raises(TrainingError, match=r"\.metadata cannot be read.*(could do anything|tensors alone)"):
        toy.run(store, run, toy.ToyPolicy(), resume=True)
    assert not trace.exists()


class _Trap:
    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.trace),)


def test_data_the_policy_cannot_use_is_named(store: Store, tmp_path: Path) -> None:
    policy = toy.ToyPolicy()
    policy.recipe.config["cameras"] = ["wrist"]
    with pytest.raises(StoreError, match=r"cameras \['primary'\], not 'wrist'"):
        toy.run(store, tmp_path, policy)
    with pytest.raises(StoreError, match="no known format"):
        toy.run(tmp_path, tmp_path / "out", toy.ToyPolicy())


def test_an_error_in_the_background_thread_arrives(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from seerkit.data.windows import Windows

    def fail(*_: object) -> None:
        raise OSError("the disk is gone")

    monkeypatch.setattr(Windows, "gather", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        toy.run(store, tmp_path, toy.ToyPolicy())
