"""Scripted experts and play on CALVIN's table: judged by the oracle, acting through the environment alone."""

from collections.abc import Iterator

import numpy as np
import pytest

from seerkit.envs import make

pytestmark = pytest.mark.calvin
LAYOUTS = 5
"""Layouts of the slow test; docs/calvin.md has the table of 50."""


@pytest.fixture(scope="module")
def env() -> Iterator:
    made = make("calvin_d", renderer="none")
    yield made
    made.close()


def tasks() -> list[str]:
    from seerkit.envs.calvin.protocol import TASKS

    return list(TASKS)


def attempt(env, task: str, seed: int, *, noise: float = 0.0) -> tuple[bool, list[np.ndarray]]:  # noqa: ANN001
    """Let the expert do what a random layout asks for; say whether all was done, and give the actions."""
    from seerkit.envs.calvin.layouts import layout

    env.reset(seed=seed, options=layout(env.unwrapped.world, task, np.random.default_rng([seed, 7])))
    expert, actions = env.unwrapped.expert(np.random.default_rng(seed), noise=noise), []
    while True:
        actions.append(expert.act(env))
        *_, terminated, truncated, _ = env.step(actions[-1])
        if terminated or truncated:
            return terminated, actions


@pytest.mark.slow
@pytest.mark.parametrize("task", tasks())
def test_every_task_is_done(env, task: str) -> None:  # noqa: ANN001
    done = [attempt(env, task, seed)[0] for seed in range(1000, 1000 + LAYOUTS)]
    assert sum(done) >= LAYOUTS - 1, done


def test_actions_keep_to_the_space(env) -> None:  # noqa: ANN001
    for task in ("open_drawer", "turn_on_lightbulb", "lift_red_block_table"):
        done, actions = attempt(env, task, 0)
        assert done
        assert all(env.action_space.contains(action) for action in actions)
        assert {float(action[6]) for action in actions} <= {-1.0, 1.0}


def test_the_same_seed_gives_the_same_actions(env) -> None:  # noqa: ANN001
    first, again = (attempt(env, "open_drawer", 3, noise=0.5) for _ in range(2))
    np.testing.assert_array_equal(first[1], again[1])
    other = attempt(env, "open_drawer", 3)
    assert not np.array_equal(first[1], other[1])


def test_it_recovers_from_bursts(env) -> None:  # noqa: ANN001
    assert attempt(env, "push_red_block_left", 1, noise=0.5)[0]


def test_nothing_in_the_hand_is_said(env) -> None:  # noqa: ANN001
    from seerkit.envs.calvin.plans import ImpossibleError

    env.reset(seed=0)
    env.unwrapped.set_goal("stack_block")
    with pytest.raises(ImpossibleError, match="lift one first"):
        env.unwrapped.expert(np.random.default_rng(0)).act(env)


def test_a_layout_keeps_blocks_apart_and_the_way_free(env) -> None:  # noqa: ANN001
    from seerkit.envs.calvin.layouts import APART, layout

    for seed in range(30):
        drawn = layout(env.unwrapped.world, "push_pink_block_right", np.random.default_rng(seed))
        places = drawn["scene_obs"][6:].reshape(3, 6)[:, :2]
        on_table = places[places[:, 1] < 0]
        gaps = [np.linalg.norm(a - b) for i, a in enumerate(on_table) for b in on_table[:i]]
        assert all(gap >= APART for gap in gaps)
        assert places[2, 0] <= 0.21  # pink; 0.15 m further on the table still ends there
        again = layout(env.unwrapped.world, "push_pink_block_right", np.random.default_rng(seed))
        np.testing.assert_array_equal(drawn["scene_obs"], again["scene_obs"])


@pytest.mark.slow
def test_play_goes_on_and_names_what_it_does(env) -> None:  # noqa: ANN001
    from seerkit.envs.calvin.play import Player

    base = env.unwrapped
    base.reset(seed=2)
    player, tried, done = Player(np.random.default_rng(2), noise=0.3), set(), set()
    for _ in range(1500):
        action = player.act(base)
        assert base.action_space.contains(action)
        tried.add(player.task)
        _, reward, *_ = base.step(action)
        if reward:
            assert player.task in base.oracle.sentences
            done.add(player.task)
    assert "" in tried
    assert len(done) >= 8
    assert len(done) >= 0.6 * len(tried - {""})
    assert (base.world.observe()[8::6] > 0.3).all()  # no block on the floor
