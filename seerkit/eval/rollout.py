"""Vectorised rollouts: many environments, one batched actor, and episodes that depend on nothing but their seed."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from seerkit.agent import Agent
from seerkit.eval.actors import Actor, EpisodeActor
from seerkit.eval.records import Episode, Recording, Rollout, summarise_latency
from seerkit.eval.scene import EnvFactory, Scene, as_scene
from seerkit.eval.seat import INSTRUCTION, abandon, seats

FIRST_SEED = 1_000_000
"""First seed of `seerkit.envs.contract.EVAL_SEEDS`: layouts no demonstration has shown."""

Progress = Callable[[int, int, int], None]
"""Called with episodes done, episodes in all, and successes so far."""


def rollout(
    actor: Actor | EpisodeActor,
    env: str | EnvFactory | Scene,
    *,
    episodes: int | Sequence[int],
    seed: int = FIRST_SEED,
    workers: int = 2,
    record: int = 0,
    ahead: int = 0,
    progress: Progress | None = None,
) -> Rollout:
    """Play episodes in parallel processes and note how each went.

    Episode ``i`` is reset with ``seed + i``, whichever process plays it, so the outcome depends neither on the number
    of workers nor on the order in which episodes end. (A network's matrix products may round differently for another
    batch size; that is the one exception, and it lies with the actor.)

    Args:
        actor: answers batches of observations; reset row by row as episodes begin.
        env: an environment id, a function that makes one, or a `Scene` with options and a horizon.
        episodes: how many, or the indices to play.
        seed: added to every index.
        workers: processes, one environment each; 0 plays a single environment in this process.
        record: how many of the first episodes to keep frames of.
        ahead: how many steps ahead the actor foresees; 0 records no foresight.
        progress: told after every episode.

    Raises:
        ValueError: if there is nothing to play, the actor's ``batch_size`` is not the number of rows, or it answers
            with a wrong shape or a number that is not finite.
        RuntimeError: if a worker process dies.
    """
    indices = list(range(episodes)) if isinstance(episodes, int) else list(episodes)
    if not indices or min(indices) < 0:
        raise ValueError(f"expected at least one episode with an index of 0 or more, given {episodes}")
    scene, workers = as_scene(env), min(workers, len(indices))
    rows = max(1, workers)
    size = getattr(actor, "batch_size", rows)
    if size != rows:
        raise ValueError(f"expected an actor for {rows} rows, one per environment, given one with batch_size={size}")
    envs = seats(scene, workers=workers)
    try:
        table = _Table(actor, envs, indices, seed=seed, record=record, ahead=ahead, progress=progress)
        played = table.play(scene.task)
    except (EOFError, ConnectionError) as error:
        raise RuntimeError(f"a worker process of {scene.name} ended by itself, status {abandon(envs)}") from error
    except BaseException:
        abandon(envs)
        raise
    envs.close()
    return played


class _Table:
    """The state of a running rollout: who plays which episode in which row."""

    def __init__(
        self,
        actor: Actor | EpisodeActor,
        envs: VectorEnv,
        indices: Sequence[int],
        *,
        seed: int,
        record: int,
        ahead: int,
        progress: Progress | None,
    ) -> None:
        self.actor, self.envs, self.seed, self.ahead, self.progress = actor, envs, seed, ahead, progress
        self.waiting, self.total = deque(indices), len(indices)
        self.recorded = set(indices[:record])
        self.playing: list[int | None] = [None] * envs.num_envs
        self.steps = [0] * envs.num_envs
        self.told = [""] * envs.num_envs
        self.now = [""] * envs.num_envs
        self.tapes: dict[int, _Tape] = {}
        self.episodes: list[Episode] = []
        self.recordings: list[Recording] = []
        self.timed: list[tuple[bool, float]] = []

    def play(self, task: str) -> Rollout:
        """Play until every index has been played."""
        began = time.perf_counter()
        observation = self._begin(np.ones(self.envs.num_envs, bool), {})
        while any(index is not None for index in self.playing):
            actions = self._act(observation)
            observation, _, terminated, truncated, info = self.envs.step(actions)
            self._note(observation, info)
            over = np.asarray(terminated) | np.asarray(truncated)
            over &= np.array([index is not None for index in self.playing])
            if over.any():
                self._finish(over, info["is_success"], task)
                observation = self._begin(over, observation)
        return Rollout(
            tuple(sorted(self.episodes, key=lambda episode: episode.index)),
            tuple(sorted(self.recordings, key=lambda recording: recording.episode.index)),
            summarise_latency(self.timed, rows=self.envs.num_envs),
            time.perf_counter() - began,
            {task: self.envs.call("described")[0]},  # pyright: ignore[reportAttributeAccessIssue]
        )

    def _begin(self, free: np.ndarray, observation: Any) -> Any:  # noqa: ANN401 - gymnasium's batched observation
        """Give each free row the next waiting episode; return the observation after their resets."""
        rows = np.zeros_like(free)
        seeds: list[int | None] = [None] * len(free)
        for row in np.flatnonzero(free).tolist():
            self.playing[row] = self.waiting.popleft() if self.waiting else None
            index = self.playing[row]
            if index is not None:
                rows[row], seeds[row], self.steps[row] = True, self.seed + index, 0
        if not rows.any():
            return observation
        observation, info = self.envs.reset(seed=seeds, options={"reset_mask": rows})  # pyright: ignore[reportArgumentType]
        for row in np.flatnonzero(rows).tolist():
            self.told[row] = self.now[row] = str(info["instruction"][row])
            index = self.playing[row]
            if index in self.recorded:
                self.tapes[row] = _Tape(observation["image"], row)
        if isinstance(self.actor, EpisodeActor):
            self.actor.begin(self.envs, rows, seeds)
        elif isinstance(self.actor, Agent):
            self.actor.reset(rows, seeds=seeds)
        else:
            self.actor.reset(rows)
        return observation

    def _act(self, observation: dict[str, Any]) -> np.ndarray:
        """Ask the actor, with foresight while anything is being recorded."""
        batch = {**observation, INSTRUCTION: tuple(self.now)}
        foresee = bool(self.tapes) and self.ahead > 0
        began = time.perf_counter()
        actions = self.actor.act(batch, foresee=True) if foresee else self.actor.act(batch)  # pyright: ignore[reportCallIssue]
        self.timed.append((foresee, time.perf_counter() - began))
        if foresee:
            for row, tape in self.tapes.items():
                tape.foresaw(self.actor.foresight, row)  # pyright: ignore[reportAttributeAccessIssue]
        return self._checked(np.asarray(actions, np.float32))

    def _checked(self, actions: np.ndarray) -> np.ndarray:
        expected = self.envs.action_space.shape
        if actions.shape != expected:
            raise ValueError(f"expected actions of shape {expected}, given {actions.shape} by {self.actor!r}")
        broken = [self.playing[row] for row in np.flatnonzero(~np.isfinite(actions).all(axis=1))]
        if broken:
            raise ValueError(f"expected finite actions, given NaN or infinity in episodes {broken} by {self.actor!r}")
        return actions

    def _note(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        for row, index in enumerate(self.playing):
            self.now[row] = str(info["instruction"][row])
            self.steps[row] += index is not None
        for row, tape in self.tapes.items():
            tape.saw(observation["image"], row)

    def _finish(self, over: np.ndarray, success: np.ndarray, task: str) -> None:
        for row in np.flatnonzero(over).tolist():
            index = self.playing[row]
            if index is None:
                continue
            episode = Episode(index, self.seed + index, task, self.told[row], bool(success[row]), self.steps[row])
            self.episodes.append(episode)
            tape = self.tapes.pop(row, None)
            if tape is not None:
                self.recordings.append(tape.close(episode, ahead=self.ahead))
            if self.progress is not None:
                self.progress(len(self.episodes), self.total, sum(done.success for done in self.episodes))


class _Tape:
    """Frames of one row while it is being recorded."""

    def __init__(self, images: dict[str, np.ndarray], row: int) -> None:
        self.frames = {camera: [batch[row].copy()] for camera, batch in images.items()}
        self.foresight: dict[str, list[np.ndarray]] = {}

    def saw(self, images: dict[str, np.ndarray], row: int) -> None:
        for camera, seen in self.frames.items():
            seen.append(images[camera][row].copy())

    def foresaw(self, foresight: dict[str, np.ndarray], row: int) -> None:
        for camera, batch in foresight.items():
            self.foresight.setdefault(camera, []).append(np.array(batch[row]))

    def close(self, episode: Episode, *, ahead: int) -> Recording:
        frames = {camera: np.stack(seen) for camera, seen in self.frames.items()}
        foresight = {camera: np.stack(drawn) for camera, drawn in self.foresight.items()}
        return Recording(episode, frames, foresight, ahead if foresight else 0)
