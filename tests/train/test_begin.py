"""No run begins from other weights than it was asked to begin from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from seerkit import Policy, build_policy
from seerkit.cli import app
from seerkit.data.store import Store
from seerkit.init_from import InitError, prepare
from seerkit.recipe import RecipeError
from seerkit.train.loop import train
from seerkit.train.trainer import TrainingError
from tests.train import toy

QUICK = ["train.updates=1", "train.warmup=1", "train.batch_size=2", "train.holdout=0", "train.ema=null"]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toy.toy_store(tmp_path_factory.mktemp("data") / "store", cameras=("primary", "wrist"), side=20)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    policy = toy.real_policy()
    with torch.no_grad():
        policy.trunk.queries["action"].fill_(3.0)
    return policy.save_pretrained(tmp_path_factory.mktemp("good") / "good")


def test_training_from_python_does_not_forget_where_to_begin(store: Store, good: Path, tmp_path: Path) -> None:
    begins = f"init_from.checkpoint='{good}'"
    policy = toy.real_policy(*QUICK, begins)
    with pytest.raises(TrainingError, match=r"begins from init_from.checkpoint=.*call seerkit.init_from.prepare"):
        train(policy, store, tmp_path / "run", device="cpu", progress=False)
    with pytest.raises(TrainingError, match="prepare"):
        train(policy, store, tmp_path / "run", resume=True, device="cpu", progress=False)
    prepare(policy)
    result = train(policy, store, tmp_path / "run", device="cpu", progress=False)
    again = Policy.from_pretrained(result.checkpoint)
    assert again.recipe.config["init_from"]["checkpoint"] == str(good), "it still says how it began"
    assert train(again, store, tmp_path / "more", device="cpu", progress=False).updates == 1


def test_a_resumed_run_has_begun(store: Store, good: Path, tmp_path: Path) -> None:
    overrides = [*QUICK, f"init_from.checkpoint='{good}'"]
    first = toy.real_policy(*overrides)
    prepare(first)
    train(first, store, tmp_path, device="cpu", progress=False)
    assert train(toy.real_policy(*overrides), store, tmp_path, resume=True, device="cpu", progress=False).updates == 1


def test_a_checkpoint_does_not_begin_from_another(store: Store, good: Path, tmp_path: Path) -> None:
    policy = Policy.from_pretrained(good, *QUICK, "init_from.checkpoint=elsewhere")
    with pytest.raises(InitError, match=r"has the weights of .*given init_from.checkpoint=elsewhere"):
        prepare(policy)
    with pytest.raises(TrainingError, match="nothing was carried over"):
        train(policy, store, tmp_path / "run", device="cpu", progress=False)
    assert prepare(Policy.from_pretrained(good, "init_from.checkpoint=null")) is None
    arguments = ["train", str(good), *QUICK, "init_from.checkpoint=elsewhere"]
    result = CliRunner().invoke(app, [*arguments, "--data", str(store.path), "--out", str(tmp_path / "run")])
    assert isinstance(result.exception, InitError)
    assert not (tmp_path / "run" / "checkpoints" / "last").exists()


def test_a_recipe_has_no_revision() -> None:
    with pytest.raises(RecipeError, match=r"revision='v1' is of a repository on the Hub .*'seer_tabletop'"):
        build_policy("seer_tabletop", revision="v1")
    with pytest.raises(RecipeError, match="trust_remote_code=True is of a repository"):
        build_policy("seer_tabletop", trust_remote_code=True)
