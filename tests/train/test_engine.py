"""Saving while training goes on, precision, memory and speed settings, W&B, and no waiting for the device."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tensordict import TensorDict
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from seerkit.data.store import Store
from seerkit.data.windows import Windows
from seerkit.policy import Policy
from seerkit.sample import sample_batch
from seerkit.train.blocks import frozen_image_encoders
from seerkit.train.logging import METRICS, read_metrics
from seerkit.train.parallel import World
from seerkit.train.settings import Settings
from seerkit.train.trainer import Trainer
from tests.small import small_policy
from tests.train import toy

CPU = World(torch.device("cpu"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return toy.toy_store(tmp_path_factory.mktemp("data") / "store", cameras=("primary", "wrist"), side=20)


class ReadBack(TorchDispatchMode):
    """Count how often a number is fetched from the device."""

    calls = 0

    def __torch_dispatch__(
        self, func: object, types: object, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> object:
        self.calls += "_local_scalar_dense" in str(func)
        return func(*args, **(kwargs or {}))  # pyright: ignore[reportCallIssue]


def trainer_of(policy: nn.Module, **settings: object) -> Trainer:
    given = Settings(updates=4, batch_size=4, **settings)  # pyright: ignore[reportArgumentType]
    return Trainer(policy, given, total=4, warmup=0, world=CPU)


def waiting_for(event: threading.Event) -> Callable[[], bool]:
    return lambda: event.wait(30)


def setting(event: threading.Event) -> Callable[[], None]:
    return lambda: event.set()


def batch_of(store: Store, policy: Policy) -> TensorDict:
    windows = Windows(store, steps=policy.steps, chunk=3, ahead=policy.ahead, cameras=policy.cameras)
    return windows.gather(torch.arange(4))


def test_training_goes_on_while_a_checkpoint_is_written(tmp_path: Path) -> None:
    store = toy.toy_store(tmp_path / "store")
    policy, gone_on = toy.ToyPolicy(), threading.Event()
    shown: list[list[str]] = []

    def look() -> None:
        shown.append(sorted(entry.name for entry in (tmp_path / "checkpoints").glob("[!.]*")))
        gone_on.set()

    policy.at_save = {1: lambda: gone_on.wait(30) or pytest.fail("training waited for the checkpoint")}
    policy.at_loss = {6: look}
    toy.run(store, tmp_path, policy)
    assert shown == [[]], "nothing is shown before it is complete"
    assert sorted(entry.name for entry in (tmp_path / "checkpoints").iterdir()) == ["000008", "000012", "last"]


def test_what_is_written_is_what_was_saved(tmp_path: Path) -> None:
    """The weights of update 4 are written while those of updates 5 to 7 are made."""
    store = toy.toy_store(tmp_path / "store")
    weights = []
    for name, slow in (("quick", False), ("slow", True)):
        policy, gone_on = toy.ToyPolicy(), threading.Event()
        policy.at_save = {1: waiting_for(gone_on)} if slow else {}
        policy.at_loss = {8: setting(gone_on)}
        toy.run(store, tmp_path / name, policy, updates=8, keep=5)
        weights.append(toy.ToyPolicy.from_pretrained(tmp_path / name / "checkpoints" / "000004").state_dict())
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_an_update_never_waits_for_the_device(store: Store) -> None:
    policy = toy.ToyPolicy()
    trainer = trainer_of(policy, micro_batch=2, ema=0.9, clip=1.0)
    windows = Windows(store, steps=2, chunk=3, ahead=2, cameras=["primary"])
    batches = [windows.gather(torch.arange(2) + first) for first in (0, 2)]
    for batch in batches:
        batch["observation", "image", "primary"] = batch["observation", "image", "primary"][..., :8, :8]
        frames = next(key for key in batch.keys(True, True) if "future" in str(key) and "primary" in str(key))
        batch[frames] = batch[frames][..., :8, :8]
    trainer.update(batches)
    with ReadBack() as counted:
        trainer.update(batches)
    assert counted.calls == 0


def test_blocks_computed_again_change_no_gradient(store: Store, tmp_path: Path) -> None:
    weights = []
    for place, again in enumerate((False, True)):
        policy = toy.real_policy("trunk.depth=2")
        toy.run(store, tmp_path / str(place), policy, checkpoint_blocks=again, updates=3)
        weights.append({name: tensor.clone() for name, tensor in policy.state_dict().items()})
        assert "forward" not in policy.trunk.blocks[0].__dict__, "the policy is left as it was"
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_blocks_computed_again_keep_less(store: Store) -> None:
    kept = []
    for again in (False, True):
        policy = toy.real_policy("trunk.depth=4")
        trainer, sizes = trainer_of(policy, checkpoint_blocks=again), []
        batch = batch_of(store, policy)

        def pack(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.numel() * tensor.element_size())
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            trainer.replicas.loss(batch)
        kept.append(sum(sizes))
    assert kept[1] < 0.7 * kept[0]


@pytest.mark.slow
def test_compiled_blocks_compute_the_same(store: Store, tmp_path: Path) -> None:
    losses = []
    for place, compiled in enumerate((False, True)):
        policy = toy.real_policy("trunk.dropout=0", "trunk.depth=2")
        result = toy.run(store, tmp_path / str(place), policy, compile=compiled, updates=2, log_every=1)
        losses.append(result.metrics["loss"])
        assert "forward" not in policy.trunk.blocks[0].__dict__
    assert losses[1] == pytest.approx(losses[0], rel=1e-4)


def test_official_precision_halves_the_frozen_image_encoder_alone() -> None:
    policy = small_policy("seer_calvin").eval()
    (vit,) = frozen_image_encoders(policy)
    before = {name: tensor.clone() for name, tensor in policy.state_dict().items()}
    images = torch.randn(2, 3, 32, 32)
    half = small_policy("seer_calvin").eval()
    half.load_state_dict(before)
    expected = frozen_image_encoders(half)[0].bfloat16()(images.bfloat16()).float()
    trainer = trainer_of(policy, precision="official")
    policy.eval()
    assert torch.equal(vit(images), expected)
    halved = {name for name, parameter in policy.named_parameters() if parameter.dtype == torch.bfloat16}
    assert halved == {f"encoders.image.vit.{name}" for name, _ in vit.named_parameters()}
    assert trainer.settings.clips_each
    trainer.update([sample_batch(policy.recipe, batch=2)])
    trainer.close()
    after = policy.state_dict()
    frozen = {name for name, parameter in policy.named_parameters() if not parameter.requires_grad}
    assert all(torch.equal(before[name], after[name]) and after[name].dtype == torch.float32 for name in frozen)
    with pytest.raises(ValueError, match="has none; expected 'auto', 'fp32' or 'bf16'"):
        trainer_of(toy.real_policy(), precision="official")


def test_auto_precision_is_full_on_a_cpu(store: Store) -> None:
    policy = toy.real_policy()
    seen: list[bool] = []
    policy.trunk.register_forward_pre_hook(lambda *_: seen.append(torch.is_autocast_enabled("cpu")))
    for precision in ("auto", "fp32", "bf16"):
        trainer = trainer_of(policy, precision=precision)
        trainer.update([batch_of(store, policy)])
    assert seen == [False, False, True]


def test_wandb_is_asked_for_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ModuleNotFoundError, match=r"train.wandb=arm needs wandb: pip install 'seerkit\[wandb\]'"):
        toy.run(toy.toy_store(tmp_path / "store"), tmp_path, toy.ToyPolicy(), wandb="arm")


@pytest.mark.slow
def test_wandb_hears_what_the_log_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    store, out = toy.toy_store(tmp_path / "store"), tmp_path / "run"
    toy.run(store, out, toy.ToyPolicy(), wandb="arm", updates=4, holdout=0.3, validate_every=2)
    identity = (out / "wandb.id").read_text().strip()
    written = next((out / "wandb").glob(f"offline-run-*-{identity}/run-{identity}.wandb")).read_bytes()
    names = {name for line in read_metrics(out / METRICS) for name in line} - {"step"}
    assert {"val_psnr_primary", "val_loss"} < names
    for name in names:
        shown = f"val/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}"
        assert shown.encode() in written
    assert json.loads((out / "checkpoints" / "last" / "training.json").read_text())["settings"]["wandb"] == "arm"
