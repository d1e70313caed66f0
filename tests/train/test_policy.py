"""The loop with the real policy: it learns, it is resumed bit for bit, it says what does not fit."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from tensordict import TensorDict

from seerkit import keys
from seerkit.data.store import Store
from seerkit.data.windows import Windows
from seerkit.policy import Policy
from seerkit.train.logging import METRICS, read_metrics
from seerkit.train.parallel import World
from seerkit.train.settings import Settings
from seerkit.train.validate import Validation
from tests.train import toy


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("data") / "store"
    return toy.toy_store(path, cameras=("primary", "wrist"), side=20)


def test_sigkill_and_resume_is_bitwise_the_same(store: Store, tmp_path: Path) -> None:
    toy.run(store, tmp_path / "whole", toy.real_policy())
    killed = tmp_path / "killed"
    command = [sys.executable, toy.__file__, str(store.path), str(killed), "--real", "--kill-loss", "7"]
    assert subprocess.run([*command, "--after", "000004"], check=False, timeout=300).returncode == -signal.SIGKILL
    assert (killed / "checkpoints" / "last").resolve().name == "000004"
    toy.run(store, killed, toy.real_policy(), resume=True)
    one, other = (toy.saved_state(out / "checkpoints" / "last") for out in (tmp_path / "whole", killed))
    assert one.keys() == other.keys()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_it_learns_listens_and_is_a_whole_checkpoint(store: Store, tmp_path: Path) -> None:
    policy = toy.real_policy("trunk.dropout=0")
    result = toy.run(store, tmp_path, policy, updates=100, holdout=0.3)
    assert result.metrics["val_loss_arm_wrong_word"] > 2 * result.metrics["val_loss_arm"]
    assert {"val_psnr_primary", "val_psnr_copy_wrist"} < result.metrics.keys()
    lines = [line for line in read_metrics(tmp_path / METRICS) if "loss" in line]
    assert lines[-1]["loss"] < 0.5 * lines[0]["loss"]
    loaded = Policy.from_pretrained(tmp_path / "checkpoints" / "last")
    for name, tensor in policy.state_dict().items():
        assert torch.equal(tensor, loaded.state_dict()[name]), name
    summary = json.loads((tmp_path / "checkpoints" / "best" / "training.json").read_text())
    assert summary["conventions"]["cameras"] == {"primary": [3, 20, 20], "wrist": [3, 20, 20]}


def test_without_foresight(store: Store, tmp_path: Path) -> None:
    result = toy.run(store, tmp_path, toy.real_policy("foresight=none"), updates=2, warmup=0, holdout=0.3)
    assert "loss_foresight" not in result.metrics
    assert not any("psnr" in name for name in result.metrics)


def test_a_foresight_head_without_its_loss_trains_and_is_validated(store: Store, tmp_path: Path) -> None:
    policy = toy.real_policy("~losses.foresight")
    result = toy.run(store, tmp_path, policy, updates=2, warmup=0, holdout=0.3)
    assert "val_loss_arm" in result.metrics
    assert not any("psnr" in name for name in result.metrics)
    batch = Windows(store, steps=2, chunk=3, ahead=0).gather(torch.arange(4))  # nothing about the future
    assert set(policy.loss(batch).keys()) == {"loss_arm", "loss_gripper"}
    with pytest.raises(ValueError, match=r"no loss says what .* head 'foresight' foresees; its losses: .*arm.*gripper"):
        policy.foresee(batch)


def test_bf16_runs(store: Store, tmp_path: Path) -> None:
    assert toy.run(store, tmp_path, toy.real_policy(), updates=2, warmup=0, precision="bf16", holdout=0.3).updates == 2


def test_every_recipe_gives_settings() -> None:
    from seerkit import list_recipes, load_recipe

    for name in list_recipes():
        train = load_recipe(name).config["train"]
        total, warmup = Settings.read(train).length(100_000)
        assert 0 < warmup < total, name
    assert Settings.read(train, {"updates": 10}).length(100)[0] == 10


def test_windows_fit_the_policy(store: Store) -> None:
    policy = toy.real_policy()
    batch = Windows(store, steps=2, chunk=3, ahead=3).gather(torch.arange(4))
    assert set(policy.loss(batch).keys()) == {"loss_arm", "loss_gripper", "loss_foresight"}
    with pytest.raises(ValueError, match="expected 3 frames after the window, got 1"):
        policy.loss(Windows(store, steps=2, chunk=3, ahead=1).gather(torch.arange(4)))


def test_heads_that_draw_are_validated_with_the_same_draws_each_time(store: Store) -> None:
    policy = toy.real_policy("action=flow")
    torch.nn.init.normal_(policy.heads["action"].denoiser.out.weight)  # pyright: ignore
    given = {"limit": 12, "batch_size": 5, "world": World(torch.device("cpu"))}
    windows = Windows(store, steps=2, chunk=3, ahead=policy.ahead, cameras=policy.cameras)
    validation = Validation(windows, **given, instructions=toy.WORDS)
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = validation.measure(policy)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    assert validation.measure(policy) == first
    same = Validation(windows, **given, instructions=["left", "left"])  # the "wrong" word is the right one
    same._misled = lambda batch, index, reads: [("word", batch.copy())]  # noqa: ARG005
    again = same.measure(policy)
    assert again["val_loss_denoise_wrong_word"] == again["val_loss_denoise"] == first["val_loss_denoise"]


def test_a_recipe_says_which_share_and_which_sentence(store: Store, tmp_path: Path) -> None:
    first = toy.run(store, tmp_path / "a", toy.real_policy(), updates=1, holdout=0.4)
    whole = json.loads((first.checkpoint / "training.json").read_text())
    policy = toy.real_policy("data.fraction=0.5", "data.language=no lang")
    heard: list[str] = []
    loss = policy.loss

    def listening(td: TensorDict) -> TensorDict:
        heard.extend(td.get(keys.INSTRUCTION).tolist())
        return loss(td)

    policy.loss = listening  # pyright: ignore[reportAttributeAccessIssue]
    result = toy.run(store, tmp_path / "b", policy, updates=1, holdout=0.4)
    part = json.loads((result.checkpoint / "training.json").read_text())
    assert 0 < part["windows"] < whole["windows"]
    assert set(heard) == {"no lang"}
    assert "val_loss_arm_wrong_word" in whole["metrics"]
    assert "val_loss_arm_wrong_word" not in part["metrics"]
