"""The network both sampling heads are built around, and what surrounds it."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from seerkit.head import Denoiser
from seerkit.head.denoiser import as_chunk, gathered, repeated, spread

DIM, CHUNK, ACTION = 8, 5, 7


@pytest.fixture
def denoiser() -> Denoiser:
    torch.manual_seed(0)
    denoiser = Denoiser(dim=DIM, chunk=CHUNK, width=16, depth=2, heads=2)
    torch.nn.init.normal_(denoiser.out.weight)  # what starts close to 0 would hide what lies below
    return denoiser


def inputs(rows: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    draw = torch.Generator().manual_seed(1)
    noisy, hidden = torch.randn(rows, CHUNK, ACTION, generator=draw), torch.randn(rows, CHUNK, DIM, generator=draw)
    return noisy, hidden, torch.rand(rows, generator=draw)


def test_starts_close_to_zero_yet_an_update_reaches_everything() -> None:
    denoiser = Denoiser(dim=DIM, chunk=CHUNK, width=16)
    out = denoiser(*inputs())
    assert out.abs().max() < 0.05
    (out - 1).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in denoiser.parameters())


def test_gradients_reach_everything(denoiser: Denoiser) -> None:
    noisy, hidden, level = inputs()
    hidden.requires_grad_()
    denoiser(noisy, hidden, level).square().mean().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in denoiser.parameters())
    assert hidden.grad is not None
    assert (hidden.grad.abs().sum(dim=-1) > 0).all()


def test_each_input_counts_and_no_other_row(denoiser: Denoiser) -> None:
    given = inputs()
    before = denoiser(*given)
    for i in range(3):
        changed = [x.clone() for x in given]
        changed[i][1] += 0.3
        after = denoiser(*changed)
        assert torch.equal(after[[0, 2]], before[[0, 2]])
        assert not torch.allclose(after[1], before[1])


def test_actions_of_a_chunk_see_each_other_but_no_padding(denoiser: Denoiser) -> None:
    noisy, hidden, level = inputs()
    is_pad = torch.zeros(3, CHUNK, dtype=torch.bool)
    is_pad[:, 3:] = True
    whole, cut = denoiser(noisy, hidden, level), denoiser(noisy, hidden, level, is_pad)
    noisy[:, 4] += 1
    assert not torch.allclose(denoiser(noisy, hidden, level)[:, :3], whole[:, :3])
    assert torch.equal(denoiser(noisy, hidden, level, is_pad)[:, :3], cut[:, :3])


def test_a_chunk_of_padding_alone_stays_finite(denoiser: Denoiser) -> None:
    assert denoiser(*inputs(), torch.ones(3, CHUNK, dtype=torch.bool)).isfinite().all()


def test_places_tell_equal_actions_apart(denoiser: Denoiser) -> None:
    same = denoiser(torch.zeros(1, CHUNK, ACTION), torch.zeros(1, CHUNK, DIM), torch.zeros(1))
    assert len(same[0].unique(dim=0)) == CHUNK


def test_wrong_sizes_are_named(denoiser: Denoiser) -> None:
    with pytest.raises(ValueError, match="chunks of 5 actions, got 3"):
        denoiser(torch.zeros(1, 3, ACTION), torch.zeros(1, 3, DIM), torch.zeros(1))
    with pytest.raises(ValueError, match="15 and 2"):
        Denoiser(dim=DIM, chunk=CHUNK, width=15, heads=2)


def test_a_sample_becomes_a_chunk() -> None:
    gripper = torch.tensor([-3.0, -1.0, -0.5, 0.0, 0.5, 1.0, 3.0])
    chunk = as_chunk(torch.stack([torch.full_like(gripper, 2.0), gripper], dim=-1))
    assert chunk[:, 0].tolist() == [1.0] * 7
    expected = (gripper.clamp(-1, 1) + 1) / 2
    torch.testing.assert_close(chunk[:, 1].sigmoid(), expected, atol=1e-4, rtol=0)
    assert chunk.isfinite().all()
    assert torch.equal(chunk[:, 1].sign(), gripper.sign())


def test_rows_are_laid_out_and_put_back() -> None:
    hidden, target = torch.randn(2, 3, CHUNK, DIM), torch.randn(2, 3, CHUNK, ACTION)
    is_pad = torch.rand(2, 3, CHUNK) > 0.5
    _, rows, pads = repeated(hidden, target, is_pad, draws=6)
    assert rows.shape == (36, CHUNK, ACTION)
    back = gathered(rows, steps=3, draws=6)
    for draw in range(6):
        assert torch.equal(back[..., draw, :], target)
    assert torch.equal(gathered(pads[..., None], steps=3, draws=6)[..., 2, 0], is_pad)


def test_levels_of_one_chunk_are_spread_and_each_is_uniform() -> None:
    torch.manual_seed(0)
    even = spread(torch.zeros(4000, 1), draws=4).unflatten(0, (-1, 4))
    assert torch.equal((even * 4).floor(), torch.arange(4.0).expand(1000, 4))
    inside = even * 4 - torch.arange(4)
    assert inside.mean() == pytest.approx(0.5, abs=0.02)
    assert inside.std() == pytest.approx(12**-0.5, abs=0.02)
    alone = spread(torch.zeros(4000, 1), draws=1)
    assert alone.std() == pytest.approx(12**-0.5, abs=0.02)
