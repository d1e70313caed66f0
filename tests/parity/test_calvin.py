"""Our play table does what the original does: every recorded file is found and compared by itself."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from tests.parity import calvin, golden

FILES = calvin.files()
pytestmark = [pytest.mark.skipif(not FILES, reason=golden.MISSING), pytest.mark.calvin]
MOVES = np.array([0.3, -0.2, -0.3, 0, 0, 0.2, 1])


def test_every_file_is_of_a_known_kind() -> None:
    assert {calvin.kind(path) for path in FILES} == set(calvin.KINDS)


def test_a_file_of_unknown_kind_fails_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"mystery_D\.npz"):
        calvin.kind(tmp_path / "mystery_D.npz")


EPISODES = [
    pytest.param(calvin.scene(path), episode, id=f"{calvin.scene(path)}{i}")
    for path in calvin.of_kind("trajectories")
    for i, episode in enumerate(calvin.episodes(path))
]


@pytest.mark.parametrize(("scene", "episode"), EPISODES)
def test_every_number_and_every_task_is_the_recorded_one(scene: str, episode: calvin.Episode) -> None:
    from seerkit.envs.calvin.oracle import read_oracle
    from seerkit.envs.calvin.protocol import initial_state
    from seerkit.envs.calvin.scene import read_scene
    from seerkit.envs.calvin.world import World

    oracle, world = read_oracle(calvin.assets()), World(read_scene(scene, calvin.assets()))
    world.reset(*initial_state(episode.condition))
    start = world.situation()
    for step, action in enumerate([None, *episode.actions]):
        if action is not None:
            world.step(action)
            told = oracle.done(start, world.situation())
            assert sorted(told) == sorted(episode.tasks[step - 1]), f"step {step}"
        assert world.robot.observe().tobytes() == episode.robot[step].tobytes(), f"step {step}"
        assert world.observe().tobytes() == episode.scene[step].tobytes(), f"step {step}"
    world.close()


@pytest.mark.parametrize("path", calvin.of_kind("images"), ids=calvin.scene)
def test_pictures_are_the_recorded_ones(path: Path) -> None:
    from seerkit.envs.calvin.env import CalvinEnv

    env = CalvinEnv(calvin.scene(path), renderer="egl")
    for state in calvin.pictures(path):
        observation, info = env.reset(options={"robot_obs": state["robot_obs0"], "scene_obs": state["scene_obs0"]})
        for _ in range(3):
            observation, *_, info = env.step(MOVES)
        for name in ("robot_obs", "scene_obs"):
            np.testing.assert_allclose(info[name], state[name], rtol=0, atol=1e-4)  # the recorded world had a history
        for ours, theirs in (("primary", "rgb_static"), ("wrist", "rgb_gripper")):
            off = np.abs(observation["image"][ours].transpose(1, 2, 0).astype(int) - state[theirs]).max(axis=-1)
            assert (off <= 1).mean() >= 0.99, f"{ours}: {(off <= 1).mean():.2%} of the pixels within one level"
    env.close()


@pytest.fixture(scope="module")
def protocol() -> dict:
    (path,) = calvin.of_kind("protocol")
    return json.loads(path.read_text())


def test_initial_states_are_the_recorded_ones(protocol: dict) -> None:
    from seerkit.envs.calvin.protocol import conditions, initial_state

    for recorded in protocol["states"]:
        robot, scene = initial_state(recorded["condition"])
        assert robot.tolist() == recorded["robot_obs"]
        assert scene.tolist() == recorded["scene_obs"]
        assert recorded["condition"] in conditions()


def test_sequences_are_the_recorded_ones(protocol: dict) -> None:
    from seerkit.envs.calvin.protocol import sequences

    ours = [[sequence.condition, list(sequence.tasks)] for sequence in sequences()]
    assert ours[:20] == protocol["sequences_first_20"]
    assert hashlib.sha256(json.dumps(ours).encode()).hexdigest() == protocol["sequences_sha256"]


def test_initial_states_of_all_sequences_have_the_known_hash() -> None:
    """The hash of all 1000 scenes, rounded to 9 digits, as the original draws them."""
    from seerkit.envs.calvin.protocol import initial_state, sequences

    scenes = np.round(np.stack([initial_state(sequence.condition)[1] for sequence in sequences()]), 9)
    assert hashlib.sha256(scenes.tobytes()).hexdigest() == (
        "a66cd839365095f435f91b69a0f795408d6f75ceef5739ab6f1f1713a3a85771"
    )
