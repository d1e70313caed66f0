"""Collecting: the same store for any number of workers, labels free of noise, nothing left after a failure."""

from __future__ import annotations

import dataclasses
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pytest
import torch

from seerkit.collect import Recording, collect
from seerkit.data.store import Store, StoreError
from tests.data.line_env import PLACES, LineEnv

PLAIN = Recording(horizon=40)


def same(first: Store, second: Store) -> bool:
    arrays = zip(
        (first.state, first.action, first.frames["primary"]),
        (second.state, second.action, second.frames["primary"]),
        strict=True,
    )
    return first.episodes == second.episodes and all(torch.equal(a, b) for a, b in arrays)


def test_the_store_does_not_depend_on_the_number_of_workers(tmp_path: Path) -> None:
    recording = Recording(horizon=40, noise=0.05, random_start=0.5, chain=1)
    given = {"episodes": 9, "seed": 3, "recording": recording, "progress": False}
    one = collect(LineEnv, tmp_path / "one", workers=1, **given)
    two = collect(LineEnv, tmp_path / "two", workers=2, **given)
    assert len(one.episodes) == 9
    assert same(one, two)
    assert one.conventions.frame_rate == 10
    assert one.conventions.cameras == {"primary": (3, 4, 4)}


def test_the_label_is_the_clean_action(tmp_path: Path) -> None:
    recording = Recording(horizon=60, noise=0.08)
    store = collect(LineEnv, tmp_path / "store", episodes=4, workers=1, recording=recording, progress=False)
    for index, episode in enumerate(store.episodes):
        arrays = store.episode(index)
        place = arrays["observation", "state"][:, 0]
        wish = (PLACES[episode.instruction.removeprefix("go ")] - place).clamp(-0.1, 0.1)
        torch.testing.assert_close(arrays["action",][:, 0], wish)
        assert not torch.allclose(place[1:] - place[:-1], wish[:-1], atol=1e-3)
        assert episode.success


def test_failures_are_left_out_unless_wanted(tmp_path: Path) -> None:
    given = {"episodes": 4, "seed": 1, "workers": 1, "env_options": {"lazy": 3}, "progress": False}
    store = collect(LineEnv, tmp_path / "good", recording=PLAIN, **given)
    assert [episode.seed for episode in store.episodes] == [1, 2, 4, 5]
    store = collect(LineEnv, tmp_path / "all", recording=Recording(horizon=40, keep_failures=True), **given)
    assert [(episode.seed, episode.success) for episode in store.episodes] == [
        (1, True),
        (2, True),
        (3, False),
        (4, True),
    ]
    assert store.episodes[2].length == 40


def test_a_chain_continues_where_the_episode_before_ended(tmp_path: Path) -> None:
    recording = Recording(horizon=40, chain=2)
    store = collect(LineEnv, tmp_path / "store", episodes=12, workers=1, recording=recording, progress=False)
    assert len({episode.seed for episode in store.episodes}) == 4
    cut = 0
    for before, after in zip(store.episodes, store.episodes[1:], strict=False):
        if before.seed == after.seed:
            assert before.instruction != after.instruction
            end = before.start + before.length
            step = store.state[end, 0] - store.state[end - 1, 0]
            torch.testing.assert_close(step, store.action[end - 1, 0])
            cut += not before.success
        else:
            assert before.success
    assert 0 < cut < 8


def test_asked_for_other_goals_the_expert_answers_from_the_same_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("seerkit.collect.ON_THE_WAY", 0.05)
    plain = collect(LineEnv, tmp_path / "plain", episodes=2, workers=1, recording=PLAIN, progress=False)
    asking = Recording(horizon=40, ask=1.0)
    asked = collect(LineEnv, tmp_path / "asked", episodes=30, workers=1, recording=asking, progress=False)
    first = asked.episodes[0]
    assert first == plain.episodes[0], "asking does not change what is done"
    answers = [episode for episode in asked.episodes if episode.seed == first.seed][1:]
    assert len(answers) >= 2
    for episode in answers:
        assert episode.length == 1
        assert episode.instruction != first.instruction
        place = float(asked.state[episode.start, 0])
        goal = PLACES[episode.instruction.removeprefix("go ")]
        assert float(asked.action[episode.start, 0]) == pytest.approx(np.clip(goal - place, -0.1, 0.1))
        assert place in asked.state[first.start : first.start + first.length, 0]


