"""Flow matching: the sampler on known fields, the regression target, and what regression alone cannot do."""

from __future__ import annotations

import pytest
import torch

from seerkit.head import ActionHead, FlowHead
from tests.head.teach import ACTION, CHUNK, DIM, Recorder, sample, small_denoiser, teach, two_modes


@pytest.mark.parametrize("sampling_steps", [1, 2, 4, 7])
def test_the_exact_field_leads_to_the_action(sampling_steps: int) -> None:
    """Towards one known action the velocity is ``(x - a) / t``; every number of Euler steps must land on ``a``."""
    action = torch.tensor([0.5, -0.9, 0.8])
    head = FlowHead(
        action_dim=ACTION,
        denoiser=Recorder(lambda x, t: (x - action) / t[:, None, None]),
        sampling_steps=sampling_steps,
    )
    chunk = head(torch.zeros(4, 2, CHUNK, DIM), torch.randn(4, 2, CHUNK, ACTION))
    torch.testing.assert_close(chunk[..., :-1], action[:-1].expand(4, 2, CHUNK, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(chunk[..., -1].sigmoid(), torch.tensor(0.9).expand(4, 2, CHUNK), atol=1e-5, rtol=0)


@pytest.mark.parametrize("sampling_steps", [1, 4, 7])
def test_who_knows_the_clean_chunk_lands_on_it(sampling_steps: int) -> None:
    action = torch.tensor([0.5, -0.9, 0.8])
    denoiser = Recorder(lambda x, _: action.expand_as(x))
    head = FlowHead(action_dim=ACTION, denoiser=denoiser, prediction="sample", sampling_steps=sampling_steps)
    chunk = head(torch.zeros(4, 1, CHUNK, DIM), torch.randn(4, 1, CHUNK, ACTION))
    torch.testing.assert_close(chunk[..., :-1], action[:-1].expand(4, 1, CHUNK, -1), atol=1e-5, rtol=0)


def test_both_predictions_take_the_same_path() -> None:
    """A clean chunk ``a`` said at ``x_t`` means the velocity ``(x_t - a) / t``."""
    clean = lambda x, t: torch.tanh(x) * t[:, None, None]  # noqa: E731
    velocity = lambda x, t: (x - clean(x, t)) / t[:, None, None]  # noqa: E731
    noise = torch.randn(2, 1, CHUNK, ACTION)
    heads = [
        FlowHead(action_dim=ACTION, denoiser=Recorder(answer), prediction=prediction)
        for prediction, answer in (("sample", clean), ("velocity", velocity))
    ]
    chunks = [head(torch.zeros(2, 1, CHUNK, DIM), noise) for head in heads]
    torch.testing.assert_close(*chunks)


def test_a_head_that_predicts_the_clean_chunk_is_asked_for_it() -> None:
    action = torch.rand(3, 2, CHUNK, ACTION)
    head = FlowHead(action_dim=ACTION, denoiser=Recorder(), prediction="sample", draws=2)
    _, wanted = head.learn(torch.zeros(3, 2, CHUNK, DIM), action)
    assert torch.equal(wanted, action[:, :, :, None].expand(-1, -1, -1, 2, -1))


def test_levels_go_down_in_equal_steps() -> None:
    denoiser = Recorder()
    FlowHead(action_dim=ACTION, denoiser=denoiser, sampling_steps=4)(
        torch.zeros(1, 1, CHUNK, DIM), torch.zeros(1, 1, CHUNK, ACTION)
    )
    assert [level.item() for _, _, level, _ in denoiser.asked] == [1.0, 0.75, 0.5, 0.25]


@pytest.mark.parametrize("levels", ["uniform", "beta", "logit_normal"])
def test_the_regression_target_integrates_to_the_action(levels: str) -> None:
    torch.manual_seed(0)
    denoiser, action = Recorder(), torch.rand(3, 2, CHUNK, ACTION) * 2 - 1
    head = FlowHead(action_dim=ACTION, denoiser=denoiser, levels=levels, draws=50)
    _, velocity = head.learn(torch.zeros(3, 2, CHUNK, DIM), action)
    noisy, _, level, _ = denoiser.asked[0]
    rows = velocity.movedim(3, 2).flatten(0, 2)  # as the denoiser saw them
    again = noisy - level[:, None, None] * rows  # from x_t back along the straight line
    torch.testing.assert_close(again.unflatten(0, (3, 2, 50)), action[:, :, None].expand(-1, -1, 50, -1, -1))
    noise = noisy + (1 - level[:, None, None]) * rows
    assert noise.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    ("levels", "below_half"),
    [("uniform", 0.5), ("beta", (1 - 0.5 / 0.999) ** 1.5), ("logit_normal", 0.5)],
)
def test_levels_follow_their_distribution(levels: str, below_half: float) -> None:
    torch.manual_seed(0)
    denoiser = Recorder()
    FlowHead(action_dim=ACTION, denoiser=denoiser, levels=levels, draws=40_000).learn(
        torch.zeros(1, 1, 1, DIM), torch.zeros(1, 1, 1, ACTION)
    )
    level = denoiser.asked[0][2]
    assert ((level >= 0) & (level <= 1)).all()
    assert (level < 0.5).float().mean() == pytest.approx(below_half, abs=0.01)
    middle = {"uniform": 0.2, "beta": None, "logit_normal": 0.3145}[levels]  # P(0.4 < t < 0.6)
    if middle is not None:
        assert ((level > 0.4) & (level < 0.6)).float().mean() == pytest.approx(middle, abs=0.01)


@pytest.mark.parametrize("prediction", ["velocity", "sample"])
def test_samples_both_modes(prediction: str) -> None:
    torch.manual_seed(0)
    head = FlowHead(action_dim=ACTION, denoiser=small_denoiser(), prediction=prediction, sampling_steps=10)
    teach(head, updates=400)
    drawn = sample(head)
    away = torch.stack([(drawn - mode[0]).abs().amax(dim=(1, 2)) for mode in two_modes(2)])
    assert (away.amin(dim=0) < 0.15).float().mean() > 0.9  # whole chunks, gripper included, of one mode
    assert (away.argmin(dim=0) == 0).float().mean() == pytest.approx(0.5, abs=0.15)


def test_regression_takes_the_middle() -> None:
    torch.manual_seed(0)
    regression = ActionHead(dim=DIM, action_dim=ACTION)
    optimiser = torch.optim.Adam(regression.parameters(), lr=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        (regression(torch.zeros(2, 1, CHUNK, DIM)) - two_modes(2)).square().mean().backward()
        optimiser.step()
    assert regression(torch.zeros(1, 1, CHUNK, DIM)).abs().max() < 0.05


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match=r"logit_normal.*'cosine'"):
        FlowHead(action_dim=ACTION, denoiser=Recorder(), levels="cosine")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="'noise'"):
        FlowHead(denoiser=Recorder(), prediction="noise")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="sampling_steps=0"):
        FlowHead(action_dim=ACTION, denoiser=Recorder(), sampling_steps=0)
