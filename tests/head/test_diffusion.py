"""Diffusion: the schedule, DDIM against its formula written out, and both modes of a task with two answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from seerkit.head import DiffusionHead
from seerkit.head.denoiser import as_chunk
from seerkit.head.diffusion import cosine_schedule
from tests.head.teach import ACTION, CHUNK, DIM, Recorder, sample, small_denoiser, teach, two_modes


def test_the_schedule_is_the_squared_cosine_until_its_last_step() -> None:
    kept = cosine_schedule(100)
    assert kept[0] == 1
    assert (kept.diff() < 0).all()
    for step in (1, 37, 99):
        wanted = math.cos((step / 100 + 0.008) / 1.008 * math.pi / 2) ** 2
        assert kept[step].item() == pytest.approx(wanted / math.cos(0.008 / 1.008 * math.pi / 2) ** 2, rel=1e-5)
    assert kept[100] == pytest.approx(kept[99].item() * 1e-3, rel=1e-5)


@pytest.mark.parametrize("prediction", ["sample", "epsilon"])
def test_acting_is_ddim_written_out(prediction: str) -> None:
    torch.manual_seed(0)
    head = DiffusionHead(action_dim=ACTION, denoiser=small_denoiser(), prediction=prediction)
    nn.init.normal_(head.denoiser.out.weight, std=0.3)
    hidden, noise = torch.randn(2, 3, CHUNK, DIM), torch.randn(2, 3, CHUNK, ACTION)
    kept = cosine_schedule(100).double()
    x = noise[1, 2].double()
    for step in range(100, 0, -10):
        said = head.denoiser(x[None].float(), hidden[1, 2][None], torch.tensor([step / 100]))[0].double()
        clean = said
        if prediction == "epsilon":
            clean = (x - (1 - kept[step]).sqrt() * said) / kept[step].sqrt()
        clean = clean.clamp(-1, 1)
        epsilon = (x - kept[step].sqrt() * clean) / (1 - kept[step]).sqrt()
        x = kept[step - 10].sqrt() * clean + (1 - kept[step - 10]).sqrt() * epsilon
    torch.testing.assert_close(head(hidden, noise)[1, 2], as_chunk(x).float(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("sampling_steps", [1, 3, 10, 100])
def test_who_knows_the_action_lands_on_it(sampling_steps: int) -> None:
    action = torch.tensor([0.5, -0.9, 0.8])
    head = DiffusionHead(
        action_dim=ACTION, denoiser=Recorder(lambda x, _: action.expand_as(x)), sampling_steps=sampling_steps
    )
    chunk = head(torch.zeros(4, 1, CHUNK, DIM), torch.randn(4, 1, CHUNK, ACTION))
    torch.testing.assert_close(chunk[..., :-1], action[:-1].expand(4, 1, CHUNK, -1))
    torch.testing.assert_close(chunk[..., -1].sigmoid(), torch.full((4, 1, CHUNK), 0.9))


@pytest.mark.parametrize("prediction", ["sample", "epsilon"])
def test_the_noisy_chunk_is_made_of_action_and_noise(prediction: str) -> None:
    torch.manual_seed(0)
    denoiser, action = Recorder(), torch.rand(3, 2, CHUNK, ACTION) * 2 - 1
    head = DiffusionHead(action_dim=ACTION, denoiser=denoiser, prediction=prediction, draws=300)
    _, wanted = head.learn(torch.zeros(3, 2, CHUNK, DIM), action)
    noisy, _, level, _ = denoiser.asked[0]
    step = (level * 100).round().long()
    assert (step.min(), step.max()) == (1, 100)
    kept = cosine_schedule(100)[step][:, None, None]
    rows = action.flatten(0, 1).repeat_interleave(300, dim=0)
    noise = (noisy - kept.sqrt() * rows) / (1 - kept).sqrt()
    assert noise.mean() == pytest.approx(0, abs=0.1)
    assert noise.std() == pytest.approx(1, abs=0.1)
    expected = rows if prediction == "sample" else noise
    torch.testing.assert_close(wanted.movedim(3, 2).flatten(0, 2), expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(("prediction", "share"), [("sample", 0.95), ("epsilon", 0.8)])
def test_samples_both_modes(prediction: str, share: float) -> None:
    torch.manual_seed(0)
    head = DiffusionHead(action_dim=ACTION, denoiser=small_denoiser(), prediction=prediction)
    teach(head, updates=400)
    drawn = sample(head)
    away = torch.stack([(drawn - mode[0]).abs().amax(dim=(1, 2)) for mode in two_modes(2)])
    assert (away.amin(dim=0) < 0.15).float().mean() > share
    assert (away.argmin(dim=0) == 0).float().mean() == pytest.approx(0.5, abs=0.15)


def test_wrong_options_are_named() -> None:
    with pytest.raises(ValueError, match="'velocity'"):
        DiffusionHead(action_dim=ACTION, denoiser=Recorder(), prediction="velocity")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="got 101, 100, 1"):
        DiffusionHead(action_dim=ACTION, denoiser=Recorder(), sampling_steps=101)
