"""The simulated twin keeps the contract, looks right and can be reproduced."""

import math

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from seerkit.envs import TASKS, make
from seerkit.envs.contract import MAX_ROTATION, MAX_TRANSLATION
from seerkit.envs.pose import Pose

pytestmark = pytest.mark.sim
STILL = np.array([0, 0, 0, 0, 0, 0, 1.0], np.float32)


def pose_of(state: np.ndarray) -> Pose:
    return Pose.from_euler_xyz(state[3:6], state[:3])


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.filterwarnings("ignore:.*is different from the unwrapped version")
def test_gymnasium_accepts_it(task: str) -> None:
    env = make(task, render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=False)
    env.close()


@pytest.mark.parametrize("task", TASKS)
def test_the_same_seed_gives_the_same_frames_twice(task: str) -> None:
    def record() -> list[np.ndarray]:
        env = make(task, image_size=32)
        observation, _ = env.reset(seed=7)
        actions = np.random.default_rng(1).uniform(-1, 1, (4, 7)).astype(np.float32)
        seen = [observation, *(env.step(action)[0] for action in actions)]
        env.reset()
        seen.append(env.reset(seed=7)[0])
        env.close()
        return [part for o in seen for part in (o["image"]["primary"], o["image"]["wrist"], o["state"])]

    first, second = record(), record()
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    np.testing.assert_array_equal(first[0], first[-3])  # the same table in the same env, after another episode


def test_actions_move_the_tool_in_its_own_frame() -> None:
    env = make("Reach", image_size=16, max_episode_steps=1000)
    observation, _ = env.reset(seed=0, options={"start": (0.5, 0.0, 0.3, 0.35)})
    before = pose_of(observation["state"])
    for action, delta in (
        ([1, 0, 0, 0, 0, 0, 1], Pose.of((MAX_TRANSLATION, 0, 0))),
        ([0, -1, 0, 0, 0, 0, 1], Pose.of((0, -MAX_TRANSLATION, 0))),
        ([0, 0, 0.5, 0, 0, 0, 1], Pose.of((0, 0, 0.5 * MAX_TRANSLATION))),
        ([0, 0, 0, 1, 0, 0, 1], Pose.from_euler_xyz((MAX_ROTATION, 0, 0))),
        ([0, 0, 0, 0, 0, 1, 1], Pose.from_euler_xyz((0, 0, MAX_ROTATION))),
    ):
        env.step(np.array(action, np.float32))
        for _ in range(8):  # let the servos arrive
            observation, *_ = env.step(STILL)
        after = pose_of(observation["state"])
        metres, radians = after.distance(before @ delta)
        assert metres < 1e-3, action
        assert radians < 5e-3, action
        before = after
    assert before.position[2] < 0.3  # +z of a tool that points down is down
    env.close()


def test_the_gripper_opens_with_plus_one_and_measures_metres() -> None:
    env = make("Reach", image_size=16)
    observation, _ = env.reset(seed=0)
    assert observation["state"][6] == 1
    assert env.unwrapped.world.width == pytest.approx(0.085, abs=1e-3)
    for _ in range(12):
        observation, *_ = env.step(-STILL)
    assert observation["state"][6] == -1
    assert env.unwrapped.world.width < 2e-3
    env.close()


def test_roll_is_continuous_or_raw() -> None:
    for positive, low, high in ((True, 2.9, 3.4), (False, -math.pi, math.pi)):
        env = make("Reach", image_size=16, roll_positive=positive)
        env.reset(seed=0)
        rolls = []
        for step in range(12):
            wiggle = np.array([0, 0, 0, 0.5 if step < 6 else -1, 0, 0, 1], np.float32)
            rolls.append(env.step(wiggle)[0]["state"][3])
        assert low <= min(rolls)
        assert max(rolls) <= high
        assert (np.abs(np.diff(rolls)).max() < 1) == positive
        env.close()


def test_pictures_are_upright_and_show_every_block() -> None:
    env = make("ReachColor")
    channel = {"red": 0, "green": 1, "blue": 2}
    for seed in range(12):
        observation, _ = env.reset(seed=seed)
        picture = observation["image"]["primary"].astype(int)
        places = {}
        for name, own in channel.items():
            others = [picture[c] for c in range(3) if c != own]
            mask = (picture[own] > 80) & (picture[own] > 2 * np.maximum(*others))
            assert mask.sum() >= 15, (seed, name)
            assert np.ptp(np.nonzero(mask.any(0))[0]) + 1 >= 4
            places[name] = np.argwhere(mask).mean(0)
        world = env.unwrapped.world
        spots = {name: world.body(name).position for name in channel}
        for a in channel:  # the camera faces the robot: +y is to the right, towards the camera (+x) is down
            for b in channel:
                if spots[a][1] - spots[b][1] > 0.05:
                    assert places[a][1] > places[b][1]
                if spots[a][0] - spots[b][0] > 0.05:
                    assert places[a][0] > places[b][0]
    env.close()


