"""Experts succeed, recover, and depend on the measured scene alone."""

import numpy as np
import pytest

from seerkit.envs import TASKS, make
from seerkit.envs.contract import EVAL_SEEDS

pytestmark = pytest.mark.sim
NEEDED = {"Reach": 0.98, "ReachColor": 0.98, "PickPlace": 0.95, "PickPlaceClose": 0.95, "StackCups": 0.9}
LAYOUTS = [pytest.param(4, id="4"), pytest.param(50, id="50", marks=pytest.mark.slow)]


def share_of_successes(task: str, layouts: int, *, noise: float = 0.0) -> float:
    env = make(task, image_size=16)
    successes = 0
    for seed in EVAL_SEEDS[:layouts]:
        env.reset(seed=seed)
        expert = env.unwrapped.expert(np.random.default_rng(seed), noise=noise)
        done = False
        while not done:
            _, _, terminated, truncated, info = env.step(expert.act(env))
            done = terminated or truncated
        assert info["is_success"] == terminated
        successes += terminated
    env.close()
    return successes / layouts


@pytest.mark.parametrize("layouts", LAYOUTS)
@pytest.mark.parametrize("task", TASKS)
def test_experts_succeed_on_unseen_layouts(task: str, layouts: int) -> None:
    assert share_of_successes(task, layouts) >= NEEDED[task]


@pytest.mark.parametrize("layouts", LAYOUTS)
@pytest.mark.parametrize("task", ["Reach", "ReachColor", "PickPlace"])
def test_experts_recover_from_bursts(task: str, layouts: int) -> None:
    assert share_of_successes(task, layouts, noise=1.0) >= 0.9


def test_the_wish_depends_on_the_scene_alone() -> None:
    env = make("PickPlace", image_size=16)
    env.reset(seed=1)
    old = env.unwrapped.expert(np.random.default_rng(0))
    for _ in range(25):
        fresh = env.unwrapped.expert(np.random.default_rng(0))
        action = old.act(env)
        np.testing.assert_array_equal(action, fresh.act(env))
        env.step(action)
    env.close()


def test_bursts_are_marked_and_labels_stay_clean() -> None:
    env = make("Reach", image_size=16)
    env.reset(seed=1)
    clean, noisy = env.unwrapped.expert(), env.unwrapped.expert(np.random.default_rng(0), noise=0.8)
    disturbed = 0
    for _ in range(60):
        action = noisy.act(env)
        np.testing.assert_array_equal(noisy.label, clean.act(env))
        assert np.array_equal(action, noisy.label) != noisy.disturbed
        disturbed += noisy.disturbed
        env.step(action)
    assert 2 < disturbed < 40
    with pytest.raises(ValueError, match="noise to be at least 0"):
        env.unwrapped.expert(noise=-1.0)
    env.close()
