"""Tasks in a row: who forgets when, what is drawn, what is filmed, and what is kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from seerkit import Agent, Policy
from seerkit.envs.calvin.protocol import TASKS
from seerkit.eval.apart import Apart
from seerkit.eval.evaluate import Plan, plan_of
from seerkit.eval.in_a_row import hash_of_sequences, read_sentences, sentence
from seerkit.eval.ledger import Ledger
from seerkit.eval.rollout import rollout
from seerkit.eval.scene import Scene
from seerkit.eval.sequences import cautions, identity
from tests.eval.fakes import FakeAgent
from tests.eval.in_a_row import ASKED, FakeRow, sequence_of
from tests.small import small_policy

ROW = Scene(FakeRow, horizon=100, start="fork")


def play_alone(seed: int, agent: FakeAgent) -> list[tuple[str, bool, int]]:
    """Play one sequence in the plainest way there is: one attempt after another, the agent reset before each."""
    env = FakeRow()
    observation, info = env.reset(seed=seed)
    tried: list[tuple[str, bool, int]] = []
    for _ in range(ASKED):
        agent.reset()
        steps, done, late, task = 0, False, False, env.text
        while not (done or late):
            batch = {"state": observation["state"][None], "image": {}, "language_instruction": ("",)}
            observation, reward, _, late, info = env.step(agent.act(batch)[0])
            steps, done = steps + 1, bool(reward)
        tried.append((task, done, steps))
        if late:
            break
    assert info["completed"] == sum(done for _, done, _ in tried)
    return tried


@pytest.mark.parametrize("workers", [1, 3])
def test_every_task_is_begun_by_an_agent_that_has_forgotten_the_last(workers: int) -> None:
    agent = FakeAgent(workers, speed=0.75)
    played = rollout(agent, ROW, episodes=24, seed=0, workers=workers)
    for episode in played.episodes:
        alone = play_alone(episode.seed, FakeAgent(1, speed=0.75))
        assert [(one.instruction, one.success, one.steps) for one in episode.attempts] == alone
        assert [one.task for one in episode.attempts] == [f"goal {place}" for place in range(len(alone))]
        assert episode.steps == sum(one.steps for one in episode.attempts)
        assert episode.success == (episode.completed == ASKED)
        assert episode.asked == ASKED
    assert len({episode.completed for episode in played.episodes}) > 2  # they fail at different tasks


class Blinking(FakeAgent):
    """Look at every third step only, counted from the last reset; keep what it is shown."""

    def __init__(self, batch_size: int) -> None:
        super().__init__(batch_size)
        self.shown: list[list[bool]] = []
        self.began: list[list[bool]] = []

    @property
    def looking(self) -> np.ndarray:
        return self.age % 3 == 0

    def act(self, observation: dict, *, foresee: bool = False) -> np.ndarray:
        self.began.append((self.age == 0).tolist())
        self.shown.append([bool(frame.any()) for frame in observation["image"]["primary"]])
        wanted = self.looking
        assert all(np.array(self.shown[-1])[wanted])  # whoever looks sees
        return super().act(observation, foresee=foresee)


def test_pictures_are_drawn_for_those_who_look() -> None:
    agent = Blinking(2)
    blinking = rollout(agent, ROW, episodes=6, seed=0, workers=2)
    seeing = rollout(FakeAgent(2), ROW, episodes=6, seed=0, workers=2)
    assert blinking.episodes == seeing.episodes  # it acts on the state alone
    shown, began = np.array(agent.shown), np.array(agent.began)
    assert shown[began].all()
    assert 0.3 < shown.mean() < 0.55
    filmed = rollout(Blinking(1), ROW, episodes=1, seed=0, workers=1, record=1)
    assert all(frame.any() for frame in filmed.recordings[0].frames["primary"])


def test_films_show_the_first_task() -> None:
    played = rollout(FakeAgent(2), ROW, episodes=5, seed=0, workers=2, record=2, ahead=3)
    for film, episode in zip(played.recordings, played.episodes, strict=False):
        first = episode.attempts[0]
        assert (film.episode.task, film.episode.steps, film.episode.success) == ("goal 0", first.steps, first.success)
        assert len(film.frames["primary"]) == first.steps + 1
        assert len(film.foresight["wrist"]) == first.steps
    assert len(played.recordings) == 2


@pytest.fixture(scope="module")
def policy() -> Policy:
    torch.manual_seed(0)
    return small_policy("seer_calvin_tiny", "ensemble=receding")


def seen(rows: int, steps: int) -> list[dict]:
    rng = np.random.default_rng(0)
    return [
        {
            "image": {name: rng.integers(0, 256, (rows, 3, 40, 40), np.uint8) for name in ("primary", "wrist")},
            "state": rng.normal(size=(rows, 7)).astype(np.float32),
            "language_instruction": ("lift it", "push it", "turn it")[:rows],
        }
        for _ in range(steps)
    ]


def test_who_carries_out_a_chunk_need_not_look_and_asks_no_network(policy: Policy) -> None:
    seeing, blind, read = Agent(policy, batch_size=2), Agent(policy, batch_size=2), 0

    def count(*_: object) -> None:
        nonlocal read
        read += 1

    for step, observation in enumerate(seen(2, 9)):
        if step == 4:
            for agent in (seeing, blind):
                agent.reset(np.array([False, True]))
        looking = blind.looking
        assert looking.tolist() == [step % 3 == 0, (step - 4 * (step >= 4)) % 3 == 0]
        shown = {
            name: np.where(looking[:, None, None, None], frames, 0) for name, frames in observation["image"].items()
        }
        wanted = seeing.act(observation)
        with policy.trunk.register_forward_hook(count):
            np.testing.assert_array_equal(blind.act({**observation, "image": shown}), wanted)
    assert read == 5  # of 9 steps: at 1, 2, 5 and 8 nobody looked
    remembering = Agent(small_policy("seer_calvin", "goal=words", "steps=2", "ensemble=receding"))
    for observation in seen(1, 3):
        remembering.act(observation)
        assert remembering.looking.all()


def test_noise_does_not_depend_on_who_looks() -> None:
    torch.manual_seed(0)
    policy = small_policy("seer_calvin_tiny", "ensemble=receding", "action=flow")
    alone, among = Agent(policy), Apart(policy, batch_size=2)
    alone.reset(seeds=[5])
    among.reset(seeds=[5, 6])
    for step, observation in enumerate(seen(2, 8)):
        if step == 2:
            among.reset(np.array([False, True]), seeds=[None, 7])
        first = {"image": {name: frames[:1] for name, frames in observation["image"].items()}}
        first |= {"state": observation["state"][:1], "language_instruction": ("lift it",)}
        np.testing.assert_array_equal(among.act(observation)[0], alone.act(first)[0])


def test_apart_every_row_is_acted_for_as_if_it_were_alone(policy: Policy) -> None:
    apart, alone = Apart(policy, batch_size=3), [Agent(policy) for _ in range(3)]
    for step, observation in enumerate(seen(3, 5)):
        foresee = [False, step == 3, False]
        acted = apart.act(observation, foresee=foresee, rows=[True, True, step < 2])
        for row in range(3 if step < 2 else 2):
            own = {"image": {name: frames[row : row + 1] for name, frames in observation["image"].items()}}
            own |= {"state": observation["state"][row : row + 1]}
            own |= {"language_instruction": observation["language_instruction"][row : row + 1]}
            np.testing.assert_array_equal(acted[row], alone[row].act(own, foresee=foresee[row])[0])
        assert not acted[2].any() or step < 2
        assert set(apart.foresight) == ({"primary", "wrist"} if step == 3 else set())
        if step == 3:
            np.testing.assert_array_equal(apart.foresight["wrist"][1], alone[1].foresight["wrist"][0])
            assert not apart.foresight["wrist"][0].any()


def test_a_ledger_keeps_every_episode_and_forgets_half_a_line(tmp_path: Path) -> None:
    of, said = {"weights": "ab", "options": {}}, {"renderer": "tiny"}
    film = rollout(FakeAgent(1), ROW, episodes=1, workers=1, record=1, ahead=3).recordings[0]
    ledger = Ledger(tmp_path, of)
    ledger.settle(said)
    ledger.add(sequence_of(0, 2), film, seconds=1.5)
    ledger.add(sequence_of(4, 5), None, seconds=2.0)
    with pytest.raises(RuntimeError, match="another evaluation is writing"):
        Ledger(tmp_path, of)
    ledger.close()
    path = tmp_path / "sequences.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole + b'{"index": 5, "succ')
    again = Ledger(tmp_path, of)
    assert path.read_bytes() == whole
    assert again.episodes == {0: sequence_of(0, 2), 4: sequence_of(4, 5)}
    assert (again.seconds, again.environment, again.film(4)) == (3.5, said, None)
    kept = again.film(0)
    assert kept is not None
    assert (kept.episode, kept.ahead, list(kept.frames)) == (film.episode, 3, ["primary", "wrist"])
    for name in film.frames:
        np.testing.assert_array_equal(kept.frames[name], film.frames[name])
        np.testing.assert_array_equal(kept.foresight[name], film.foresight[name])
    with pytest.raises(ValueError, match="renderer: there 'tiny', now 'egl: llvmpipe'"):
        again.settle({"renderer": "egl: llvmpipe"})
    again.close()
    with pytest.raises(ValueError, match=r"another evaluation \(weights: there 'ab', now 'cd'\).*--fresh"):
        Ledger(tmp_path, {**of, "weights": "cd"})
    with pytest.raises(ValueError, match=r"evaluation \(options\.button: there '\(not there\)', now 'head'\)"):
        Ledger(tmp_path, {**of, "options": {"button": "head"}})
    assert path.read_bytes() == whole
    for text, message in (
        ("{}\n", "no episodes this version of seerkit reads"),
        ('{"a": 1}\n', "line 3, is no episode"),
    ):
        path.write_bytes((b"" if text == "{}\n" else whole[: whole.index(b'{"index')]) + text.encode())
        with pytest.raises(ValueError, match=message):
            Ledger(tmp_path, of)


def test_nothing_is_forgotten_or_written_before_the_simulator_runs(tmp_path: Path) -> None:
    of, path = {"weights": "ab"}, tmp_path / "sequences.jsonl"
    first = Ledger(tmp_path, of)
    with pytest.raises(RuntimeError, match="settle"):
        first.add(sequence_of(0, 2), None, seconds=1.0)
    first.close()
    assert not path.exists()
    film = rollout(FakeAgent(1), ROW, episodes=1, workers=1, record=1).recordings[0]
    kept = Ledger(tmp_path, of)
    kept.settle({"renderer": "tiny"})
    kept.add(sequence_of(0, 2), film, seconds=1.0)
    kept.close()
    whole = path.read_bytes()
    fresh = Ledger(tmp_path, {"weights": "cd"}, fresh=True)
    assert fresh.episodes == {}
    assert path.read_bytes() == whole
    fresh.settle({"renderer": "egl"})
    assert fresh.film(0) is None
    fresh.close()
    assert b"cd" in path.read_bytes()
    assert path.read_bytes().count(b"\n") == 2


def test_how_long_answers_took_outlives_a_kill(tmp_path: Path) -> None:
    """The first answer of a process loads and allocates; of several processes the first one's is told."""
    for run, (warm_up, took) in enumerate(((0.5, 0.010), (0.7, 0.020))):
        ledger = Ledger(tmp_path, {})
        ledger.settle({})
        ledger.add(sequence_of(2 * run, 2), None, seconds=1.0, answers=[(True, warm_up), (True, 9.0), (False, took)])
        ledger.add(sequence_of(2 * run + 1, 2), None, seconds=1.0, answers=[(False, 2 * took)])
        ledger.close()
    ledger = Ledger(tmp_path, {})
    told = ledger.latency(rows=4)
    assert told is not None
    assert (told.calls, told.warm_up, told.rows, told.foreseeing) == ((10.0, 20.0, 20.0, 40.0), 500.0, 4, False)
    assert ledger.seconds == 4.0
    ledger.close()
    assert Ledger(tmp_path / "none", {}).latency(rows=1) is None