def test_the_wrist_camera_sees_what_is_between_the_fingers() -> None:
    env = make("Reach")
    env.reset(seed=3)
    x, y, _ = env.unwrapped.world.body("red").position
    observation, _ = env.reset(options={"keep_layout": True, "start": (x, y, 0.08, 0.0)})
    picture = observation["image"]["wrist"].astype(int)
    rows, columns = np.nonzero((picture[0] > 80) & (picture[0] > 2 * np.maximum(picture[1], picture[2])))
    assert len(rows) > 100
    assert 24 < columns.mean() < 40
    env.close()


def test_a_goal_can_change_while_the_table_stays() -> None:
    env = make("ReachColor", image_size=16)
    tables = []
    for goal in ("red", "green", "blue"):
        observation, _ = env.reset(seed=5, options={"goal": goal, "start": "random"})
        assert observation["language_instruction"] == f"reach the {goal} block"
        tables.append((observation["image"]["primary"], observation["state"]))
    for picture, state in tables[1:]:
        np.testing.assert_array_equal(picture, tables[0][0])
        np.testing.assert_array_equal(state, tables[0][1])
    first, _ = env.reset(seed=6)
    kept, _ = env.reset(seed=99, options={"keep_layout": True})
    np.testing.assert_array_equal(first["image"]["primary"], kept["image"]["primary"])
    env.close()


def test_goals_switch_in_mid_episode() -> None:
    env = make("ReachColor", image_size=16, max_episode_steps=400)
    env.reset(seed=5, options={"goal": "red"})
    expert = env.unwrapped.expert(np.random.default_rng(0))
    for goal in ("red", "blue", "green"):
        assert env.unwrapped.set_goal(goal) == f"reach the {goal} block"
        for _ in range(60):
            observation, _, terminated, _, info = env.step(expert.act(env))
            assert observation["language_instruction"] == f"reach the {goal} block"
            if terminated:
                break
        assert terminated
        assert info["is_success"]
    env.close()


def test_wrong_names_and_starts_are_answered() -> None:
    env = make("ReachColor", image_size=16)
    with pytest.raises(ValueError, match=r"goal to be one of .* given 'gren'; did you mean 'green'"):
        env.reset(options={"goal": "gren"})
    with pytest.raises(ValueError, match="reset option to be one of"):
        env.reset(options={"gaol": "green"})
    with pytest.raises(ValueError, match="start to be 'home', 'random' or"):
        env.reset(options={"start": (0.5, 0.0)})
    with pytest.raises(ValueError, match="within reach"):
        env.reset(options={"start": (2.0, 0.0, 0.3, 0.0)})
    env.close()
    with pytest.raises(ValueError, match="did you mean 'Reach'"):
        make("seerkit/Tabletop-Reach-v0", task="Reech")


def test_nan_is_refused_with_a_clear_message() -> None:
    env = make("Reach", image_size=16)
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"expected a finite action of shape \(7,\), given"):
        env.step(np.array([np.nan, 0, 0, 0, 0, 0, 1], np.float32))
    env.close()


def test_random_actions_do_not_reach() -> None:
    env = make("Reach", image_size=16)
    successes = 0
    for seed in range(5):
        env.reset(seed=seed)
        env.action_space.seed(seed)
        done = False
        while not done:
            _, _, terminated, truncated, _ = env.step(env.action_space.sample())
            successes += terminated
            done = terminated or truncated
    assert successes == 0
    env.close()


def test_better_pictures_are_an_option() -> None:
    look = {"shadows": True, "samples": 4, "meshes": "full", "render_size": 64}
    env = make("Reach", image_size=16, render_mode="rgb_array", look=look)
    env.reset(seed=0)
    assert env.render().shape == (64, 64, 3)
    assert env.unwrapped.world.model.vis.quality.offsamples == 4
    env.close()
    with pytest.raises(ValueError, match="'hulls' or 'full'"):
        make("Reach", look={"meshes": "ful"})
