"""Losses of binned and of sampled actions against their formulas; what lies beyond an episode counts for nothing."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from seerkit.loss import BinLoss, DenoiseLoss

SHAPE = (2, 3, 4)  # B, T, K


@pytest.fixture
def is_pad() -> torch.Tensor:
    return torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) > 0.6


def test_bins_equal_the_formula(is_pad: torch.Tensor) -> None:
    logits, target = torch.randn(*SHAPE, 2, 8), torch.rand(*SHAPE, 3) * 2 - 1
    surprise = []
    for place in (~is_pad).nonzero().tolist():
        for number in range(2):
            index = min(int((target[*place, number].item() + 1) / 2 * 8), 7)
            surprise.append(-logits[*place, number].log_softmax(dim=-1)[index].item())
    expected = sum(surprise) / len(surprise) / math.log(8)
    assert BinLoss()(logits, target, is_pad).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("bins", [2, 256])
def test_a_guess_costs_one(bins: int) -> None:
    loss = BinLoss()(torch.zeros(*SHAPE, 2, bins), torch.rand(*SHAPE, 3), torch.zeros(SHAPE, dtype=torch.bool))
    assert loss.item() == pytest.approx(1, rel=1e-5)


def test_denoising_equals_the_formula(is_pad: torch.Tensor) -> None:
    predicted, target = torch.randn(2, *SHAPE, 5, 3)
    expected = (predicted - target)[~is_pad].square().mean()
    torch.testing.assert_close(DenoiseLoss()(predicted, target, is_pad), expected)


@pytest.mark.parametrize(
    ("loss", "predicted", "target"),
    [(BinLoss(), (*SHAPE, 2, 8), (*SHAPE, 3)), (DenoiseLoss(), (*SHAPE, 5, 3), (*SHAPE, 5, 3))],
    ids=["bins", "denoise"],
)
def test_padding_counts_for_nothing(
    loss: nn.Module, predicted: tuple[int, ...], target: tuple[int, ...], is_pad: torch.Tensor
) -> None:
    said, wanted = torch.randn(predicted, requires_grad=True), torch.rand(target) * 2 - 1
    before = loss(said, wanted, is_pad)
    before.backward()
    assert said.grad is not None
    used = said.grad.flatten(3).abs().sum(dim=-1) > 0
    assert torch.equal(used, ~is_pad)
    with torch.no_grad():
        said[is_pad] += 5
        wanted[is_pad] *= -1
    assert torch.equal(loss(said, wanted, is_pad), before)
    assert loss(said, wanted, torch.ones_like(is_pad)) == 0
