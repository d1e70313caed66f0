"""Windows around gripper toggles: which ones, and that seeing them more often changes nothing else."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path

import pytest
import torch

from seerkit.data.conventions import Conventions
from seerkit.data.official import OfficialWindows
from seerkit.data.source import Episode, Segment, Source
from seerkit.data.store import Store
from seerkit.data.toggles import around_toggles
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter

GRIPPERS = ("+" * 12 + "-" * 8, "-" * 30, "+-" + "-" * 18 + "+", "+-", "-+-+")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with StoreWriter(tmp_path / "store", Conventions(cameras={"primary": (3, 1, 1)})) as writer:
        for number, text in enumerate(GRIPPERS):
            action = torch.zeros(len(text), 7)
            action[:, 6] = torch.tensor([1.0 if sign == "+" else -1.0 for sign in text])
            frames = torch.full((len(text), 3, 1, 1), number, dtype=torch.uint8)
            writer.add({"primary": frames}, action, action, instruction=f"{number}")
    return Store(tmp_path / "store")


@pytest.mark.parametrize(("steps", "chunk"), [(7, 3), (4, 5), (7, 1)])
def test_the_newest_chunk_holds_the_toggle(store: Store, steps: int, chunk: int) -> None:
    """Counted window by window, from what `gather` gives."""
    windows = Windows(store, steps=steps, chunk=chunk, ahead=3)
    batch = windows.gather(torch.arange(len(windows)))
    newest, state = batch["target", "chunk"][:, -1, :, 6], batch["observation", "state"][:, :, 6]
    said = torch.cat([state, newest[:, 1:]], dim=1)  # the gripper at all steps of the window, then of its last chunk
    toggles = said[:, 1:] != said[:, :-1]
    expected = toggles[:, -chunk:].any(dim=1)
    found = set(around_toggles(windows).tolist())
    early = {int(first) for _, first, _ in zip(*windows.spans(), strict=True)}
    assert {int(number) for number in expected.nonzero()} <= found | early
    assert all(bool(toggles[number].any()) for number in found), "a window repeated shows a toggle"
    assert found - early <= {int(number) for number in expected.nonzero()}


def test_by_hand(store: Store) -> None:
    """A toggle at row 12 with a history of 7 and chunks of 3: windows from rows 4, 5, 6 on, as many as Seer's."""
    windows = Windows(store, steps=7, chunk=3, ahead=3, episodes=[0])
    assert around_toggles(windows).tolist() == [4, 5, 6]
    two = Windows(store, steps=7, chunk=3, ahead=3, episodes=[1, 2])
    assert around_toggles(two).tolist() == [24, 24, 24, 24 + 12, 24 + 13, 24 + 14], "never before the episode"
    assert around_toggles(Windows(store, steps=7, chunk=3, ahead=3, episodes=[3])).tolist() == [0, 0, 0]
    assert around_toggles(Windows(store, steps=1, chunk=1, ahead=0, episodes=[4])).tolist() == [1, 2, 3]
    assert around_toggles(Windows(store, steps=7, chunk=3, ahead=3, episodes=[1])).tolist() == []


def test_spans_that_overlap(store: Store) -> None:
    spans = [Segment(2, 14, "a", 0), Segment(5, 15, "b", 0), Segment(12, 8, "begins closed", 0)]
    windows = Windows(store, steps=4, chunk=2, ahead=1, episodes=spans)
    batch = windows.gather(around_toggles(windows))
    assert batch["language_instruction"] == ["a", "a", "b", "b"]
    assert [*batch["target", "chunk"][:, -1, :, 6].flatten().tolist()] == [1, -1, -1, -1] * 2


@pytest.mark.parametrize("segments", [False, True])
def test_of_the_official_loader_s_windows_none_that_shows_no_toggle(store: Store, segments: bool) -> None:
    spans = [Segment(0, 20, "", 0), Segment(50, 21, "", 2)] if segments else [0, 2]
    play = dataclasses.replace(source_of(store), segments=[] if segments else None)
    windows = OfficialWindows(Windows(play, steps=4, chunk=3, ahead=0, episodes=spans), window=6)
    found = around_toggles(windows)
    assert len(found) > 0
    batch = windows.gather(found)
    newest = torch.cat([batch["observation", "state"][..., 6], batch["target", "chunk"][:, -1, 1:, 6]], dim=1)
    assert bool((newest[:, 1:] != newest[:, :-1]).any(dim=1).all())


def source_of(store: Store) -> Source:
    return store.only(torch.ones(len(store), dtype=torch.bool))


def test_a_large_data_set_takes_moments() -> None:
    """As many demonstrations as DROID has, without their pictures, a toggle in each."""
    length, count = 100, 70_000
    action = (torch.arange(length * count) // 50 % 2 * 2.0 - 1)[:, None].expand(-1, 7)
    episodes = [Episode(number * length, length, "") for number in range(count)]
    conventions = Conventions(cameras={}, state=())
    source = Source(Path("made"), "made", conventions, episodes, frames={}, state=None, action=action)
    windows, began = Windows(source, steps=7, chunk=3, ahead=0), time.monotonic()
    assert len(around_toggles(windows)) == count * 3
    assert time.monotonic() - began < 10


def test_repeated_windows_come_after_all_others(store: Store) -> None:
    windows = Windows(store, steps=7, chunk=3, ahead=3, goal=["state"])
    again = torch.tensor([4, 4, 30])
    more = windows.repeated(again).repeated(torch.tensor([len(windows) + 2, 0]))
    assert len(more) == len(windows) + 5
    assert len(windows.repeated(torch.tensor([], dtype=torch.int64))) == len(windows)
    index = torch.arange(len(more))
    plain = torch.cat([torch.arange(len(windows)), again, torch.tensor([30, 0])])
    given, expected = more.gather(index), windows.gather(plain)
    for key in expected.keys(include_nested=True, leaves_only=True):
        assert key == "language_instruction" or torch.equal(given[key], expected[key]), key
    assert given["language_instruction"] == expected["language_instruction"]
    assert torch.equal(more.in_next_episode(index), windows.in_next_episode(plain))
    for wrong in (torch.tensor([len(more)]), torch.tensor([-1])):
        with pytest.raises(IndexError, match="window numbers"):
            more.gather(wrong)
