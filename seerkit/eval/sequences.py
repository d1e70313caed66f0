"""Evaluate a policy on CALVIN's sequences: five tasks in a row, resumable to the sequence."""

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerkit.eval.apart import Apart
from seerkit.eval.ledger import Ledger
from seerkit.eval.provenance import versions
from seerkit.eval.records import Episode, Recording, Rollout
from seerkit.eval.scene import Scene
from seerkit.eval.seat import opened
from seerkit.eval.table import Table
from seerkit.fingerprint import weights_hash

if TYPE_CHECKING:
    from seerkit.agent import Agent
    from seerkit.eval.evaluate import Plan, Progress
    from seerkit.policy import Policy

DECIDING = ("python", "torch", "timm", "open_clip_torch", "numpy", "gymnasium", "pybullet", "seerkit")
"""Packages another version of which may play on differently."""
STANDARD = {"nearval": 0.01, "button": "head"}
"""Settings of the table that need no words in a report."""


def play_sequences(
    policy: "Policy", plan: "Plan", *, out: Path | None, fresh: bool = False, progress: "Progress | None" = None
) -> Rollout:
    """Play the first ``plan.episodes`` of the benchmark's sequences.

    The policy forgets everything between tasks. Sequence ``i`` is a function of ``i`` and the policy; asked apart (see
    `Apart`) it is so to the last bit, whichever worker plays it and wherever a run was stopped.

    Args:
        policy: what acts.
        plan: on what; one scene.
        out: folder that keeps what was played, so that the same call goes on there; None keeps nothing.
        fresh: begin anew.
        progress: told at the beginning, and after every sequence: sequences done, in all, tasks done so far.

    Raises:
        ValueError: if ``out`` holds sequences of another evaluation.
        RuntimeError: if a worker process dies.
    """
    (scene,) = plan.scenes
    ledger = None if out is None else Ledger(out, identity(policy, plan), fresh=fresh)
    try:
        return _Play(policy, plan, scene, ledger, progress).play()
    finally:
        if ledger is not None:
            ledger.close()


def identity(policy: "Policy", plan: "Plan") -> dict[str, Any]:
    """Name everything that decides how a sequence goes, the machine's rounding aside.

    Threads and films are among it: a matrix product over more threads may round differently, and so may a policy that
    also draws what it foresees, if other tokens are computed with those of the action.
    """
    import torch

    from seerkit.eval.in_a_row import hash_of_sentences, hash_of_sequences

    (scene,) = plan.scenes
    installed, device = versions(), next(policy.parameters()).device.type
    return {
        "weights": weights_hash(policy.state_dict()),
        "recipe": policy.recipe.hash,
        "env": scene.name,
        "options": dict(scene.options),
        "task_steps": scene.task_steps,
        "round_actions": scene.round_actions,
        "sentences": None if scene.sentences is None else hash_of_sentences(scene.sentences),
        "sequences": hash_of_sequences(1000),
        "filmed": plan.record,
        "apart": asked_apart(policy, plan),
        "rows": None if asked_apart(policy, plan) else plan.workers,
        "device": device,
        "threads": torch.get_num_threads() if device == "cpu" else None,
        "versions": {name: installed[name] for name in DECIDING},
    }


def asked_apart(policy: "Policy", plan: "Plan") -> bool:
    """Tell whether environments are acted for one by one: as the plan says, else on a CPU."""
    return next(policy.parameters()).device.type == "cpu" if plan.apart is None else plan.apart


