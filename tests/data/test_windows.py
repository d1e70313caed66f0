"""Windows: checked step by step against the plain definition, on a store whose values are step numbers."""

from __future__ import annotations

import pytest
import torch

from seerkit import keys
from seerkit.data.split import split_episodes
from seerkit.data.store import Store, StoreError
from seerkit.data.windows import Windows


@pytest.mark.parametrize(("steps", "chunk", "ahead"), [(4, 3, 3), (1, 1, 0), (1, 5, 2), (7, 2, 1)])
def test_every_window_is_what_the_definition_says(numbered: Store, steps: int, chunk: int, ahead: int) -> None:
    windows = Windows(numbered, steps=steps, chunk=chunk, ahead=ahead)
    expected = [
        (number, start)
        for number, episode in enumerate(numbered.episodes)
        for start in range(max(episode.length - steps, 0) + 1)
    ]
    assert len(windows) == len(expected)
    batch = windows.gather(torch.arange(len(windows)))
    for row, (number, start) in enumerate(expected):
        last = numbered.episodes[number].length - 1
        value = [20 * number + min(start + t, last) for t in range(steps + ahead)]
        assert batch[keys.INSTRUCTION][row] == f"task {number}"
        assert batch[keys.STATE][row, :, 0].tolist() == value[:steps]
        for camera in ("primary", "wrist"):
            assert batch[(*keys.IMAGE, camera)][row, :, 2, -1, -1].tolist() == value[:steps]
            if ahead:
                assert batch[(*keys.FUTURE, camera)][row, :, 0, 0, 0].tolist() == value[steps:]
        for t in range(steps):
            chunk_steps = [start + t + k for k in range(chunk)]
            assert batch[keys.TARGET_CHUNK][row, t, :, 6].tolist() == [20 * number + min(s, last) for s in chunk_steps]
            assert batch[keys.ACTION_IS_PAD][row, t].tolist() == [s > last for s in chunk_steps]
            if ahead:
                assert bool(batch[keys.FUTURE_IS_PAD][row, t]) == (start + t + ahead > last)


def test_shapes_and_types(numbered: Store) -> None:
    batch = Windows(numbered, steps=4, chunk=3, ahead=2, cameras=["primary"]).gather(torch.tensor([0, 5, 1]))
    assert batch.batch_size == (3,)
    assert batch[keys.INSTRUCTION] == ["task 0", "task 0", "task 0"]
    kinds = {
        (*keys.IMAGE, "primary"): ((3, 4, 3, 4, 6), torch.uint8),
        (*keys.FUTURE, "primary"): ((3, 2, 3, 4, 6), torch.uint8),
        keys.STATE: ((3, 4, 7), torch.float32),
        keys.TARGET_CHUNK: ((3, 4, 3, 7), torch.float32),
        keys.ACTION_IS_PAD: ((3, 4, 3), torch.bool),
        keys.FUTURE_IS_PAD: ((3, 4), torch.bool),
    }
    for key, (shape, dtype) in kinds.items():
        assert (tuple(batch[key].shape), batch[key].dtype) == (shape, dtype)
    assert (*keys.IMAGE, "wrist") not in batch.keys(include_nested=True)


def test_steps_that_never_were_are_marked(numbered: Store) -> None:
    shortest = min(episode.length for episode in numbered.episodes)
    whole = Windows(numbered, steps=shortest, chunk=1, ahead=0).gather(torch.tensor([0]))
    assert keys.STEP_IS_PAD not in set(whole.keys())
    windows = Windows(numbered, steps=shortest + 2, chunk=1, ahead=1)
    batch = windows.gather(torch.arange(len(windows)))
    assert torch.equal(batch[keys.STEP_IS_PAD], batch[keys.ACTION_IS_PAD][..., 0])
    assert batch[keys.STEP_IS_PAD].any()


def test_no_future_when_nothing_is_foreseen(numbered: Store) -> None:
    batch = Windows(numbered, steps=2, chunk=1, ahead=0).gather(torch.tensor([0]))
    assert {"future", keys.FUTURE_IS_PAD}.isdisjoint(batch.keys())


def test_only_the_chosen_episodes(numbered: Store) -> None:
    windows = Windows(numbered, steps=3, chunk=1, ahead=1, episodes=[2, 1])
    batch = windows.gather(torch.arange(len(windows)))
    assert batch[keys.INSTRUCTION] == ["task 2"] * 4 + ["task 1"]


def test_bad_requests_are_named(numbered: Store) -> None:
    with pytest.raises(StoreError, match=r"\['primary', 'wrist'\], not 'wirst'; did you mean 'wrist'"):
        Windows(numbered, steps=1, chunk=1, ahead=0, cameras=["wirst"])
    with pytest.raises(StoreError, match="no episode"):
        Windows(numbered, steps=1, chunk=1, ahead=0, episodes=[])
    with pytest.raises(ValueError, match=r"got \(0, 1, 0\)"):
        Windows(numbered, steps=0, chunk=1, ahead=0)
    with pytest.raises(IndexError, match=r"0 \.\. 18"):
        Windows(numbered, steps=1, chunk=1, ahead=0).gather(torch.tensor([19]))


def test_split_keeps_layouts_together_and_follows_the_seed(numbered: Store) -> None:
    train, held = split_episodes(numbered, holdout=0.5, seed=0)
    assert sorted(train + held) == [0, 1, 2, 3]
    assert (train, held) in [([0, 1], [2, 3]), ([2, 3], [0, 1])]
    assert split_episodes(numbered, holdout=0.5, seed=0) == (train, held)
    assert {tuple(split_episodes(numbered, holdout=0.5, seed=seed)[1]) for seed in range(8)} == {(0, 1), (2, 3)}
    assert split_episodes(numbered, holdout=0.0) == ([0, 1, 2, 3], [])
    with pytest.raises(ValueError, match="share"):
        split_episodes(numbered, holdout=1.0)
