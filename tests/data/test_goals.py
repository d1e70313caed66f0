"""Hindsight goals: every window is given the end of its own episode."""

from __future__ import annotations

import pytest
import torch

from seerkit import keys
from seerkit.data.store import Store
from seerkit.data.windows import Windows


@pytest.mark.parametrize("steps", [1, 4, 7])
def test_the_goal_is_the_episodes_last_frame_and_state(numbered: Store, steps: int) -> None:
    windows = Windows(numbered, steps=steps, chunk=2, ahead=1, goal=("image", "state"))
    batch = windows.gather(torch.arange(len(windows)))
    number = torch.tensor([int(text.removeprefix("task ")) for text in batch[keys.INSTRUCTION]])
    last = 20 * number + torch.tensor([episode.length for episode in numbered.episodes])[number] - 1
    assert len(last.unique()) == 4
    assert batch[keys.GOAL_STATE].tolist() == last[:, None].expand(-1, 7).tolist()
    assert batch[keys.GOAL_STATE].dtype == torch.float32
    for name, size in numbered.conventions.cameras.items():
        picture = batch[keys.under(keys.GOAL_IMAGE, name)]
        assert picture.dtype == torch.uint8
        assert torch.equal(picture, last.byte()[:, None, None, None].expand(-1, *size))


def test_only_what_is_asked_for_is_read(numbered: Store) -> None:
    index, given = torch.tensor([0, 3]), {"steps": 2, "chunk": 1, "ahead": 0}
    assert "goal" not in Windows(numbered, **given).gather(index)
    state = Windows(numbered, **given, goal=["state"]).gather(index)
    assert list(state["goal"].keys()) == ["state"]
    picture = Windows(numbered, **given, goal=["image"], cameras=["wrist"]).gather(index)
    assert list(picture["goal"].keys(include_nested=True, leaves_only=True)) == [("image", "wrist")]


def test_episodes_left_out_lend_no_goal(numbered: Store) -> None:
    windows = Windows(numbered, steps=3, chunk=1, ahead=0, episodes=[2, 1], goal=["state"])
    batch = windows.gather(torch.arange(len(windows)))
    assert batch[keys.GOAL_STATE][:, 0].tolist() == [45.0] * 4 + [22.0]


def test_an_unknown_goal_is_named(numbered: Store) -> None:
    with pytest.raises(ValueError, match=r"a goal is one of \('image', 'state'\), got \['pose'\]"):
        Windows(numbered, steps=1, chunk=1, ahead=0, goal=["pose"])