def test_random_starts(tmp_path: Path) -> None:
    recording = Recording(horizon=40, random_start=1.0)
    store = collect(LineEnv, tmp_path / "store", episodes=3, workers=1, recording=recording, progress=False)
    assert [float(store.state[episode.start, 0]) for episode in store.episodes] == [0.5, 0.5, 0.5]


def test_an_expert_that_never_succeeds_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="0 of 20 rollouts"):
        collect(LineEnv, tmp_path / "store", workers=1, recording=PLAIN, env_options={"lazy": 1}, progress=False)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_dies_is_noticed_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(BrokenProcessPool):
        collect(
            LineEnv, tmp_path / "s", episodes=8, workers=2, recording=PLAIN, env_options={"broken": 2}, progress=False
        )
    assert list(tmp_path.iterdir()) == []


def test_bad_requests_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no step limit"):
        collect(LineEnv, tmp_path / "store", workers=1, progress=False)
    with pytest.raises(ValueError, match="share"):
        Recording(random_start=2)
    with pytest.raises(ValueError, match="tasks, or chain and ask"):
        Recording(tasks=("left",), chain=1)
    with pytest.raises(ValueError, match="given LineEnv"):
        collect(LineEnv, tmp_path / "s", recording=Recording(horizon=9, tasks=("left",)), workers=1, progress=False)
    with pytest.raises(ValueError, match="seed in"):
        collect(LineEnv, tmp_path / "store", seed=1_000_000)
    with pytest.raises(StoreError, match="no seed left"):
        collect(LineEnv, tmp_path / "store", episodes=3, seed=999_999, workers=1, recording=PLAIN, progress=False)
    with pytest.raises(ValueError, match="did you mean"):
        collect("Reech", tmp_path / "store", episodes=1, progress=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sim
def test_the_twin_is_recorded(tmp_path: Path) -> None:
    recording = Recording(noise=0.5, random_start=0.5, chain=1)
    options = {"image_size": 32}
    store = collect(
        "ReachColor",
        tmp_path / "store",
        episodes=5,
        workers=1,
        recording=recording,
        env_options=options,
        progress=False,
    )
    assert set(store.frames) == {"primary", "wrist"}
    assert store.frames["wrist"].shape[1:] == (3, 32, 32)
    assert store.episodes[0].task == "seerkit/Tabletop-ReachColor-v0"
    assert all("block" in episode.instruction for episode in store.episodes)
    assert float(store.action.abs().max()) <= 1
    assert set(store.action[:, 6].tolist()) <= {-1.0, 1.0}


@pytest.mark.calvin
def test_calvins_tasks_are_demonstrated_in_turn(tmp_path: Path) -> None:
    given = {"episodes": 4, "seed": 3, "workers": 1, "progress": False}
    tasks = ("turn_on_led", "open_drawer")
    recording = Recording(tasks=tasks, random_start=1.0)
    store = collect("calvin_c", tmp_path / "store", recording=recording, env_options={"renderer": "tiny"}, **given)
    assert all(episode.success for episode in store.episodes)
    said = [episode.instruction for episode in store.episodes]
    assert said[:2] == said[2:]
    assert ["drawer" in text for text in said[:2]] == [True, False], "seed 3 is odd: the second task begins"
    starts = torch.stack([store.state[episode.start, :3] for episode in store.episodes])
    assert torch.pdist(starts).min() > 0.01
    wrong = Recording(tasks=("open_drawers",))
    with pytest.raises(ValueError, match="did you mean 'open_drawer'"):
        collect("calvin_c", tmp_path / "none", recording=wrong, env_options={"renderer": "none"}, **given)


def test_play_is_recorded_without_sentences(tmp_path: Path) -> None:
    given = {"episodes": 4, "seed": 1, "workers": 1, "env_options": {"lazy": 3}, "progress": False}
    told = Recording(horizon=40, noise=0.05, random_start=0.5, keep_failures=True)
    store = collect(LineEnv, tmp_path / "told", recording=told, **given)
    play = collect(
        LineEnv, tmp_path / "play", recording=dataclasses.replace(told, keep_failures=False, play=True), **given
    )
    assert {episode.instruction for episode in play.episodes} == {""}
    assert not all(episode.success for episode in play.episodes), "kept whatever became of them"
    assert torch.equal(play.action, store.action), "the same episodes otherwise"
    chained = Recording(horizon=40, chain=2, play=True)
    store = collect(LineEnv, tmp_path / "chain", recording=chained, **given)
    assert {episode.instruction for episode in store.episodes} == {""}
    with pytest.raises(ValueError, match="play stores no sentence"):
        Recording(ask=0.5, play=True)
