"""The CALVIN environment: tasks in a row, observations, options, many at once."""

import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from seerkit.envs import CALVIN, make, make_vec
from tests.parity import calvin

pytestmark = pytest.mark.calvin
STILL = np.array([0, 0, 0, 0, 0, 0, 1.0], np.float32)


@pytest.fixture
def env():  # noqa: ANN201 - gymnasium's wrapper
    made = make("calvin_d", renderer="none")
    yield made
    made.close()


@pytest.fixture
def episode() -> calvin.Episode:
    """A recorded episode in which the LED is turned off and the sliding door moved."""
    if not calvin.files():
        pytest.skip("no recorded episodes")
    return calvin.episodes(calvin.FOLDER / "trajectories_D.npz")[0]


def given(episode: calvin.Episode, *tasks: str) -> dict:
    from seerkit.envs.calvin.protocol import initial_state

    robot, scene = initial_state(episode.condition)
    return {"robot_obs": robot, "scene_obs": scene, "tasks": tasks}


def first(episode: calvin.Episode, task: str) -> int:
    """The number of actions after which a task was done."""
    return 1 + next(step for step, told in enumerate(episode.tasks) if task in told)


@pytest.mark.filterwarnings("ignore:.*Box observation space m")
def test_gymnasium_accepts_it() -> None:
    env = make("calvin_d", render_mode="rgb_array")
    check_env(env.unwrapped, skip_render_check=False)
    env.close()


def test_every_scene_has_an_id() -> None:
    for name, identity in CALVIN.items():
        env = make(identity, renderer="none")
        assert env.spec.id == identity
        assert env.unwrapped.world.scene.name == name[-1].upper()
        assert env.spec.max_episode_steps == 5 * env.unwrapped.task_steps
        observation, _ = env.reset(seed=0)
        assert env.observation_space.contains(observation)
        env.close()


def test_observations_are_the_benchmarks_numbers(env) -> None:  # noqa: ANN001
    observation, info = env.reset(seed=3)
    robot, scene = info["robot_obs"], info["scene_obs"]
    assert (robot.shape, robot.dtype, scene.shape, scene.dtype) == ((15,), np.float64, (24,), np.float64)
    np.testing.assert_array_equal(observation["state"], np.float32([*robot[:6], robot[14]]))
    assert observation["state"][6] == 1
    for _ in range(12):
        observation, *_, info = env.step(-STILL)
    assert observation["state"][6] == info["robot_obs"][14] == -1
    assert info["robot_obs"][6] < 0.01
    assert "image" not in observation


def test_a_seed_fixes_the_episode(env) -> None:  # noqa: ANN001
    def record(seed: int) -> tuple:
        observation, info = env.reset(seed=seed)
        return observation["language_instruction"], info["robot_obs"].tobytes(), info["scene_obs"].tobytes()

    records = [record(seed) for seed in (1, 2, 3, 1)]
    assert records[0] == records[3]
    assert len({record[2] for record in records}) == 3


def test_drawn_tasks_can_be_done(env) -> None:  # noqa: ANN001
    from seerkit.envs.calvin.protocol import after, conditions, initial_state

    states = np.stack([initial_state(condition)[1] for condition in conditions()])
    seen = set()
    for seed in range(20):
        _, info = env.reset(seed=seed)
        off = np.abs(states - info["scene_obs"]).max(axis=1)
        assert off.min() < 0.01  # what one physics step moves
        assert len(after(conditions()[int(off.argmin())], info["task"])) == 1
        seen.add(info["task"])
    assert len(seen) > 5


@pytest.mark.parametrize("scene", "abcd")
def test_a_layout_is_drawn_on_which_the_task_can_be_done(scene: str) -> None:
    env = make(f"calvin_{scene}", renderer="none")
    tables = []
    for seed in (1, 2, 1):
        _, info = env.reset(seed=seed, options={"layout": "lift_pink_block_table", "start": "random"})
        assert info["task"] == "lift_pink_block_table"
        assert not env.unwrapped.achieved()
        tables.append(np.concatenate([info["robot_obs"], info["scene_obs"]]))
    np.testing.assert_array_equal(tables[0], tables[2])
    assert np.linalg.norm(tables[0][:3] - tables[1][:3]) > 0.03, "the hand begins elsewhere"
    expert = env.unwrapped.expert(np.random.default_rng(0))
    while not info["is_success"]:
        *_, late, info = env.step(expert.act(env))
        assert not late
    env.close()


def test_without_start_the_hand_begins_at_rest(env) -> None:  # noqa: ANN001
    from seerkit.envs.calvin.protocol import conditions, initial_state

    rest = initial_state(conditions()[0])[0][:3]
    for options in ({"layout": "open_drawer"}, {"layout": "open_drawer", "start": "rest"}):
        _, info = env.reset(seed=4, options=options)
        np.testing.assert_allclose(info["robot_obs"][:3], rest, atol=0.01)


def test_the_callers_action_is_left_alone(env) -> None:  # noqa: ANN001
    env.reset(seed=0)
    for kind in (np.float32, np.float64):
        action = np.array([0.5, 0.5, 0.5, 0.1, 0.1, 0.1, 0.3], kind)
        kept = action.copy()
        env.step(action)
        np.testing.assert_array_equal(action, kept)
    with pytest.raises(ValueError, match="expected a finite action"):
        env.step(np.full(7, np.nan))


def test_a_step_of_one_moves_the_hand_two_centimetres_along_the_worlds_axes(env) -> None:  # noqa: ANN001
    _, info = env.reset(seed=0)
    for axis in range(3):
        before = info["robot_obs"][:3]
        move = STILL.copy()
        move[axis] = 1
        env.step(move)
        for _ in range(10):
            *_, info = env.step(STILL)
        moved = info["robot_obs"][:3] - before
        assert moved[axis] == pytest.approx(0.02, abs=2e-3)
        assert np.abs(np.delete(moved, axis)).max() < 2e-3


