import multiprocessing
import time

import gymnasium as gym
import numpy as np
import pytest

from seerkit.eval.actors import Actor, EpisodeActor, ExpertActor, RandomActor
from seerkit.eval.records import Latency
from seerkit.eval.rollout import rollout
from seerkit.eval.scene import Scene
from seerkit.eval.seat import opened
from seerkit.eval.table import Table
from tests.eval.fakes import Dies, FakeAgent, FakeReach, Raises

FAKE = Scene(FakeReach, horizon=40, start="fork")


def play_alone(seed: int, agent: FakeAgent) -> tuple[bool, int]:
    """Play one episode in the plainest way there is."""
    env = FakeReach()
    observation, info = env.reset(seed=seed)
    agent.reset()
    for step in range(1, 100):
        batch = {"state": observation["state"][None], "image": {}, "language_instruction": (env.text,)}
        observation, _, terminated, truncated, info = env.step(agent.act(batch)[0])
        if terminated or truncated:
            return bool(info["is_success"]), step
    raise RuntimeError("the episode never ended")


@pytest.mark.parametrize("workers", [0, 1, 3])
def test_an_episode_is_a_function_of_its_seed(workers: int) -> None:
    played = rollout(FakeAgent(max(1, workers)), FAKE, episodes=7, seed=5, workers=workers)
    assert [episode.index for episode in played.episodes] == list(range(7))
    alone = [play_alone(5 + index, FakeAgent(1)) for index in range(7)]
    assert [(episode.success, episode.steps) for episode in played.episodes] == alone
    assert len({episode.steps for episode in played.episodes}) > 2  # they do end at different times


@pytest.mark.parametrize("make", [RandomActor, lambda: ExpertActor(noise=0.4)])
def test_baselines_do_not_depend_on_the_number_of_workers(make: type) -> None:
    scene = Scene(FakeReach, horizon=25, start="fork")
    one = rollout(make(), scene, episodes=5, seed=0, workers=1)
    three = rollout(make(), scene, episodes=5, seed=0, workers=3)
    assert one.episodes == three.episodes
    assert max(episode.steps for episode in one.episodes) <= 25


def test_expert_succeeds_and_chance_does_not() -> None:
    assert rollout(ExpertActor(), FAKE, episodes=6, workers=2).rate.value == 1.0
    assert rollout(RandomActor(), FAKE, episodes=6, workers=2).rate.value < 0.5


def test_the_instruction_is_the_episodes_own() -> None:
    agent = FakeAgent(2)
    played = rollout(agent, FAKE, episodes=8, seed=0, workers=2)
    wanted = []
    for seed in range(8):
        env = FakeReach()
        env.reset(seed=seed)
        wanted.append(env.text)
    assert [episode.instruction for episode in played.episodes] == wanted
    assert len(set(wanted)) == 3
    assert agent.heard[0] == (wanted[0], wanted[1])
    assert {word for heard in agent.heard for word in heard} == set(wanted)


def test_recordings_hold_what_was_seen_and_foreseen() -> None:
    played = rollout(FakeAgent(2), FAKE, episodes=5, seed=0, workers=2, record=3, ahead=3)
    assert [recording.episode.index for recording in played.recordings] == [0, 1, 2]
    for recording in played.recordings:
        length = recording.episode.steps
        assert recording.frames["primary"].shape == (length + 1, 3, 16, 16)
        assert recording.foresight["wrist"].shape == (length, 3, 16, 16)
        env = FakeReach()
        first, _ = env.reset(seed=recording.episode.seed)
        assert np.array_equal(recording.frames["primary"][0], first["image"]["primary"])
        noise = recording.foresight["primary"].astype(int) - recording.frames["primary"][:-1]
        assert np.abs(noise).max() <= 12  # the fake foresees the present: frame t belongs to step t


def test_latency_leaves_out_foresight_and_warm_up() -> None:
    played = rollout(FakeAgent(1), FAKE, episodes=3, workers=1, record=1, ahead=3)
    assert played.latency is not None
    assert not played.latency.foreseeing
    assert len(played.latency.calls) == sum(episode.steps for episode in played.episodes[1:])
    assert 0 < played.latency.p50 <= played.latency.p95


class SlowStart(FakeAgent):
    """Take long for the very first answer only, as a network that is still being loaded does."""

    def act(self, observation: dict, *, foresee: bool = False) -> np.ndarray:
        if not self.heard:
            time.sleep(0.05)
        return super().act(observation, foresee=foresee)