def test_what_may_round_differently_is_part_of_what_is_resumed(policy: Policy) -> None:
    plan, threads = Plan("calvin_d", episodes=3), torch.get_num_threads()
    said = [
        identity(policy, replace(plan, record=record, workers=workers)) for record, workers in ((4, 2), (0, 2), (4, 3))
    ]
    assert said[0] != said[1]
    assert said[0] == said[2]  # on a CPU every environment is acted for by itself
    torch.set_num_threads(threads + 1)
    try:
        other = identity(policy, plan)
    finally:
        torch.set_num_threads(threads)
    assert {name for name in other if other[name] != said[0][name]} == {"threads"}
    together = [identity(policy, replace(plan, workers=workers, apart=False)) for workers in (2, 3)]
    assert together[0]["rows"] != together[1]["rows"]


def test_other_sentences_are_read_checked_and_chosen(tmp_path: Path) -> None:
    path, several = tmp_path / "said.json", ["say it\nnot this", "don\u2019t say it"]
    path.write_text(json.dumps({task: several if place else "once" for place, task in enumerate(TASKS)}))
    read = read_sentences(path)
    assert isinstance(read, dict)
    assert (read[TASKS[0]], read[TASKS[1]]) == (("once",), ("say it", "don't say it"))
    chosen = {sentence(read, number, 2, TASKS[1]) for number in range(20)}
    assert chosen == {"say it", "don't say it"}
    assert sentence(read, 3, 2, TASKS[1]) == sentence(read, 3, 2, TASKS[1])
    path.write_text(json.dumps([[f"{number}, {place}" for place in range(5)] for number in range(1000)]))
    assert sentence(read_sentences(path), 7, 3, TASKS[0]) == "7, 3"
    for wrong, said in (
        ({"open_the_drawer": "x"}, "given 'open_the_drawer'; did you mean 'open_drawer'"),
        ({"open_drawer": "x"}, "for all 34 tasks, given none for"),
        ({task: [] for task in TASKS}, "at least one sentence"),
        ({task: 3 for task in TASKS}, "a sentence or a list"),
        ({task: "x" * 257 for task in TASKS}, "given 257 characters"),
        ([["x"] * 5] * 999, "list 1000 times 5"),
        ("x", "to map each task"),
    ):
        path.write_text(json.dumps(wrong))
        with pytest.raises(ValueError, match=said):
            read_sentences(path)
    with pytest.raises(FileNotFoundError, match="no sentences at"):
        read_sentences(tmp_path / "none.json")


