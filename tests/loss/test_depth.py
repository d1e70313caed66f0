"""The depth loss: zero where right, forgiving of a common factor by lambda, blind to what was not measured."""

from __future__ import annotations

import pytest
import torch

from seerkit.loss import SiLogLoss, depth_error

INSIDE = torch.zeros(2, 3, dtype=torch.bool)


def depths() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    return torch.rand(2, 3, 4, 16) + 0.5, torch.rand(2, 3, 4, 16) + 0.5


@pytest.mark.parametrize("lam", [0.0, 0.5, 1.0])
def test_it_is_the_formula(lam: float) -> None:
    said, true = depths()
    expected = []
    for row in range(2):
        for step in range(3):
            d = (said[row, step].log() - true[row, step].log()).flatten()
            expected.append((d**2).sum() / 64 - lam * d.sum() ** 2 / 64**2)
    torch.testing.assert_close(SiLogLoss(lam=lam)(said.log(), true, INSIDE), torch.stack(expected).mean())
    assert SiLogLoss(lam=lam)(true.log(), true, INSIDE) == 0


def test_a_common_factor_costs_what_lambda_leaves() -> None:
    _, true = depths()
    said, factor = (true * 2).log(), torch.tensor(2.0).log() ** 2
    for lam in (0.0, 0.5, 1.0):
        cost = SiLogLoss(lam=lam)(said, true, INSIDE)
        torch.testing.assert_close(cost, (1 - lam) * factor, atol=1e-6, rtol=1e-5)


def test_unmeasured_pixels_and_frames_beyond_the_end_change_nothing() -> None:
    said, true = depths()
    true[0, 0, :2], is_pad = 0.0, torch.tensor([[False, False, True], [False, True, True]])
    guess = said.log().requires_grad_()
    loss = SiLogLoss()(guess, true, is_pad)
    loss.backward()
    assert guess.grad is not None
    assert torch.isfinite(guess.grad).all()
    assert not guess.grad[0, 0, :2].any()
    assert not guess.grad[is_pad].any()
    assert guess.grad[0, 0, 2:].all()
    other = said.clone()
    other[0, 0, :2], other[is_pad] = 7.0, 9.0
    torch.testing.assert_close(SiLogLoss()(other.log(), true, is_pad), loss.detach())
    assert SiLogLoss()(said.log(), torch.zeros_like(true), INSIDE) == 0


def test_the_error_is_in_metres() -> None:
    _, true = depths()
    true[0, 0, 0, :8] = 0.0
    error = depth_error((true.clamp(min=0.1) + 0.25).log(), true)
    torch.testing.assert_close(error, torch.full((2, 3), 0.25))


def test_a_prediction_of_another_shape_is_refused_where_it_would_spread() -> None:
    said, true = depths()
    for guess in (said[:, :1], said[:, :, :1], said[..., :1]):
        with pytest.raises(ValueError, match=r"expected the targets' shape \(2, 3, 4, 16\), predicted"):
            SiLogLoss()(guess, true, INSIDE)


def test_lambda_is_a_share() -> None:
    with pytest.raises(ValueError, match=r"1\.5"):
        SiLogLoss(lam=1.5)
