"""The sampler: every window once per epoch, in an order that only numbers decide."""

from __future__ import annotations

import pytest
import torch

from seerkit.data.sampler import Sampler, permute


@pytest.mark.parametrize("size", [1, 2, 3, 7, 64, 65, 1000])
def test_a_permutation_for_every_size(size: int) -> None:
    for key in (0, 1, 12345):
        order = permute(torch.arange(size), size, torch.full((size,), key))
        assert torch.equal(order.sort().values, torch.arange(size))


def test_an_epoch_over_two_ranks_shows_every_window_once() -> None:
    ranks = [Sampler(size=60, batch_size=5, seed=3, rank=rank, world=2) for rank in (0, 1)]
    for epoch in range(3):
        seen = torch.cat([sampler.indices(6 * epoch + step) for step in range(6) for sampler in ranks])
        assert torch.equal(seen.sort().values, torch.arange(60))
    assert ranks[0].epoch(6) == 1.0


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def epoch(seed: int, number: int) -> list[int]:
        return Sampler(size=50, batch_size=50, seed=seed).indices(number).tolist()

    orders = [epoch(seed, number) for seed in (0, 1) for number in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert epoch(0, 1) == orders[1]
    assert orders[0] != sorted(orders[0])


def test_a_batch_larger_than_the_store() -> None:
    seen = Sampler(size=3, batch_size=7).indices(0)
    assert torch.equal(seen[:3].sort().values, torch.arange(3))
    assert torch.equal(seen[3:6].sort().values, torch.arange(3))


def test_the_order_looks_random() -> None:
    size = 4000
    order = permute(torch.arange(size), size, torch.zeros(size, dtype=torch.long)).double()
    position = torch.arange(size).double()
    assert abs(torch.corrcoef(torch.stack([position, order]))[0, 1]) < 0.05
    assert abs(torch.corrcoef(torch.stack([order[1:], order[:-1]]))[0, 1]) < 0.05


def test_bad_counts_are_named() -> None:
    with pytest.raises(ValueError, match="size=0"):
        Sampler(size=0, batch_size=1)
    with pytest.raises(ValueError, match="rank=2, world=2"):
        Sampler(size=4, batch_size=1, rank=2, world=2)
