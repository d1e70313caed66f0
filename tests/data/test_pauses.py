"""Pauses are left out; turns on the spot, slow motion and the rest at the end are not, and no motion is lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation
from torch import Tensor

from seerkit.data.conventions import STATES, Conventions
from seerkit.data.pauses import ROTATION, TRANSLATION, moving, without_pauses
from seerkit.data.source import StoreError
from seerkit.data.store import Store
from seerkit.data.writer import StoreWriter

METRES, RADIANS = 0.02, 0.05


def store_of(path: Path, *motions: Tensor, scale: tuple[float, float] = (METRES, RADIANS)) -> Store:
    """Store motions in metres, radians and gripper signs; pictures tell the row."""
    conventions = Conventions(cameras={"primary": (3, 1, 1)}, action_scale=scale)
    row = 0
    with StoreWriter(path, conventions) as writer:
        for motion in motions:
            action = motion / torch.tensor([scale[0]] * 3 + [scale[1]] * 3 + [1.0])
            frames = (torch.arange(len(motion)) + row).to(torch.uint8)[:, None, None, None].expand(-1, 3, 1, 1)
            writer.add({"primary": frames.contiguous()}, torch.zeros(len(motion), 7), action, instruction="x")
            row += len(motion)
    return Store(path)


def motions(*steps: tuple[float, float, int]) -> Tensor:
    """Steps that move along x (m) and turn about z (rad), with a gripper."""
    table = torch.zeros(len(steps), 7)
    table[:, [0, 5, 6]] = torch.tensor(steps, dtype=torch.float32)
    return table


def test_what_is_a_pause(tmp_path: Path) -> None:
    steps = motions(
        (0, 0, 1),  # still at the beginning
        (0.01, 0, 1),
        (1e-4, 0, 1),  # trembles
        (-1e-4, 0, 1),
        (0, 0.02, 1),  # turns on the spot
        (0, 1e-3, 1),
        (0, 0, -1),  # grips
        (0, 0, -1),
        (0.01, 0, -1),
        (0, 0, -1),  # rests at the end
        (0, 0, -1),
    )
    kept, _ = moving(store_of(tmp_path / "store", steps))
    assert kept.nonzero().flatten().tolist() == [1, 4, 6, 8, 9, 10]


@pytest.mark.parametrize("scale", [(0.02, 0.05), (0.05, 0.5)])
def test_thresholds_are_in_metres_and_radians(tmp_path: Path, scale: tuple[float, float]) -> None:
    for column, threshold in ((1, TRANSLATION), (4, ROTATION)):
        for factor in (1.01, 0.99, -1.01, -0.99):
            steps = torch.zeros(4, 7)
            steps[:, 6] = 1
            steps[1, column], steps[3, column] = factor * threshold, 20 * threshold
            source = store_of(tmp_path / f"{column} {factor}", steps, scale=scale)
            assert moving(source)[0].tolist() == [False, abs(factor) > 1, False, True]


def test_slow_motion_is_thinned_out_and_arrives(tmp_path: Path) -> None:
    """An official filter would drop every one of these steps."""
    steps = motions(*[(2e-4, 0, 1)] * 31)
    source = without_pauses(store_of(tmp_path / "store", steps))
    assert len(source) == 10 + 1
    assert isinstance(source.action, Tensor)
    assert float(source.action[:, 0].sum()) * METRES == pytest.approx(31 * 2e-4, rel=1e-6)


def end_of(motion: np.ndarray) -> np.ndarray:
    """Follow motions in the tool's frame, by SciPy."""
    pose = np.eye(4)
    for step in motion.astype(np.float64):
        one = np.eye(4)
        one[:3, 3] = step[:3] * METRES
        one[:3, :3] = Rotation.from_euler("xyz", step[3:6] * RADIANS).as_matrix()
        pose = pose @ one
    return pose


def test_the_same_places_are_reached(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    steps = torch.rand(60, 7, generator=generator) * 2 - 1
    steps[:, :3] *= METRES
    steps[:, 3:6] *= RADIANS
    quiet = torch.rand(60, generator=generator) < 0.6
    steps[quiet, :6] *= 0.01
    steps[:, 6] = 1
    steps[-1] = torch.tensor([METRES, 0, 0, 0, 0, 0, 1])  # nothing waits at the end
    store = store_of(tmp_path / "store", steps)
    source = without_pauses(store)
    assert 20 < len(source) < 40
    assert isinstance(source.action, Tensor)
    whole, short = end_of(store.action.numpy()), end_of(source.action.numpy())
    lost = end_of(store.action.numpy()[moving(store)[0].numpy()])
    assert np.abs(whole - short).max() < len(source) * 1e-4
    assert np.abs(whole - lost).max() > 3 * np.abs(whole - short).max()


def test_frames_follow_and_episodes_stay_apart(tmp_path: Path) -> None:
    one, other = motions((0.01, 0, 1), (3e-4, 0, 1), (0.01, 0, 1)), motions((3e-4, 0, -1), (0, 0, -1), (0.01, 0, -1))
    source = without_pauses(store_of(tmp_path / "store", one, other))
    assert [(episode.start, episode.length) for episode in source.episodes] == [(0, 2), (2, 1)]
    shown = source.episode(0)["observation", "image", "primary"], source.episode(1)["observation", "image", "primary"]
    assert [frames[:, 0, 0, 0].tolist() for frames in shown] == [[0, 2], [5]]
    assert isinstance(source.action, Tensor)
    torch.testing.assert_close(source.action[:, 0] * METRES, torch.tensor([0.01, 0.0103, 0.0103]))


def test_an_episode_that_never_moves_stays(tmp_path: Path) -> None:
    source = store_of(tmp_path / "store", motions((0, 0, 1), (0, 0, 1)), motions((0.01, 0, 1)))
    assert moving(source)[0].all()


def test_what_cannot_be_told(tmp_path: Path) -> None:
    source = store_of(tmp_path / "store", motions((0, 0, 1)))
    with pytest.raises(ValueError, match="above 0"):
        moving(source, rotation=0)
    silent = Conventions(cameras={"primary": (3, 1, 1)}, state=STATES["none"], action=())
    with StoreWriter(tmp_path / "silent", silent) as writer:
        writer.add({"primary": torch.zeros(2, 3, 1, 1, dtype=torch.uint8)}, None, None, instruction="x")
    with pytest.raises(StoreError, match="no actions"):
        moving(Store(tmp_path / "silent"))
