"""A share of the data: nested, by whole layouts, and with the same episodes held out."""

from __future__ import annotations

import itertools

import pytest
import torch

from seerkit import keys
from seerkit.data.split import split_episodes
from seerkit.data.store import Conventions, Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter
from tests.data.asked import cut

SHARES = (0.1, 0.2, 0.4, 0.7, 1.0)


@pytest.fixture(scope="module")
def layouts(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """Forty episodes on twenty layouts, two goals each."""
    path = tmp_path_factory.mktemp("data") / "store"
    with StoreWriter(path, Conventions(cameras={"primary": (3, 2, 2)})) as writer:
        for number in range(40):
            frames = torch.zeros(3, 3, 2, 2, dtype=torch.uint8)
            writer.add(
                {"primary": frames},
                torch.zeros(3, 7),
                torch.zeros(3, 7),
                instruction=f"goal {number}",
                seed=number // 2,
            )
    return Store(path)


@pytest.mark.parametrize("holdout", [0.0, 0.2])
def test_a_smaller_share_is_part_of_a_larger_one(layouts: Store, holdout: float) -> None:
    splits = [split_episodes(layouts, holdout=holdout, seed=3, fraction=share) for share in SHARES]
    for (small, held), (large, same) in itertools.pairwise(splits):
        assert set(small) < set(large)
        assert held == same
        assert not set(large) & set(held)
    every = 40 - len(splits[0][1])
    assert [len(kept) for kept, _ in splits] == [2 * round(share * every / 2) for share in SHARES]
    assert splits[-1] == split_episodes(layouts, holdout=holdout, seed=3)


def test_a_layout_is_taken_whole_and_by_seed(layouts: Store) -> None:
    chosen = [tuple(split_episodes(layouts, holdout=0.0, seed=seed, fraction=0.2)[0]) for seed in range(6)]
    assert len(set(chosen)) > 1
    assert all(index ^ 1 in kept for kept in chosen for index in kept)
    assert len(split_episodes(layouts, holdout=0.5, fraction=0.001)[0]) == 2, "at least one layout is kept"


@pytest.mark.parametrize("share", [0.0, -0.1, 1.5])
def test_a_share_is_above_nothing_and_at_most_all(layouts: Store, share: float) -> None:
    with pytest.raises(ValueError, match="fraction"):
        split_episodes(layouts, holdout=0.0, fraction=share)


def test_one_sentence_for_every_window(layouts: Store) -> None:
    index = torch.tensor([0, 7, 21])
    own = Windows(layouts, steps=1, chunk=1, ahead=0).gather(index)
    mute = Windows(layouts, steps=1, chunk=1, ahead=0, sentence="no lang").gather(index)
    assert len(set(own[keys.INSTRUCTION])) == 3
    assert [*mute[keys.INSTRUCTION]] == ["no lang"] * 3
    assert torch.equal(own[keys.STATE], mute[keys.STATE])


def test_a_recipe_s_share_is_no_share_at_0_and_null_says_nothing(layouts: Store) -> None:
    """The states of these episodes are all the same, so that any recipe may read them."""
    asked = ("seer_real", "cameras=[primary]", "data.gripper_events=0")
    with pytest.raises(ValueError, match=r"fraction must be a share in \(0, 1\], got 0"):
        cut(layouts, *asked, "data.fraction=0")
    windows = cut(layouts, *asked, "data.fraction=null", "data.language=null")
    assert len(windows.episodes) == 40
    assert windows.gather(torch.arange(2))[keys.INSTRUCTION] == ["goal 0", "goal 1"]
    assert cut(layouts, *asked, "data.language=go").gather(torch.arange(1))[keys.INSTRUCTION] == ["go"]
