"""Ensemblers against formulas written out, and against each other's shape of call."""

from __future__ import annotations

import pytest
import torch

from seerkit.ensemble import FirstAction, RecedingHorizon, TemporalEnsemble

STEPS, CHUNK = 40, 3


def play(ensemble: torch.nn.Module, said: torch.Tensor, starts: set[int]) -> torch.Tensor:
    """Run one row over chunks ``(STEPS, K, A)``."""
    carry = ensemble.initial(1, chunk=said.shape[1], action_dim=said.shape[2])
    actions = []
    for step, chunk in enumerate(said):
        action, *carry = ensemble(chunk[None], torch.tensor([step in starts]), *carry)
        actions.append(action[0])
    return torch.stack(actions)


@pytest.fixture
def said() -> torch.Tensor:
    chunks = torch.randn(STEPS, CHUNK, 7, generator=torch.Generator().manual_seed(0))
    chunks[5] = 0.0  # an exact zero is a prediction like any other
    return chunks


@pytest.mark.parametrize("decay", [0.01, 0.0, -0.5])
def test_temporal_equals_the_formula(said: torch.Tensor, decay: float) -> None:
    starts = {0, 17}
    actions = play(TemporalEnsemble(chunk=CHUNK, decay=decay), said, starts)
    for step in range(STEPS):
        begin = max(start for start in starts if start <= step)
        oldest = max(begin, step - CHUNK + 1)
        about_now = torch.stack([said[t, step - t] for t in range(oldest, step + 1)])  # oldest first
        weight = torch.exp(-decay * torch.arange(len(about_now)))[:, None]
        torch.testing.assert_close(actions[step], (weight * about_now).sum(dim=0) / weight.sum())


def test_first_takes_the_first(said: torch.Tensor) -> None:
    assert torch.equal(play(FirstAction(), said, {0}), said[:, 0])


@pytest.mark.parametrize("interval", [1, 2, 3])
def test_receding_executes_the_plan_then_renews_it(said: torch.Tensor, interval: int) -> None:
    actions = play(RecedingHorizon(replan_interval=interval), said, {0, 16})
    for step in range(STEPS):
        since = step - (16 if step >= 16 else 0)
        assert torch.equal(actions[step], said[step - since % interval, since % interval])


def test_rows_reset_alone(said: torch.Tensor) -> None:
    ensemble = TemporalEnsemble(chunk=CHUNK)
    both = said[:, None].repeat(1, 2, 1, 1)
    carry = ensemble.initial(2, chunk=CHUNK, action_dim=7)
    for step in range(10):
        action, *carry = ensemble(both[step], torch.tensor([step == 0, step in (0, 7)]), *carry)
    torch.testing.assert_close(action[0], play(ensemble, said[:10], {0})[-1])
    torch.testing.assert_close(action[1], play(ensemble, said[:10], {0, 7})[-1])


def test_intervals_are_checked(said: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="replan_interval=0"):
        RecedingHorizon(replan_interval=0)
    with pytest.raises(ValueError, match="chunk of 3"):
        play(RecedingHorizon(replan_interval=4), said, {0})
