"""Envs in processes of their own: instructions, goals and resets arrive as they should."""

import subprocess
import sys

import numpy as np
import pytest
from gymnasium.vector import AsyncVectorEnv, AutoresetMode

from seerkit.envs import make, make_vec

pytestmark = pytest.mark.sim


def make_color() -> object:
    return make("ReachColor", image_size=16, max_episode_steps=3)


FORK = """
import numpy as np
from gymnasium.vector import AsyncVectorEnv
from seerkit.envs import make

def color():
    return make("ReachColor", image_size=16)

envs = AsyncVectorEnv([color] * 2, context="fork")
observation, _ = envs.reset(seed=[1, 2])
assert observation["image"]["primary"].std() > 0
assert all(text.startswith("reach the") for text in observation["language_instruction"])
envs.close()
color().reset()
envs = AsyncVectorEnv([color] * 2, context="fork")
try:
    envs.reset(seed=[1, 2])
except RuntimeError as error:
    assert "context='spawn'" in str(error), error
else:
    raise SystemExit("a fork of a process that has drawn should say so")
"""


def test_forks_work_before_drawing_and_say_why_not_after() -> None:
    done = subprocess.run([sys.executable, "-c", FORK], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("shared", [True, False])
def test_gymnasiums_own_vector_env_works(shared: bool) -> None:
    envs = AsyncVectorEnv([make_color] * 2, context="spawn", shared_memory=shared)  # type: ignore[list-item]
    try:
        for seeds in ([1, 2], [3, 4]):
            singles = [make_color() for _ in seeds]
            expected = [env.reset(seed=seed)[0] for env, seed in zip(singles, seeds, strict=True)]  # type: ignore
            observation, info = envs.reset(seed=seeds)
            assert list(observation["language_instruction"]) == [o["language_instruction"] for o in expected]
            np.testing.assert_array_equal(observation["state"], np.stack([o["state"] for o in expected]))
            frames = np.stack([o["image"]["primary"] for o in expected])
            np.testing.assert_array_equal(observation["image"]["primary"], frames)
            assert not np.asarray(info["is_success"], bool).any()
            for env in singles:
                env.close()  # type: ignore[attr-defined]
    finally:
        envs.close()


def test_same_step_autoreset_gives_the_last_and_the_first_observation() -> None:
    envs = make_vec("ReachColor", 2, autoreset="SameStep", image_size=16, max_episode_steps=3)
    try:
        assert envs.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
        first, _ = envs.reset(seed=[1, 2])
        for _ in range(3):
            observation, _, _, truncated, info = envs.step(np.zeros((2, 7), np.float32))
        assert truncated.all()
        last = info["final_obs"][0]
        assert last["language_instruction"] == first["language_instruction"][0]
        assert not np.array_equal(last["image"]["primary"], observation["image"]["primary"][0])
    finally:
        envs.close()


def test_one_env_stays_in_this_process() -> None:
    envs = make_vec("Reach", 1, image_size=16)
    observation, _ = envs.reset(seed=[4])
    assert observation["image"]["wrist"].shape == (1, 3, 16, 16)
    assert list(observation["language_instruction"]) == ["reach the red block"]
    envs.close()
