"""Binned actions: there and back within half a bin, and a head that learns what it is taught."""

from __future__ import annotations

import torch

from seerkit.bins import bin_centres, to_bins
from seerkit.head import BinHead
from seerkit.loss import BinLoss

DIM = 8


def test_there_and_back_within_half_a_bin() -> None:
    for bins in (2, 5, 256):
        value = torch.linspace(-1, 1, 10_001)
        index = to_bins(value, bins)
        assert index.unique().tolist() == [*range(bins)]
        assert (bin_centres(bins)[index] - value).abs().max() <= 1 / bins + 1e-6
        assert (index.diff() >= 0).all()
    assert to_bins(torch.tensor([-7.0, 7.0]), 256).tolist() == [0, 255]


def test_the_chunk_is_the_centre_of_the_most_likely_bins() -> None:
    head = BinHead(dim=DIM, action_dim=7, bins=16)
    hidden = torch.randn(2, 3, 4, DIM)
    chunk, logits = head(hidden)
    assert logits.shape == (2, 3, 4, 6, 16)
    best = logits.softmax(dim=-1).max(dim=-1).indices
    assert torch.equal(to_bins(chunk[..., :-1], 16), best)
    torch.testing.assert_close(chunk[..., :-1], -1 + (2 * best + 1) / 16)


def test_learns_the_actions_of_a_batch() -> None:
    torch.manual_seed(0)
    head, loss = BinHead(dim=DIM, action_dim=4), BinLoss()
    hidden, target = torch.randn(2, 1, 3, DIM), torch.rand(2, 1, 3, 4) * 2 - 1
    optimiser, is_pad = torch.optim.Adam(head.parameters(), lr=0.02), torch.zeros(2, 1, 3, dtype=torch.bool)
    for _ in range(150):
        optimiser.zero_grad()
        loss(head(hidden)[1], target, is_pad).backward()
        optimiser.step()
    error = (head(hidden)[0] - target)[..., :-1].abs()
    assert error.max() <= 1 / 256 + 1e-6


def test_gradients_reach_everything() -> None:
    head, hidden = BinHead(dim=DIM), torch.randn(1, 1, 3, DIM, requires_grad=True)
    chunk, logits = head(hidden)
    (logits.square().mean() + chunk[..., -1].square().mean()).backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in head.parameters())
    assert hidden.grad is not None
    assert (hidden.grad.abs().sum(dim=-1) > 0).all()
