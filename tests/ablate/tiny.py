"""A study so small that it says nothing, quickly; and made-up results that say what they were made to say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from seerkit.ablate import study as module
from seerkit.ablate.results import Outcome, Run, outcome_of
from seerkit.ablate.study import Preset, Study, make_study

SMALL = ("dim=16", "encoders.image.module.vit.depth=0", "trunk.depth=1", "trunk.heads=2", "train.batch_size=4")
SHORT = ("train.ema=null", "train.holdout=0.4", "+train.save_every=2", "+eval.horizon=3")
TINY = Preset(episodes=4, play=4, updates=4, pretrain_updates=2, trials=2, overrides=(*SMALL, *SHORT))


def tiny_study(
    monkeypatch: pytest.MonkeyPatch, group: str, rows: Sequence[str] | None = None, *, seeds: int = 1
) -> Study:
    monkeypatch.setitem(module.PRESETS, "tiny", TINY)
    return make_study(group, rows, preset="tiny", seeds=seeds)


def made_up(study: Study, rates: Mapping[str, float], *, episodes: int = 40, loss: float = 0.02) -> Outcome:
    """Runs whose episodes succeed at the given rates, on layouts of the same difficulty for all rows."""
    runs: dict[str, dict[int, Run]] = {}
    for seed in range(study.seeds):
        difficulty = np.random.default_rng(seed).random(episodes)
        for row, rate in rates.items():
            success = tuple(bool(hard < rate) for hard in difficulty)
            runs.setdefault(row, {})[seed] = Run(seed, success, {"val_loss_arm": loss + seed / 1000})
    return outcome_of(study, runs, {})
