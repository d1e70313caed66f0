"""A frozen text tower is asked once per sentence, and never answers for another tower."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from seerkit.freeze import freeze
from seerkit.goal import TextGoal, WordTower
from seerkit.goal.recall import Recall


class Counting(nn.Module):
    """A tower of sentences that counts the rows it is asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(50, 8)
        self.asked = 0

    def forward(self, tokens: Tensor) -> Tensor:
        self.asked += len(tokens)
        return self.embed(tokens).mean(dim=1) @ self.embed.weight.T


@pytest.fixture
def goal() -> TextGoal:
    torch.manual_seed(0)
    return TextGoal(tower=freeze(Counting()), width=50, dim=4)


TOKENS = torch.tensor([[1, 2, 3], [4, 5, 6], [1, 2, 3]])


def expected(goal: TextGoal, tokens: Tensor) -> Tensor:
    asked = goal.tower.asked
    token = goal.project(goal.tower(tokens))[:, None, None]
    goal.tower.asked = asked
    return token


def test_each_sentence_is_encoded_once_for_all_batches(goal: TextGoal) -> None:
    for tokens in (TOKENS, TOKENS.flip(0), TOKENS[:1]):
        torch.testing.assert_close(goal(tokens), expected(goal, tokens))
    assert goal.tower.asked == 2
    goal(torch.tensor([[7, 8, 9]]))
    assert goal.tower.asked == 3


def test_a_feature_does_not_depend_on_the_batch_it_came_in(goal: TextGoal) -> None:
    recall, device = Recall(), torch.device("cpu")
    alone = recall(goal.tower, TOKENS[:1], device=device)
    assert torch.equal(Recall()(goal.tower, TOKENS, device=device)[:1], alone)


def change_in_place(goal: TextGoal) -> None:
    with torch.no_grad():
        goal.tower.embed.weight.mul_(2)


def load(goal: TextGoal) -> None:
    goal.load_state_dict({name: value + 1 for name, value in goal.state_dict().items()})


def exchange(goal: TextGoal) -> None:
    goal.tower = freeze(Counting())


@pytest.mark.parametrize("change", [change_in_place, load, exchange, TextGoal.double])
def test_another_tower_is_asked_again(goal: TextGoal, change: Callable[[TextGoal], object]) -> None:
    goal(TOKENS)
    change(goal)
    torch.testing.assert_close(goal(TOKENS), expected(goal, TOKENS))


def test_the_oldest_goes_first(goal: TextGoal) -> None:
    recall = Recall(limit=2)
    for word in (1, 2, 1, 3, 1, 2):
        recall(goal.tower, torch.tensor([[word]]), device=torch.device("cpu"))
    assert goal.tower.asked == 4  # 1, 2, 3, and 2 again: it had waited longest when 3 came


def test_what_was_remembered_while_acting_serves_training(goal: TextGoal) -> None:
    with torch.inference_mode():
        goal(TOKENS)
    goal(TOKENS).sum().backward()
    assert goal.tower.asked == 2
    assert goal.project.weight.grad is not None


def test_autocast_does_not_round_what_is_remembered(goal: TextGoal) -> None:
    with torch.autocast("cpu", torch.bfloat16):
        goal(TOKENS)
    feature = goal._recall(goal.tower, TOKENS, device=torch.device("cpu"))
    assert feature.dtype == torch.float32
    torch.testing.assert_close(feature, goal.tower(TOKENS))


def test_a_tower_that_learns_is_always_asked() -> None:
    goal = TextGoal(tower=WordTower(width=8), width=8, dim=4)
    before = goal(TOKENS)
    with torch.no_grad():
        goal.tower.words.weight.add_(torch.randn_like(goal.tower.words.weight))
    assert not torch.equal(goal(TOKENS), before)
    goal(TOKENS).square().sum().backward()
    assert goal.tower.words.weight.grad.any()