def test_the_sequences_are_the_benchmarks() -> None:
    """The hash of all 1000 as recorded from the original's own function."""
    assert hash_of_sequences(1000) == "840cb992c69ce9b6d59f6020966b6300c15233f8e0b9667b6486c1962424d308"
    assert hash_of_sequences(20) != hash_of_sequences(21)


def test_a_recipe_says_how_calvin_is_played() -> None:
    config = {"eval": {"env": "calvin_d", "episodes": 1000, "horizon": 360, "round_actions": "float16"}}
    plan = plan_of(config, workers=3, options={"renderer": "tiny"}, horizon=None)
    assert plan.scenes == (Scene("calvin_d", {"renderer": "tiny"}, 360, round_actions="float16"),)
    assert (plan.episodes, plan.baselines, plan.scenes[0].task, plan.scenes[0].limit) == (1000, (), "Calvin-D", 1800)
    told = plan.to_dict()
    assert (told["sequences"], told["steps_per_task"], told["round_actions"]) == (1000, 360, "float16")
    twin = {"eval": {"env": "Reach", "options": {"image_size": 64}, "horizon": 20}}
    scene = plan_of(twin, env=["calvin_a"]).scenes[0]
    assert (scene.options, scene.task_steps) == ({}, 360)  # what a recipe says of one simulator is not another's
    assert plan_of(twin, env="PickPlace").scenes[0].horizon == 20
    for wrong, said in (
        ({"env": ["calvin_a", "calvin_d"]}, "one scene of CALVIN by itself"),
        ({"env": ["calvin_a", "Reach"]}, "one scene of CALVIN by itself"),
        ({"env": "calvin_d", "episodes": 1001}, "at most CALVIN's 1000"),
        ({"env": "Reach", "sentences": {"a": ("b",)}}, "sentences only for CALVIN"),
    ):
        with pytest.raises(ValueError, match=said):
            plan_of(config, **wrong)
    with pytest.raises(ValueError, match="round_actions of"):
        Scene("calvin_d", round_actions="int8")
    assert Plan("calvin_d", episodes=3).baselines == ()


def test_what_is_not_the_benchmark_is_said() -> None:
    drawn: dict[str, dict] = {"Calvin-D": {"renderer": "egl: llvmpipe"}}
    assert cautions(Scene("calvin_d"), 1000, drawn) == []
    (told,) = cautions(Scene("calvin_d"), 1000, {"Calvin-D": {**drawn["Calvin-D"], "simulator": "calvin_env 797142c"}})
    assert "calvin_env 797142c, whose resets do not forget" in told
    told = cautions(Scene("calvin_a", horizon=20, sentences={}), 20, {"Calvin-A": {"renderer": "tiny"}})
    for line, word in zip(told, ("TinyRenderer", "20 of", "20 steps", "sentences", "scene D"), strict=True):
        assert word in line
    drawn["Calvin-D"]["settings"] = {"button": "head", "nearval": 0.01}
    assert cautions(Scene("calvin_d"), 1000, drawn) == []
    drawn["Calvin-D"]["settings"] = {"button": "1431a46", "nearval": 1.0}
    for line, word in zip(
        cautions(Scene("calvin_d"), 1000, drawn), ("near plane at 1.0", "version 1431a46"), strict=True
    ):
        assert word in line
