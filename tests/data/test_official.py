"""The official loaders' windows, against their index arithmetic written down once more, step by step."""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from seerkit import keys
from seerkit.data.conventions import Conventions
from seerkit.data.formats import open_source
from seerkit.data.official import OfficialWindows
from seerkit.data.source import Source, StoreError
from seerkit.data.split import spans
from seerkit.data.store import Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter
from seerkit.train.settings import Settings
from seerkit.train.windows import training_windows
from tests.data import made_calvin as made
from tests.data.asked import Asked, cut

AHEAD, CHUNK = 3, 3


def checked(batch: TensorDict, row: int, frames: list[int], actions: np.ndarray, source: Source) -> None:
    """Compare one window with the rows of its frames and with its actions, ``window`` of each."""
    steps = batch[keys.STATE].shape[1]
    state, picture = (source.arrays()[key] for key in (keys.STATE, (*keys.IMAGE, "primary")))
    seen = [taken(state, frames[:steps]), taken(picture, frames[:steps])]
    assert torch.equal(batch[keys.STATE][row], seen[0])
    assert torch.equal(batch[*keys.IMAGE, "primary"][row], seen[1])
    for step, ahead in enumerate(frames[steps : steps + AHEAD]):
        assert torch.equal(batch[*keys.FUTURE, "primary"][row, step], taken(picture, [ahead])[0])
    for step, later in itertools.product(range(steps), range(CHUNK)):
        beyond = step + later >= len(frames)
        assert bool(batch[keys.ACTION_IS_PAD][row, step, later]) == beyond
        if not beyond:
            assert batch[keys.TARGET_CHUNK][row, step, later].tolist() == actions[step + later].tolist()
    assert batch[keys.FUTURE_IS_PAD][row].tolist() == [step + AHEAD >= len(frames) for step in range(steps)]


def taken(array: object, rows: list[int]) -> torch.Tensor:
    index = torch.tensor(rows)
    return array[index] if isinstance(array, torch.Tensor) else array.take(index)  # pyright: ignore[reportAttributeAccessIssue]


@pytest.fixture(scope="module")
def play(tmp_path_factory: pytest.TempPathFactory) -> Source:
    path = tmp_path_factory.mktemp("calvin")
    made.write_calvin(path / "training")
    made.write_between(path / "training" / "except_lang_idx" / "except_lang_idx.npy")
    return open_source(path)


def row_of(file: int) -> int:
    """Return the row of a file of `made_calvin`."""
    episode = bisect.bisect_right(made.FIRST, file) - 1
    return sum(made.LENGTHS[:episode]) + file - made.FIRST[episode]


@pytest.mark.parametrize(("which", "steps", "window"), [("labelled", 10, 13), ("unlabelled", 4, 7), ("all", 14, 17)])
def test_windows_of_play(play: Source, which: str, steps: int, window: int) -> None:
    given = {
        "labelled": [(made.FIRST[e] + a, made.FIRST[e] + b, text) for e, a, b, text, _ in made.SENTENCES],
        "unlabelled": [(made.FIRST[e] + a, made.FIRST[e] + b, "no lang") for e, a, b in made.BETWEEN],
        "all": [(first, first + n - 1, "no lang") for first, n in zip(made.FIRST, made.LENGTHS, strict=True)],
    }[which]
    lookup = [(index, text) for start, end, text in given for index in range(start, end + 1 - window)]
    sentence = None if which == "labelled" else "no lang"
    whole = Windows(play, steps=steps, chunk=CHUNK, ahead=AHEAD, episodes=spans(play, which), sentence=sentence)  # pyright: ignore[reportArgumentType]
    windows = OfficialWindows(whole, window=window)
    assert len(windows) == len(lookup)
    batch = windows.gather(torch.arange(len(windows)))
    assert keys.STEP_IS_PAD not in {*batch.keys()}
    for number, (index, text) in enumerate(lookup):
        frames = [row_of(file) for file in range(index, index + window)]
        checked(batch, number, frames, taken(play.action, frames).numpy(), play)
        assert batch[keys.INSTRUCTION][number] == text