def test_a_done_task_gives_a_reward_and_ends_the_episode(env, episode: calvin.Episode) -> None:  # noqa: ANN001
    task = episode.tasks[-1][0]
    _, info = env.reset(options=given(episode, task))
    assert (info["task"], info["completed"], bool(info["is_success"])) == (task, 0, False)
    rewards, over = [], False
    for action in episode.actions:
        _, reward, terminated, truncated, info = env.step(action)
        assert not truncated
        rewards.append(reward)
        if terminated:
            over = True
            break
    assert over
    assert len(rewards) == first(episode, task)
    assert rewards == [0.0] * (len(rewards) - 1) + [1.0]
    assert info["is_success"]


def test_tasks_in_a_row_are_each_measured_from_where_they_were_asked_for(env, episode: calvin.Episode) -> None:  # noqa: ANN001
    task = "move_slider_left"  # once done, there is no way left to do it again
    observation, _ = env.reset(options=given(episode, task, "open_drawer"))
    told = {observation["language_instruction"]}
    changed = 0
    for step, action in enumerate(episode.actions, start=1):
        observation, reward, terminated, _, info = env.step(action)
        told.add(observation["language_instruction"])
        if reward:
            changed = step
            assert task not in env.unwrapped.achieved()  # its measure begins anew
        assert not terminated
    assert changed == first(episode, task)
    assert told == {env.unwrapped.oracle.sentences[name] for name in (task, "open_drawer")}
    assert info["completed"] == 1
    assert not info["is_success"]
    np.testing.assert_array_equal(info["scene_obs"], episode.scene[-1])  # asking changes nothing


def test_a_task_has_so_many_steps() -> None:
    env = make("calvin_a", renderer="none", task_steps=4)
    env.reset(seed=0, options={"tasks": "stack_block"})
    ends = [env.step(STILL)[3] for _ in range(4)]
    assert ends == [False, False, False, True]
    env.reset(seed=0, options={"tasks": "stack_block"})
    env.step(STILL)
    assert env.unwrapped.set_goal("open_drawer") == env.unwrapped.oracle.sentences["open_drawer"]
    ends = [env.step(STILL)[3] for _ in range(4)]
    assert ends == [False, False, False, True]
    env.close()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"task": "open_drawer"}, "expected reset options of .*, given .'task'."),
        ({"tasks": "open_the_drawer"}, "given 'open_the_drawer'; did you mean 'open_drawer'"),
        ({"tasks": []}, "at least one task"),
        ({"layout": "open_the_drawer"}, "given 'open_the_drawer'; did you mean 'open_drawer'"),
        ({"layout": "open_drawer", "tasks": "open_drawer"}, "given layout and .'tasks'."),
        ({"start": "anywhere"}, "start to be one of .*, given 'anywhere'"),
        ({"robot_obs": np.zeros(15)}, "given no scene_obs"),
        ({"robot_obs": np.zeros(14), "scene_obs": np.zeros(24)}, "robot_obs as 15 finite numbers, given shape"),
        ({"robot_obs": np.zeros(15), "scene_obs": np.full(24, np.nan)}, "scene_obs as 24 finite numbers"),
        ({"robot_obs": np.zeros(15), "scene_obs": np.full(24, 0.5)}, "lightbulb and LED, to be 0 or 1"),
    ],
)
def test_wrong_options_are_answered(env, options: dict, said: str) -> None:  # noqa: ANN001
    with pytest.raises(ValueError, match=said):
        env.reset(options=options)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"renderer": "opengl"}, "renderer to be one of .*, given 'opengl'"),
        ({"renderer": "none", "render_mode": "rgb_array"}, "render_mode to be one of"),
        ({"button": "main"}, "button to be one of .*'1431a46'.*, given 'main'"),
        ({"task_steps": 0}, "task_steps of at least 1, given 0"),
        ({"renderer": "tiny", "nearval": 20.0}, "near plane between 0 and 10"),
    ],
)
def test_wrong_arguments_are_answered(options: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make("calvin_d", **options)


def test_without_the_files_the_error_says_how_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEERKIT_CALVIN_ASSETS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="seerkit assets calvin --from PATH"):
        make("calvin_d")


def test_processes_of_their_own_give_what_this_one_gives() -> None:
    envs = make_vec("calvin_d", 2, renderer="none")
    try:
        observation, info = envs.reset(seed=[1, 2])
        actions = np.random.default_rng(0).uniform(-1, 1, (5, 2, 7)).astype(np.float32)
        for action in actions:
            *_, info = envs.step(action)
    finally:
        envs.close()
    for row, seed in enumerate((1, 2)):
        single = gymnasium.make("seerkit/Calvin-D-v0", renderer="none")
        assert single.reset(seed=seed)[0]["language_instruction"] == observation["language_instruction"][row]
        for action in actions[:, row]:
            *_, alone = single.step(action)
        np.testing.assert_array_equal(info["scene_obs"][row], alone["scene_obs"])
        single.close()


def test_without_pybullet_a_command_says_what_to_install(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['pybullet'] = None\n"
        f"sys.argv = ['seerkit', 'collect', 'calvin_d', '--out', {str(tmp_path / 'store')!r}]\n"
        "from seerkit.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "error ModuleNotFoundError: CALVIN needs pybullet; install it with: pip install" in done.stderr
    assert "Traceback" not in done.stderr
    assert not any(tmp_path.iterdir())
