"""Settings, schedule and averaged weights against their definitions."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from seerkit.train.ema import Ema
from seerkit.train.schedule import warmup_constant, warmup_cosine
from seerkit.train.settings import Settings


def test_the_schedule_is_linear_then_half_a_cosine() -> None:
    shares = [warmup_cosine(update, warmup=4, total=12) for update in range(13)]
    assert shares[:5] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert shares[8] == pytest.approx(0.5)
    assert shares[12] == pytest.approx(0.0)
    assert shares[6] == pytest.approx(0.5 * (1 + math.cos(math.pi / 4)))
    assert warmup_cosine(0, warmup=0, total=10) == 1.0
    assert [warmup_constant(update, warmup=2, total=9) for update in range(4)] == [0.0, 0.5, 1.0, 1.0]
    assert warmup_constant(0, warmup=0, total=9) == 1.0


def test_length_in_epochs_and_in_updates() -> None:
    assert Settings(epochs=3, warmup_epochs=0.5, batch_size=10).length(105) == (32, 5)
    assert Settings(updates=50, warmup=7).length(105) == (50, 7)


def test_a_recipe_may_be_changed() -> None:
    recipe = {"lr": 1e-3, "epochs": 20, "updates": None, "warmup_epochs": 1, "betas": [0.9, 0.95], "batch_size": 512}
    assert Settings.read(recipe).betas == (0.9, 0.95)
    changed = Settings.read(recipe, {"updates": 200, "batch_size": 8})
    assert (changed.updates, changed.epochs, changed.warmup, changed.warmup_epochs) == (200, None, 10, None)
    changed = Settings.read(recipe, {"epochs": 5})
    assert (changed.epochs, changed.warmup_epochs) == (5, 0.25)
    changed = Settings.read(recipe, {"updates": 200, "warmup": 3})
    assert (changed.warmup, changed.warmup_epochs) == (3, None)
    other = {"updates": 2000, "warmup": 100}
    assert Settings.read(other, {"updates": 200}).warmup == 10


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"updates": 1, "weight_decy": 0.1}, r"'weight_decy'; did you mean 'weight_decay'"),
        ({}, "either epochs or updates"),
        ({"updates": 1, "epochs": 1}, "either epochs or updates"),
        ({"updates": 1, "warmup": 1, "warmup_epochs": 1}, "warmup_epochs or warmup"),
        ({"updates": 0}, "updates must be above 0, got 0"),
        ({"updates": 1, "batch_size": 8, "micro_batch": 3}, "must divide batch_size 8, got 3"),
        ({"updates": 1, "schedule": "linear"}, r"must be one of \('cosine', 'constant'\), got 'linear'"),
        ({"updates": 1, "precision": "fp16"}, "got 'fp16'"),
        ({"updates": 1, "ema": 1.0}, r"ema must be in \[0, 1\), got 1.0"),
        ({"updates": 1, "lr": float("nan")}, "lr must be in"),
        ({"updates": 1, "lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"updates": True}, "updates must be a number, got True"),
    ],
)
def test_bad_settings_are_named(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Settings.read(fields)


def test_ema_is_the_running_average() -> None:
    module = nn.Linear(3, 2)
    ema, mean = Ema(module, decay=0.5), module.weight.detach().clone()
    for done in range(5):
        with torch.no_grad():
            module.weight.add_(torch.randn(2, 3))
        ema.update(done)
        decay = min(0.5, (1 + done) / (10 + done))
        mean = decay * mean + (1 - decay) * module.weight.detach()
    torch.testing.assert_close(ema.state_dict()["weight"], mean)
    trained = module.weight.detach().clone()
    with ema.applied():
        torch.testing.assert_close(module.weight.detach(), mean)
    assert torch.equal(module.weight, trained)
    with pytest.raises(ValueError, match="bias"):
        ema.load_state_dict({"weight": mean})
