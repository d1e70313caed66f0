"""What validation measures: a wrong goal is never the right one, and only what can be looked at is."""

from __future__ import annotations

from pathlib import Path

import torch
from tensordict import TensorDict
from torch import nn

from seerkit import keys
from seerkit.data.store import Conventions, Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter
from seerkit.train.parallel import World
from seerkit.train.validate import Validation


class Reader(nn.Module):
    """Its loss is the share of rows whose goal is that of their own episode."""

    inputs = (keys.GOAL_STATE,)

    def loss(self, td: TensorDict) -> TensorDict:
        own = td[keys.GOAL_STATE][:, 0] == td[keys.STATE][:, 0, 0]
        return TensorDict({"loss_own": own.float().mean()}, batch_size=[])


def tagged(path: Path, lengths: list[int]) -> Store:
    """Episodes whose states hold their number."""
    with StoreWriter(path, Conventions(cameras={"primary": (3, 4, 4)})) as writer:
        for number, length in enumerate(lengths):
            frames = torch.zeros(length, 3, 4, 4, dtype=torch.uint8)
            state = torch.full((length, 7), float(number))
            writer.add({"primary": frames}, state, torch.ones(length, 7), instruction="go", seed=number)
    return Store(path)


def test_a_wrong_goal_is_never_that_of_the_own_episode(tmp_path: Path) -> None:
    store = tagged(tmp_path / "store", [90, 5, 30, 7])
    for episodes in ([0, 2], [2, 0], [0, 1, 2, 3]):
        windows = Windows(store, steps=1, chunk=1, ahead=0, episodes=episodes, goal=["state"])
        given = {"limit": 10_000, "batch_size": 50, "world": World(torch.device("cpu")), "instructions": ["go"]}
        metrics = Validation(windows, **given).measure(Reader())
        assert metrics["val_loss_own"] == 1
        assert metrics["val_loss_own_wrong_goal"] == 0


def test_the_other_window_is_the_first_of_the_next_episode(tmp_path: Path) -> None:
    windows = Windows(tagged(tmp_path / "store", [3, 9, 2]), steps=1, chunk=1, ahead=0, episodes=[2, 0])
    assert windows.in_next_episode(torch.arange(5)).tolist() == [2, 2, 0, 0, 0]


class Listener(nn.Module):
    """Its loss is the share of rows that were told the sentence of their own episode, the number of its state."""

    inputs = (keys.INSTRUCTION,)

    def loss(self, td: TensorDict) -> TensorDict:
        told = torch.tensor(
            [
                text == f"go {int(own)}"
                for text, own in zip(td.get(keys.INSTRUCTION).tolist(), td[keys.STATE][:, 0, 0], strict=True)
            ]
        )
        return TensorDict({"loss_own": told.float().mean()}, batch_size=[])


def test_what_has_no_sentence_is_told_a_wrong_one_too(tmp_path: Path) -> None:
    with StoreWriter(tmp_path / "store", Conventions(cameras={"primary": (3, 4, 4)})) as writer:
        for number, sentence in enumerate(("go 0", "", "go 2")):
            frames, state = torch.zeros(6, 3, 4, 4, dtype=torch.uint8), torch.full((6, 7), float(number))
            writer.add({"primary": frames}, state, torch.ones(6, 7), instruction=sentence)
    store = Store(tmp_path / "store")
    windows = Windows(store, steps=1, chunk=1, ahead=0)
    given = {"limit": 100, "batch_size": 5, "world": World(torch.device("cpu")), "instructions": store.instructions}
    metrics = Validation(windows, **given).measure(Listener())
    assert metrics["val_loss_own"] == 12 / 18
    assert metrics["val_loss_own_wrong_word"] == 0