class _Play:
    """A run over the sequences that are not in the ledger yet."""

    def __init__(
        self, policy: "Policy", plan: "Plan", scene: Scene, ledger: Ledger | None, progress: "Progress | None"
    ) -> None:
        self.policy, self.plan, self.scene, self.ledger, self.progress = policy, plan, scene, ledger, progress
        self.done: dict[int, Episode] = {}
        if ledger is not None:
            self.done = {index: one for index, one in ledger.episodes.items() if index < plan.episodes}
        self.last = time.perf_counter()
        self.answers: list[tuple[bool, float]] = []
        self.noted = 0

    def play(self) -> Rollout:
        self._tell()
        left = [index for index in range(self.plan.episodes) if index not in self.done]
        played = self._play(left) if left else Rollout(())
        if self.ledger is None:
            return played
        episodes = tuple(self.done[index] for index in range(self.plan.episodes))
        films = map(self.ledger.film, range(min(self.plan.record, self.plan.episodes)))
        recordings = tuple(film for film in films if film is not None)
        said = {self.scene.task: self.ledger.environment or {}}
        rows = 1 if asked_apart(self.policy, self.plan) else self.plan.workers
        return Rollout(episodes, recordings, self.ledger.latency(rows=rows), self.ledger.seconds, said)

    def _play(self, left: Sequence[int]) -> Rollout:
        apart, workers = asked_apart(self.policy, self.plan), self.plan.workers
        if apart:
            workers = min(workers, len(left))  # else the batch keeps its size to the end, and rounds alike
        rows = max(1, workers)
        agent: Agent | Apart = Apart(self.policy, batch_size=rows) if apart else self.policy.agent(batch_size=rows)
        filmed = range(self.plan.record)
        with opened(self.scene, workers=workers) as envs:
            if self.ledger is not None:
                self.ledger.settle(envs.call("described")[0])  # pyright: ignore[reportAttributeAccessIssue]
            self.last = time.perf_counter()
            table = Table(agent, envs, left, seed=0, filmed=filmed, ahead=self.policy.recipe.ahead, note=self._note)
            self.answers = table.timed
            return table.play(self.scene.task)

    def _note(self, episode: Episode, film: Recording | None) -> None:
        self.done[episode.index] = episode
        now, answers = time.perf_counter(), self.answers[self.noted :]
        if self.ledger is not None:
            self.ledger.add(episode, film, seconds=now - self.last, answers=answers)
        self.last, self.noted = now, self.noted + len(answers)
        self._tell()

    def _tell(self) -> None:
        if self.progress is not None:
            tasks = sum(one.completed for one in self.done.values())
            self.progress("trained", len(self.done), self.plan.episodes, tasks)


def cautions(scene: Scene, count: int, said: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say where an evaluation is not the benchmark, one sentence each."""
    from seerkit.envs.calvin.protocol import COUNT, EPISODE_STEPS

    told = []
    told_by = next(iter(said.values()), {})
    if told_by.get("simulator"):
        told.append(
            f"Simulated by {told_by['simulator']}, whose resets do not forget what came before: a sequence depends on "
            "those its worker played earlier, and a resumed run is not the uninterrupted one."
        )
    renderer = str(told_by.get("renderer"))
    if renderer.startswith("tiny"):
        told.append(
            "Drawn by TinyRenderer: no shadows, and about 20 of 255 levels from the pictures policies learn from. "
            "These scores are not comparable with others."
        )
    if count < COUNT:
        told.append(f"{count} of the benchmark's {COUNT} sequences.")
    if scene.task_steps != EPISODE_STEPS:
        told.append(f"{scene.task_steps} steps for each task; the benchmark gives {EPISODE_STEPS}.")
    if scene.sentences is not None:
        told.append("Asked for in other sentences than the benchmark's.")
    if not scene.name.startswith("seerkit/Calvin-D"):
        told.append("Initial states and sequences are written for scene D; here some ask for what cannot be done.")
    return [*told, *_of_settings(next(iter(said.values()), {}).get("settings") or {})]


def _of_settings(settings: Mapping[str, Any]) -> Iterator[str]:
    if settings.get("nearval", STANDARD["nearval"]) != STANDARD["nearval"]:
        yield (
            f"Drawn with the near plane at {settings['nearval']} m instead of {STANDARD['nearval']} m: other edges "
            "than in the pictures policies learn from."
        )
    if settings.get("button", STANDARD["button"]) != STANDARD["button"]:
        yield (
            f"The button is that of the simulator's version {settings['button']}: its first press does nothing in the "
            "185 of 1000 sequences that ask to turn the LED off."
        )
