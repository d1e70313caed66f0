"""The original simulator behind our environment: asked for in vain, and beside our own world where it is installed."""

import gc
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seerkit.envs import make
from tests.parity import calvin

pytestmark = pytest.mark.calvin
installed = pytest.mark.skipif(
    importlib.util.find_spec("calvin_env") is None, reason="calvin_env, the original simulator, is not installed"
)
BACKEND = "calvin_env"


@pytest.fixture
def original() -> Iterator[Any]:
    """The original on scene D, without cameras."""
    env = make("calvin_d", backend=BACKEND, renderer="none")
    yield env
    env.close()


def start(number: int = 0) -> dict[str, Any]:
    from seerkit.envs.calvin.protocol import initial_state, sequences

    sequence = sequences()[number]
    robot, scene = initial_state(sequence.condition)
    return {"robot_obs": robot, "scene_obs": scene, "tasks": sequence.tasks}


def rough(steps: int) -> np.ndarray:
    """Actions that drive the hand down to the table."""
    actions = np.random.default_rng(0).uniform(-1, 1, (steps, 7)).astype(np.float32)
    actions[:, 2] -= 0.5
    return actions


def test_without_it_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, BACKEND, None)  # as if it were not there
    with pytest.raises(
        ModuleNotFoundError,
        match=r"'calvin_env' is not installed; .*pip install -c constraints.txt --no-deps -e CHECKOUT",
    ):
        make("calvin_d", backend=BACKEND, renderer="none")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"backend": "calvin"}, r"backend to be one of \('seerkit', 'calvin_env'\), given 'calvin'"),
        ({"backend": BACKEND, "button": "1431a46"}, r"button to be one of \('head',\), given '1431a46'"),
    ],
)
def test_wrong_arguments_are_answered(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make("calvin_d", renderer="none", **options)


def test_a_checkout_without_the_benchmarks_files_is_refused(tmp_path: Path) -> None:
    from seerkit.envs.calvin.original import _check_files

    with pytest.raises(ValueError, match=r"123 of them are missing or others, such as conf/scene/calvin_scene_A\.yaml"):
        _check_files(tmp_path)


def test_a_folder_within_another_repository_has_no_commit() -> None:
    from seerkit.envs.calvin.original import _commit

    assert _commit(Path(__file__).parent) == "of unknown commit"


@installed
def test_the_first_episode_is_ours_to_the_last_bit() -> None:
    theirs, ours = make("calvin_d", backend=BACKEND), make("calvin_d")
    episodes = [env.reset(options=start()) for env in (theirs, ours)]
    for action in (None, *rough(20)):
        kept = None if action is None else action.copy()
        if action is not None:
            episodes = [env.step(action) for env in (theirs, ours)]
        np.testing.assert_array_equal(action, kept)
        (seen, *_, info), (wanted, *_, expected) = episodes
        assert [info[name].tobytes() for name in ("robot_obs", "scene_obs")] == [
            expected[name].tobytes() for name in ("robot_obs", "scene_obs")
        ]
        assert seen["language_instruction"] == wanted["language_instruction"]
        np.testing.assert_array_equal(seen["state"], wanted["state"])
        assert theirs.observation_space.contains(seen)
        for name, frame in wanted["image"].items():
            off = np.abs(seen["image"][name].astype(int) - frame).max(axis=0)
            assert (off <= 1).mean() >= 0.99, name
    both = [asdict(env.unwrapped._table.situation()) for env in (theirs, ours)]
    np.testing.assert_equal(*both)
    assert theirs.unwrapped.renderer == ours.unwrapped.renderer
    assert [sorted(env.unwrapped.settings) for env in (theirs, ours)] == [["nearval"], ["button", "nearval"]]
    theirs.close()
    ours.close()


@installed
def test_drawing_can_be_left_out_and_a_second_one_draws_alike() -> None:
    frames = []
    for _ in range(2):
        env = make("calvin_d", backend=BACKEND)
        env.unwrapped.drawing = False
        assert not env.reset(options=start())[0]["image"]["primary"].any()
        frames.append(env.unwrapped.look()["image"])
        env.close()
        env.close()
    assert frames[0]["primary"].std() > 10
    for name, frame in frames[0].items():
        np.testing.assert_array_equal(frame, frames[1][name])


@installed
@pytest.mark.skipif(not calvin.files(), reason="no recorded episodes")
def test_its_own_oracle_says_what_ours_says(original: Any) -> None:  # noqa: ANN401
    import yaml
    from calvin_env.envs.tasks import Tasks

    table = yaml.safe_load((calvin.assets() / "conf/new_playtable_tasks.yaml").read_text())["tasks"]
    theirs = Tasks(table)
    (episode, *_) = calvin.episodes(calvin.FOLDER / "trajectories_D.npz")
    from seerkit.envs.calvin.protocol import initial_state

    robot, scene = initial_state(episode.condition)
    original.reset(options={"robot_obs": robot, "scene_obs": scene, "tasks": "stack_block"})
    table = original.unwrapped._table
    begun, told = table._info, set()
    for step, action in enumerate(episode.actions):
        *_, info = original.step(action)
        assert info["robot_obs"].tobytes() == episode.robot[step + 1].tobytes(), f"step {step}"
        done = original.unwrapped.achieved()
        assert done == theirs.get_task_info(begun, table._info) == set(episode.tasks[step]), f"step {step}"
        told |= done
    assert told


@installed
def test_it_wants_to_be_the_first_world_of_a_process(original: Any) -> None:  # noqa: ANN401
    with pytest.raises(RuntimeError, match="expected no other pybullet world in the process of calvin_env"):
        make("calvin_d", backend=BACKEND, renderer="none")
    ours = make("calvin_d", renderer="none")  # ours may come second
    wanted = ours.reset(options=start())[1]["scene_obs"]
    np.testing.assert_array_equal(original.reset(options=start())[1]["scene_obs"], wanted)
    ours.close()
    original.close()
    ours = make("calvin_d", renderer="none")  # takes over the number of the original's world
    del original
    gc.collect()
    np.testing.assert_array_equal(ours.reset(options=start())[1]["scene_obs"], wanted)
    ours.close()


@installed
def test_it_says_who_it_is_and_what_it_cannot_do(original: Any) -> None:  # noqa: ANN401
    from seerkit.eval.scene import Scene
    from seerkit.eval.seat import take_seat

    assert original.unwrapped.simulator.startswith("calvin_env ")
    with pytest.raises(
        TypeError, match="expected backend='seerkit' for what reads the world itself, given calvin_env "
    ):
        _ = original.unwrapped.world
    original.close()
    seat = take_seat(Scene("calvin_d", {"backend": BACKEND, "renderer": "none"}, horizon=3))
    assert seat.described()["simulator"].startswith("calvin_env ")
    seat.close()