def test_warming_up_is_told_by_itself_and_tasks_are_timed_together() -> None:
    first = rollout(SlowStart(1), FAKE, episodes=1, workers=1)
    told = first.latency
    assert told is not None
    assert told.to_dict()["warm_up_ms"] >= 50 > told.p95
    second = rollout(FakeAgent(1), FAKE, episodes=2, workers=1)
    both = (first + second).latency
    assert both is not None
    assert second.latency is not None
    assert both.calls == told.calls + second.latency.calls
    assert both.warm_up == told.warm_up
    drawing = Latency((9.0,), 10.0, 1, True)
    assert drawing + told == told + drawing == told


def test_progress_counts_episodes() -> None:
    told: list[tuple[int, int, int]] = []
    rollout(ExpertActor(), FAKE, episodes=3, workers=2, progress=lambda *now: told.append(now))
    assert told == [(1, 3, 1), (2, 3, 2), (3, 3, 3)]


def test_chosen_indices_repeat_their_episodes() -> None:
    everything = rollout(FakeAgent(2), FAKE, episodes=6, seed=9, workers=2)
    again = rollout(FakeAgent(2), FAKE, episodes=[4, 1], seed=9, workers=2)
    assert list(again.episodes) == [everything.episodes[1], everything.episodes[4]]


class NanAgent(FakeAgent):
    def act(self, observation: dict, *, foresee: bool = False) -> np.ndarray:
        return np.full_like(super().act(observation, foresee=foresee), np.nan)


class Silent(FakeReach):
    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        return super().reset(seed=seed, options=options)[0], {}


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match=r"3 rows.*batch_size=2"):
        rollout(FakeAgent(2), FAKE, episodes=3, workers=3)
    with pytest.raises(ValueError, match="at least one episode"):
        rollout(RandomActor(), FAKE, episodes=0)
    with pytest.raises(ValueError, match=r"finite actions.*episodes \[0\]"):
        rollout(NanAgent(1), FAKE, episodes=1, workers=1)
    with pytest.raises(ValueError, match="is_success"):
        rollout(RandomActor(), Scene(Silent, horizon=9), episodes=1, workers=0)
    with pytest.raises(ValueError, match="no limit of steps"):
        rollout(RandomActor(), lambda: gym.make("CartPole-v1").unwrapped, episodes=1, workers=0)
    with pytest.raises(ValueError, match="horizon"):
        Scene(FakeReach, horizon=0)


class Drawn(FakeReach):
    """Be drawn by another renderer in one of the processes."""

    made = multiprocessing.Value("i", 0)

    def __init__(self) -> None:
        super().__init__()
        with Drawn.made.get_lock():
            Drawn.made.value += 1
            self.renderer = "tiny" if Drawn.made.value == 3 else "egl"  # the first is asked for its spaces alone


def test_workers_whose_environments_differ_are_refused() -> None:
    with pytest.raises(RuntimeError, match=r"same environment Drawn in every worker.*renderer: '\w+' and '\w+'"):
        rollout(RandomActor(), Scene(Drawn, horizon=9, start="fork"), episodes=2)
    assert multiprocessing.active_children() == []


def test_places_nobody_sits_down_at_stand_still() -> None:
    """A batch of fixed size may have more rows than there is left to play."""
    agent, notes = FakeAgent(3), []
    with opened(FAKE, workers=3) as envs:
        table = Table(agent, envs, [4], seed=5, filmed=(), ahead=0, note=lambda episode, _: notes.append(episode))
        played = table.play("Fake")
    alone = play_alone(9, FakeAgent(1))
    assert [(episode.success, episode.steps) for episode in played.episodes] == [alone]
    assert notes == list(played.episodes)


def test_protocols_tell_the_two_kinds_apart() -> None:
    assert isinstance(FakeAgent(1), Actor)
    assert not isinstance(FakeAgent(1), EpisodeActor)
    assert isinstance(RandomActor(), EpisodeActor)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_trouble_in_a_worker_reaches_the_caller_and_leaves_no_process(start: str) -> None:
    with pytest.raises(ValueError, match="the drawer jammed"):
        rollout(RandomActor(), Scene(Raises, horizon=9, start=start), episodes=2)
    with pytest.raises(RuntimeError, match=r"Dies ended by itself, status \[3"):
        rollout(RandomActor(), Scene(Dies, horizon=9, start=start), episodes=2)
    assert multiprocessing.active_children() == []
