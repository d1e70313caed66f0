"""Features kept on disk give the numbers the encoder would have given, to bf16, and never those of another encoder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from seerkit import Policy, keys
from seerkit.data.source import StoreError
from seerkit.data.store import Conventions, Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter
from seerkit.train.features import build_features, features_folder, open_features
from seerkit.train.loop import train
from seerkit.train.settings import Settings
from seerkit.train.windows import training_windows
from tests.small import small_policy

SIZES = {"primary": (3, 40, 40), "wrist": (3, 32, 32)}


def record(path: Path) -> Store:
    draw = np.random.default_rng(0)
    with StoreWriter(path, Conventions(cameras=SIZES)) as writer:
        for steps in (13, 16):
            frames = {name: draw.integers(0, 256, (steps, *size), np.uint8) for name, size in SIZES.items()}
            state, action = (draw.uniform(-1, 1, (steps, 7)).astype(np.float32) for _ in range(2))
            state[:, -1] = action[:, -1] = 1.0
            writer.add(frames, state, action, instruction="push the block", success=True)
    return Store(path)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return record(tmp_path_factory.mktemp("data") / "store")


@pytest.fixture
def policy() -> Policy:
    torch.manual_seed(3)
    policy = small_policy("seer_calvin", "init_from=null", "data.fps=15")
    for name in policy.cameras:
        policy.pixels[name].shift = policy.recipe.config["pixels"][name]["shift"] = 0
    policy.trunk.dropout = 0.0
    for block in policy.trunk.blocks:
        block.dropout = 0.0
    return policy.train()


def windows_of(policy: Policy, store: Store) -> Windows:
    return Windows(store, steps=policy.steps, chunk=3, ahead=policy.ahead, cameras=policy.cameras)


def test_losses_and_gradients_are_those_of_the_encoder(policy: Policy, store: Store) -> None:
    told: list[tuple[int, int]] = []
    build_features(policy, store, progress=lambda *done: told.append(done))
    assert told[-1] == (58, 58)
    windows, index = windows_of(policy, store), torch.tensor([0, 2, 5])
    cached = windows.with_rows(open_features(policy, store)).gather(index)
    vit, seen = policy.encoders["image"].vit, []
    hook = vit.register_forward_hook(lambda _, __, out: seen.append(len(out)) or out.bfloat16().float())
    found = []
    for batch in (cached, windows.gather(index)):
        policy.zero_grad()
        terms = policy.loss(batch)
        torch.stack([*terms.values()]).sum().backward()
        gradient = torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None])
        found.append((torch.stack([*terms.values()]).detach(), gradient))
    hook.remove()
    assert len(seen) == 1, "the encoder runs only for the batch without features"
    torch.testing.assert_close(found[0][0], found[1][0], rtol=1e-4, atol=1e-6)
    assert torch.nn.functional.cosine_similarity(found[0][1], found[1][1], dim=0) > 0.9999


def test_another_encoder_preparation_or_data_has_another_folder(policy: Policy, store: Store, tmp_path: Path) -> None:
    first = features_folder(policy, store)
    assert features_folder(policy, store) == first
    assert first.parent == store.path.with_name("store.features")
    other = record(tmp_path / "store")
    assert features_folder(policy, other).name == first.name, "the same data elsewhere"
    policy.recipe.config["pixels"]["wrist"]["mean"][0] = 0.1
    second = features_folder(policy, store)
    with torch.no_grad():
        policy.encoders["image"].vit.vit.cls_token.add_(1)
    assert len({first, second, features_folder(policy, store)}) == 3


def test_what_cannot_be_kept_is_refused(policy: Policy, store: Store) -> None:
    policy.recipe.config["pixels"]["wrist"]["shift"] = 4
    with pytest.raises(StoreError, match=r"pixels\.wrist\.shift=0"):
        features_folder(policy, store)
    learning = small_policy("seer_tabletop")
    for name in learning.cameras:
        learning.recipe.config["pixels"][name]["shift"] = 0
    with pytest.raises(StoreError, match="no frozen image encoder"):
        features_folder(learning, store)


def test_missing_and_damaged_features_are_said_so(policy: Policy, tmp_path: Path) -> None:
    store = record(tmp_path / "store")
    with pytest.raises(StoreError, match="build them once: seerkit features"):
        open_features(policy, store)
    folder = build_features(policy, store)
    with (folder / "wrist.bf16").open("ab") as file:
        file.truncate(100)
    with pytest.raises(StoreError, match=r"wrist\.bf16 does not have"):
        open_features(policy, store)


def test_a_stopped_build_leaves_nothing(policy: Policy, tmp_path: Path) -> None:
    store = record(tmp_path / "store")

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build_features(policy, store, progress=stop)
    assert [*store.path.with_name("store.features").iterdir()] == []


def test_training_reads_them(policy: Policy, store: Store, tmp_path: Path) -> None:
    build_features(policy, store)
    seen: list[int] = []
    policy.encoders["image"].vit.register_forward_pre_hook(lambda *_: seen.append(1))
    settings = Settings(updates=2, batch_size=4, cached_features=True, trajectory_chunk=1)
    result = train(policy, store, tmp_path / "run", settings=settings, device="cpu", progress=False)
    assert result.updates == 2
    assert seen == []


def test_they_are_those_of_the_steps_that_stay_when_pauses_are_dropped(policy: Policy, tmp_path: Path) -> None:
    """Built for the whole data set, read for the steps that are left."""
    conventions, draw = Conventions(cameras=SIZES), np.random.default_rng(1)
    with StoreWriter(tmp_path / "store", conventions) as writer:
        frames = {name: draw.integers(0, 256, (20, *size), np.uint8) for name, size in SIZES.items()}
        action = np.ones((20, 7), np.float32)
        action[3:8, :6] = 0.0
        writer.add(frames, np.zeros((20, 7), np.float32), action, instruction="push the block")
    store = Store(tmp_path / "store")
    build_features(policy, store)
    policy.recipe.config["data"] |= {"pauses": "drop"}
    windows, *_ = training_windows(policy, store, Settings(updates=1, batch_size=1, cached_features=True))
    batch = windows.gather(torch.arange(1))
    steps = torch.tensor([0, 1, 2, 8, 9, 10, 11, 12, 13, 14])
    for name in policy.cameras:
        kept = open_features(policy, store)[keys.under(keys.FEATURES, name)].take(steps)
        assert torch.equal(batch[keys.under(keys.FEATURES, name)][0], kept)
        assert torch.equal(batch[keys.under(keys.IMAGE, name)][0], store.frames[name][steps])
