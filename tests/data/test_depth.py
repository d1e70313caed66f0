"""Depth from the env to the windows: stored to the millimetre, cut like the pictures, missed with a clear word."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from seerkit import keys
from seerkit.data.depth import to_millimetres
from seerkit.data.store import Conventions, Store, StoreError
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter, merge


def test_half_a_millimetre_at_most_and_zero_for_unknown() -> None:
    metres = np.random.default_rng(0).uniform(0.02, 60, 10_000).astype(np.float32)
    assert np.abs(to_millimetres(metres) / 1000 - metres).max() < 0.5005e-3
    assert to_millimetres(np.array([0.0, -1.0, np.nan, np.inf, 70.0, 65.535])).tolist() == [0, 0, 0, 0, 0, 65535]


@pytest.fixture
def deep(tmp_path: Path) -> Store:
    """Two episodes whose depth, in millimetres, is 1000 times the episode plus the step."""
    conventions = Conventions(cameras={"primary": (3, 4, 6)}, depth=True)
    with StoreWriter(tmp_path / "deep", conventions) as writer:
        for number, length in enumerate((6, 4)):
            value = torch.arange(length) + 1000 * number + 60000
            depth = {"primary": value[:, None, None, None].expand(-1, 1, 4, 6).numpy().astype(np.uint16)}
            frames = {"primary": torch.zeros(length, 3, 4, 6, dtype=torch.uint8)}
            writer.add(frames, torch.zeros(length, 7), torch.zeros(length, 7), instruction="x", depth=depth)
    return Store(tmp_path / "deep")


def test_windows_of_depth_are_what_the_definition_says(deep: Store) -> None:
    windows = Windows(deep, steps=3, chunk=1, ahead=2).with_depth()
    batch = windows.gather(torch.arange(len(windows)))
    starts = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0), (1, 1)]
    assert len(windows) == len(starts)
    for row, (number, start) in enumerate(starts):
        last = (6, 4)[number] - 1
        expected = [60000 + 1000 * number + min(start + t, last) for t in range(5)]
        assert batch[(*keys.DEPTH, "primary")][row, :, 0, 3, 5].tolist() == expected[:3]
        assert batch[(*keys.FUTURE_DEPTH, "primary")][row, :, 0, 0, 0].tolist() == expected[3:]
    assert batch[(*keys.DEPTH, "primary")].dtype == torch.uint16
    plain = Windows(deep, steps=3, chunk=1, ahead=2).gather(torch.arange(2))
    assert (*keys.DEPTH, "primary") not in plain.keys(include_nested=True)


def test_depth_is_kept_when_stores_are_merged_and_never_mixed(deep: Store, numbered: Store, tmp_path: Path) -> None:
    both = merge([deep, deep], tmp_path / "both")
    assert torch.equal(both.depth["primary"].int(), deep.depth["primary"].int().repeat(2, 1, 1, 1))
    with pytest.raises(StoreError, match="depth"):
        merge([deep, numbered], tmp_path / "mixed")


def test_what_is_missing_is_named(numbered: Store, deep: Store, tmp_path: Path) -> None:
    assert not numbered.depth
    with pytest.raises(StoreError, match=r"no depth.*--depth"):
        Windows(numbered, steps=2, chunk=1, ahead=1).with_depth()
    frames = {"primary": torch.zeros(2, 3, 4, 6, dtype=torch.uint8)}
    with StoreWriter(tmp_path / "mended", deep.conventions) as writer:
        with pytest.raises(StoreError, match=r"must have the arrays.*depth"):
            writer.add(frames, torch.zeros(2, 7), torch.zeros(2, 7), instruction="x")
        depth = {"primary": np.ones((2, 1, 4, 6), np.uint16)}
        writer.add(frames, torch.zeros(2, 7), torch.zeros(2, 7), instruction="x", depth=depth)
    assert len(Store(tmp_path / "mended")) == 2


def test_older_stores_have_no_depth() -> None:
    fields = dataclasses.asdict(Conventions(cameras={"primary": (3, 4, 6)}))
    del fields["depth"]
    assert not Conventions.read(fields).depth


@pytest.mark.sim
def test_the_twins_depth_is_stored_within_a_millimetre(tmp_path: Path) -> None:
    from seerkit.collect import collect
    from seerkit.envs import make

    options = {"image_size": 32, "look": {"depth": True}}
    store = collect("Reach", tmp_path / "store", episodes=1, workers=1, env_options=options, progress=False)
    env = make("Reach", **options)
    seen, _ = env.reset(seed=store.episodes[0].seed)
    for camera, metres in seen["depth"].items():
        stored = store.depth[camera][0].int().numpy() / 1000
        assert np.abs(stored - metres).max() < 1e-3
    env.close()


def test_training_on_a_store_without_depth_names_both_sides(numbered: Store, tmp_path: Path) -> None:
    from seerkit.train.loop import train
    from tests.small import small_policy

    policy = small_policy("seer_tabletop_depth")
    said = r"'seer_tabletop_depth' foresees depth, but the store .*store holds none.*--depth"
    with pytest.raises(StoreError, match=said):
        train(policy, numbered, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
