"""The cosine loss asks for a direction, patch by patch, and only of frames inside the episode."""

from __future__ import annotations

import pytest
import torch

from seerkit.loss import CosineLoss

INSIDE = torch.zeros(2, 3, dtype=torch.bool)


def features() -> tuple[torch.Tensor, ...]:
    torch.manual_seed(0)
    return tuple(torch.randn(2, 3, 4, 8) for _ in range(4))


def test_it_is_the_formula_and_blind_to_size() -> None:
    a, b, u, v = features()
    loss = CosineLoss()(a, b, u, v, INSIDE)
    expected = [1 - (x * y).sum(-1) / (x.norm(dim=-1) * y.norm(dim=-1)) for x, y in ((a, u), (b, v))]
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    sizes = torch.rand(2, 3, 4, 1) + 0.1
    torch.testing.assert_close(CosineLoss()(a, b, u * sizes, v * 100, INSIDE), loss)
    torch.testing.assert_close(CosineLoss()(u, v, 3 * u, v, INSIDE), torch.tensor(0.0), atol=1e-6, rtol=0)
    torch.testing.assert_close(CosineLoss()(-u, -v, u, v, INSIDE), torch.tensor(2.0))


def test_frames_beyond_the_end_change_nothing() -> None:
    a, b, u, v = features()
    is_pad = torch.tensor([[False, True, True], [False, False, True]])
    before = CosineLoss()(a, b, u, v, is_pad)
    for tensor in (a, u):
        tensor[is_pad] = torch.randn_like(tensor[is_pad])
    assert torch.equal(CosineLoss()(a, b, u, v, is_pad), before)
    a[0, 0] = -a[0, 0]
    assert not torch.equal(CosineLoss()(a, b, u, v, is_pad), before)
    assert CosineLoss()(a, b, u, v, torch.ones_like(is_pad)) == 0


def test_other_grids_are_refused_with_both_shapes() -> None:
    a, *_ = features()
    with pytest.raises(ValueError, match=r"\(2, 3, 9, 8\).*got \(2, 3, 4, 8\).*outputs"):
        CosineLoss()(a, torch.randn(2, 3, 9, 8), INSIDE)
    with pytest.raises(ValueError, match="as many"):
        CosineLoss()(a, a, a, INSIDE)
