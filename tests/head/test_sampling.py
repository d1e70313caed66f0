"""What flow and diffusion heads owe the policy alike: seeds, rows, padding, ensemblers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import nn

from seerkit.ensemble import FirstAction, RecedingHorizon, TemporalEnsemble
from seerkit.head import DiffusionHead, FlowHead
from tests.head.teach import ACTION, CHUNK, DIM, small_denoiser

MAKERS = {
    "flow": (FlowHead, "velocity"),
    "flow to sample": (FlowHead, "sample"),
    "diffusion": (DiffusionHead, "sample"),
    "diffusion to epsilon": (DiffusionHead, "epsilon"),
}
Make = Callable[..., nn.Module]


@pytest.fixture(params=[*MAKERS])
def make(request: pytest.FixtureRequest) -> Make:
    def made(*, draws: int = 1) -> nn.Module:
        torch.manual_seed(0)
        kind, prediction = MAKERS[request.param]
        head = kind(action_dim=ACTION, denoiser=small_denoiser(), prediction=prediction, draws=draws)
        nn.init.normal_(head.denoiser.out.weight, std=0.3)  # what starts close to 0 would hide what lies below
        return head

    return made


def test_learning_draws_from_torch_and_acting_from_its_noise_alone(make: Make) -> None:
    head, hidden, target = make(), torch.randn(2, 1, CHUNK, DIM), torch.rand(2, 1, CHUNK, ACTION)
    drawn = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        drawn.append(head.learn(hidden, target)[0])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])
    noise, state = torch.randn(2, 1, CHUNK, ACTION), torch.get_rng_state()
    chunk = head(hidden, noise)
    assert torch.equal(head(hidden, noise), chunk)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(head(hidden + 1, noise), chunk)


def test_noise_of_one_row_and_step_changes_no_other(make: Make) -> None:
    head, hidden, noise = make(), torch.randn(3, 2, CHUNK, DIM), torch.randn(3, 2, CHUNK, ACTION)
    before = head(hidden, noise)
    noise[1, 0] += 1
    same = head(hidden, noise) == before
    assert not same[1, 0].all()
    same[1, 0] = True
    assert same.all()


def test_noise_must_have_the_shape_of_the_chunks(make: Make) -> None:
    with pytest.raises(ValueError, match=r"\(3, 2, 2, 3\), got \(3, 1, 2, 3\)"):
        make()(torch.zeros(3, 2, CHUNK, DIM), torch.zeros(3, 1, CHUNK, ACTION))


def test_chunks_stay_in_range_and_finite_whatever_the_noise(make: Make) -> None:
    chunk = make()(torch.randn(3, 2, CHUNK, DIM), 100 * torch.randn(3, 2, CHUNK, ACTION))
    assert chunk.isfinite().all()
    assert chunk[..., :-1].abs().max() <= 1


def test_what_lies_beyond_the_episode_changes_nothing_else(make: Make) -> None:
    head, hidden, target = make(draws=2), torch.randn(2, 1, CHUNK, DIM), torch.rand(2, 1, CHUNK, ACTION)
    is_pad = torch.tensor([[[False, True]], [[False, False]]])
    outs = []
    for garbage in (0.0, 9.0):
        torch.manual_seed(0)
        target[0, 0, 1] = garbage
        outs.append(torch.stack(head.learn(hidden, target, is_pad))[:, ~is_pad])
    assert torch.equal(*outs)


def test_draws_are_independent_looks_at_the_same_chunk(make: Make) -> None:
    head, target = make(draws=4), torch.rand(1, 1, CHUNK, ACTION).expand(2, 3, -1, -1)
    predicted, _ = head.learn(torch.zeros(2, 3, CHUNK, DIM), target)
    assert len(predicted[:, :, 0, :, 0].unique()) == 2 * 3 * 4


def test_gradients_reach_everything(make: Make) -> None:
    head, hidden = make(draws=2), torch.randn(2, 1, CHUNK, DIM, requires_grad=True)
    predicted, wanted = head.learn(hidden, torch.rand(2, 1, CHUNK, ACTION))
    (predicted - wanted).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    assert hidden.grad is not None
    assert (hidden.grad.abs().sum(dim=-1) > 0).all()


@pytest.mark.parametrize(
    "ensemble",
    [FirstAction(), RecedingHorizon(replan_interval=CHUNK), TemporalEnsemble(chunk=CHUNK)],
    ids=["first", "receding", "temporal"],
)
def test_every_ensembler_takes_the_chunks(make: Make, ensemble: nn.Module) -> None:
    head, hidden = make(), torch.randn(3, 1, CHUNK, DIM)
    carry = ensemble.initial(3, chunk=CHUNK, action_dim=ACTION)
    chunks, actions = [], []
    for step in range(2):
        chunks.append(head(hidden, torch.randn(3, 1, CHUNK, ACTION))[:, 0])
        action, *carry = ensemble(chunks[-1], torch.full((3,), step == 0), *carry)
        actions.append(action)
    assert torch.equal(actions[0], chunks[0][:, 0])
    mixed = torch.stack([chunks[0][:, 1], chunks[1][:, 0]])
    assert ((actions[1] >= mixed.amin(dim=0) - 1e-6) & (actions[1] <= mixed.amax(dim=0) + 1e-6)).all()
