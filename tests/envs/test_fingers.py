"""States that end with the fingers' openings instead of the gripper's sign."""

from pathlib import Path

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from seerkit.collect import Recording, collect
from seerkit.data.store import Conventions, StoreError
from seerkit.data.writer import merge
from seerkit.envs import make
from seerkit.envs.contract import STATES, observation_space
from seerkit.envs.franka import GripperReading
from tests.data.line_env import LineEnv
from tests.envs.test_franka import STILL, fake_env


def test_the_plain_state_is_what_stores_take_for_granted() -> None:
    assert Conventions(cameras={}).state == STATES["pose_gripper"]
    assert observation_space(8, state="pose_fingers")["state"].shape == (8,)
    with pytest.raises(ValueError, match="given 'pose'"):
        observation_space(8, state="pose")


def test_coupled_fingers_open_by_half_the_width_each() -> None:
    assert GripperReading(0.06, 0.08).openings == (0.03, 0.03)
    assert GripperReading(0.06, 0.08, (0.02, 0.04)).openings == (0.02, 0.04)


def test_a_robots_state_follows_its_measured_width() -> None:
    env, plain = fake_env(state="pose_fingers"), fake_env()
    check_env(env, skip_render_check=True)
    observation, _ = env.reset(seed=0)
    other, _ = plain.reset(seed=0)
    for _ in range(4):
        np.testing.assert_allclose(observation["state"][6:], [env.drivers.gripper.read().width / 2] * 2)
        np.testing.assert_array_equal(observation["state"][:6], other["state"][:6])
        observation, other = env.step(-STILL)[0], plain.step(-STILL)[0]
    assert 0 < observation["state"][6] < 0.04, "closing, measured rather than commanded"


@pytest.mark.sim
def test_the_twin_measures_both_fingers_in_metres() -> None:
    env = make("PickPlace", image_size=16, state="pose_fingers")
    observation, info = env.reset(seed=3)
    np.testing.assert_allclose(observation["state"][6:], 0.0425, atol=1e-4)
    expert, narrow = env.unwrapped.expert(np.random.default_rng(0)), 1.0
    while not info["is_success"]:
        observation, *_, info = env.step(expert.act(env))
        np.testing.assert_allclose(observation["state"][6:].sum(), env.unwrapped.world.width, atol=1e-6)
        narrow = min(narrow, observation["state"][6:].min())
    assert narrow == pytest.approx(0.02, abs=1e-3), "half of the block's 4 cm between the fingers"
    env.close()


@pytest.mark.sim
def test_stores_of_both_kinds_are_told_apart(tmp_path: Path) -> None:
    given = {"episodes": 1, "workers": 1, "progress": False}
    plain = collect("Reach", tmp_path / "plain", env_options={"image_size": 16}, **given)
    options = {"image_size": 16, "state": "pose_fingers"}
    fingers = collect("Reach", tmp_path / "fingers", env_options=options, **given)
    assert plain.conventions.state == STATES["pose_gripper"]
    assert fingers.conventions.state == STATES["pose_fingers"]
    assert fingers.state.shape[1] == 8
    with pytest.raises(StoreError, match="left finger"):
        merge([plain, fingers], tmp_path / "both")


def test_an_env_that_says_nothing_has_the_plain_state(tmp_path: Path) -> None:
    store = collect(LineEnv, tmp_path / "line", episodes=1, workers=1, recording=Recording(horizon=40), progress=False)
    assert store.conventions.state == STATES["pose_gripper"]