LENGTHS = (30, 10, 11, 24, 9, 12)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Whole episodes with numbers that tell them apart, some too short for a window."""
    rng, path = np.random.default_rng(0), tmp_path_factory.mktemp("files") / "store"
    with StoreWriter(path, Conventions(cameras={"primary": (3, 2, 2)})) as writer:
        for number, length in enumerate(LENGTHS):
            frames = rng.integers(0, 256, (length, 3, 2, 2), dtype=np.uint8)
            state, action = rng.normal(size=(2, length, 7)).astype(np.float32)
            writer.add({"primary": frames}, state, action, instruction=f"task {number}")
    return Store(path)


def file_list(window: int) -> Iterator[tuple[int, list[int], int]]:
    """Yield episode, frames and how many of them are padding, for every index of the official file-list loaders."""
    listed = [number for number, length in enumerate(LENGTHS) if length > window]
    steps = [LENGTHS[number] - window for number in listed]
    until = list(itertools.accumulate(steps))
    for index in range(until[-1]):
        place = bisect.bisect_right(until, index)
        start = index - until[place - 1] if place >= 1 else index
        end = min(start + window, steps[place])
        first = sum(LENGTHS[: listed[place]])
        frames = [first + step for step in range(start, end)]
        yield listed[place], frames + [frames[-1]] * (window - len(frames)), window - len(frames)


@pytest.mark.parametrize(("steps", "window"), [(7, 10), (11, 11), (7, 9)])
def test_windows_of_whole_episodes(files: Store, steps: int, window: int) -> None:
    expected = list(file_list(window))
    windows = OfficialWindows(Windows(files, steps=steps, chunk=CHUNK, ahead=AHEAD), window=window)
    assert len(windows) == len(expected)
    batch = windows.gather(torch.arange(len(windows)))
    assert keys.STEP_IS_PAD not in {*batch.keys()}
    for number, (episode, frames, padding) in enumerate(expected):
        actions = files.action[torch.tensor(frames)].numpy()
        actions[window - padding :, :6] = 0
        checked(batch, number, frames, actions, files)
        assert batch[keys.INSTRUCTION][number] == f"task {episode}"


def test_the_last_frames_are_never_seen_and_ours_are(files: Store) -> None:
    whole = Windows(files, steps=7, chunk=CHUNK, ahead=AHEAD)
    seen = OfficialWindows(whole, window=10).gather(torch.arange(20))[keys.STATE].flatten(0, 1)
    ours = whole.gather(torch.arange(24))[keys.STATE].flatten(0, 1)
    for step in range(LENGTHS[0]):
        state = files.state[step]
        assert bool((seen == state).all(-1).any()) == (step < 20)
        assert bool((ours == state).all(-1).any())


def test_the_window_of_the_next_episode(files: Store) -> None:
    windows = OfficialWindows(Windows(files, steps=7, chunk=CHUNK, ahead=AHEAD), window=10)
    until = np.cumsum([length - 10 for length in LENGTHS if length > 10])
    expected = [int(until[bisect.bisect_right(until.tolist(), i)]) % len(windows) for i in range(len(windows))]
    assert windows.in_next_episode(torch.arange(len(windows))).tolist() == expected


def test_what_cannot_be_cut(files: Store) -> None:
    whole = Windows(files, steps=7, chunk=CHUNK, ahead=AHEAD)
    with pytest.raises(StoreError, match="more than 30 steps, the longest has 30"):
        OfficialWindows(whole, window=30)
    with pytest.raises(ValueError, match="7 steps of history, got 6"):
        OfficialWindows(whole, window=6)


def test_a_recipe_asks_for_them(play: Source) -> None:
    asked = ("seer_calvin", "data.loader=official")
    official, every = cut(play, *asked), cut(play, "seer_calvin")
    assert isinstance(official, OfficialWindows)
    assert (official.window, len(official)) == (13, sum(max(b - a + 1 - 13, 0) for _, a, b, *_ in made.SENTENCES))
    assert not isinstance(every, OfficialWindows)
    with pytest.raises(ValueError, match=r"data.loader must be one of .*'oficial'"):
        cut(play, "seer_calvin", "data.loader=oficial")
    with pytest.raises(ValueError, match=r"expected train.trajectory_chunk=0"):
        training_windows(Asked(*asked), play, Settings(updates=1, trajectory_chunk=1))
    with pytest.raises(ValueError, match=r"needs data.window"):
        cut(play, *asked, "data.window=null")
