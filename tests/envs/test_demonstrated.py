"""Goals shown by the expert: the right picture of the right layout, every time."""

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from seerkit.envs import make, make_vec
from seerkit.envs.demonstrated import DemonstratedGoal
from tests.data.line_env import PLACES, LineEnv

Parts = list[np.ndarray]


def parts(goal: dict[str, Any]) -> Parts:
    return [*goal["image"].values(), goal["state"]]


def same(one: Parts, two: Parts) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


class Moody(LineEnv):
    """A line whose expert gets stuck at every first reset of a layout."""

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        seen = getattr(self, "seeds", [])
        self.seeds = [*seen, seed]
        observation, info = super().reset(seed=seed, options=options)
        self.stuck = self.stuck or seed not in seen
        return observation, info


def test_the_goal_is_where_the_expert_ended_and_the_episode_starts_anew() -> None:
    env = DemonstratedGoal(LineEnv())
    for seed in range(6):
        observation, info = env.reset(seed=seed)
        plain, _ = LineEnv().reset(seed=seed)
        assert same(parts(observation), parts(plain))
        assert observation["goal"]["state"][0] == pytest.approx(PLACES[env.unwrapped.goal], abs=0.051)
        assert info["demonstration"] == {"tries": 1, "steps": 10}
        assert not info["is_success"]
        stepped = env.step(np.full(7, 0.1, np.float32))[0]
        assert same(parts(stepped["goal"]), parts(observation["goal"]))
        assert not same(parts(stepped), parts(observation))


def test_options_reach_the_demonstration() -> None:
    env = DemonstratedGoal(LineEnv())
    steps = [env.reset(seed=seed, options={"start": "random"})[1]["demonstration"]["steps"] for seed in range(4)]
    assert set(steps) == {5, 15}  # from 0.5 to 1 or to -1


def test_resets_without_a_seed_follow_from_the_last_seed() -> None:
    def play() -> list[Parts]:
        env = DemonstratedGoal(LineEnv())
        env.reset(seed=4)
        return [parts(env.reset()[0]["goal"]) for _ in range(6)]

    first, second = play(), play()
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    assert not all(same(first[0], other) for other in first[1:]), "several goals"


def test_an_expert_that_fails_tries_again_and_then_gives_up_clearly() -> None:
    moody = Moody()
    _, info = DemonstratedGoal(moody, horizon=30).reset(seed=8)
    assert info["demonstration"]["tries"] == 2
    assert moody.seeds == [8, 8, 8]
    with pytest.raises(RuntimeError, match=re.escape("with seed 3 and options {}; it failed 2 times")):
        DemonstratedGoal(LineEnv(lazy=3), horizon=20, tries=2).reset(seed=3)


def test_what_cannot_show_a_goal_is_refused() -> None:
    with pytest.raises(TypeError, match="scripted expert"):
        DemonstratedGoal(gymnasium.make("CartPole-v1"))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="tries to be at least 1, given 5 and 0"):
        DemonstratedGoal(LineEnv(), horizon=5, tries=0)
    with pytest.raises(ValueError, match="None or 'demonstrated', given 'shown'"):
        make("Reach", goal="shown")


@pytest.mark.sim
@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_gymnasium_accepts_it_on_the_twin() -> None:
    env = make("Reach", image_size=16, goal="demonstrated")
    check_env(env, skip_render_check=True)
    env.close()


@pytest.mark.sim
@pytest.mark.parametrize("task", ["ReachColor", "PickPlace"])
def test_the_twin_shows_its_own_layout_finished(task: str) -> None:
    env, plain = make(task, image_size=32, goal="demonstrated"), make(task, image_size=32)
    for seed in (1_000_000, 7):
        observation, info = env.reset(seed=seed)
        expected, _ = plain.reset(seed=seed)
        assert same(parts(observation), parts(expected))
        assert observation["language_instruction"] == expected["language_instruction"]
        assert env.observation_space.contains(observation)
        assert not info["is_success"]
        expert, done = plain.unwrapped.expert(np.random.default_rng(0)), False
        while not done:
            expected, _, terminated, truncated, _ = plain.step(expert.act(plain))
            done = terminated or truncated
        assert terminated
        assert same(parts(observation["goal"]), parts(expected))
        assert env.unwrapped.goals == plain.unwrapped.goals
    again, _ = env.reset(seed=1_000_000)
    assert not same(parts(again["goal"]), parts(observation["goal"]))
    env.close()
    plain.close()


@pytest.mark.sim
def test_it_vectorises() -> None:
    envs = make_vec("ReachColor", 2, image_size=16, goal="demonstrated", max_episode_steps=60)
    try:
        observation, _ = envs.reset(seed=[1, 2])
        stepped = envs.step(np.zeros((2, 7), np.float32))[0]
        for row, seed in enumerate((1, 2)):
            env = make("ReachColor", image_size=16, goal="demonstrated")
            expected = parts(env.reset(seed=seed)[0]["goal"])
            for seen in (observation, stepped):
                goal = {"image": {k: v[row] for k, v in seen["goal"]["image"].items()}}
                assert same(parts({**goal, "state": seen["goal"]["state"][row]}), expected)
            env.close()
    finally:
        envs.close()


@pytest.mark.sim
def test_a_demonstration_must_fit_into_the_episode() -> None:
    env = make("Reach", image_size=16, goal="demonstrated", max_episode_steps=3)
    with pytest.raises(RuntimeError, match=re.escape("failed 4 times, so there is no picture of the goal")):
        env.reset(seed=0)
    env.close()
