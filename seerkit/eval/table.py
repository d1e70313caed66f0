"""The table of a running evaluation: who plays which episode in which row, and what came of it."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import VectorEnv

from seerkit.agent import Agent
from seerkit.eval.actors import Actor, EpisodeActor
from seerkit.eval.apart import Apart
from seerkit.eval.records import Attempt, Episode, Recording, Rollout, summarise_latency
from seerkit.eval.seat import INSTRUCTION

Note = Callable[[Episode, Recording | None], None]
"""Called with every episode that has ended, and its film if it was filmed."""


class Table:
    """Play episodes in all rows of a vector environment until none is left.

    Where an environment asks for tasks in a row, the actor forgets everything between them, films show the first task
    alone, and pictures are not drawn for those who do not look at them (`Agent.looking`).

    Args:
        actor: answers batches of observations.
        envs: as `seerkit.eval.seat.seats` opens them.
        indices: of the episodes; ``index + seed`` goes to the environment's reset.
        seed: see there.
        filmed: of which to keep frames.
        ahead: how many steps ahead the actor foresees; 0 records no foresight.
        note: told of every episode that has ended.
    """

    def __init__(
        self,
        actor: Actor | EpisodeActor,
        envs: VectorEnv,
        indices: Sequence[int],
        *,
        seed: int,
        filmed: Collection[int],
        ahead: int,
        note: Note,
    ) -> None:
        self.actor, self.envs, self.seed, self.ahead, self.note = actor, envs, seed, ahead, note
        self.waiting, self.filmed = deque(indices), set(filmed)
        rows = envs.num_envs
        self.playing: list[int | None] = [None] * rows
        self.steps = [0] * rows
        self.told, self.now, self.task = [""] * rows, [""] * rows, [""] * rows
        self.attempts: list[list[Attempt]] = [[] for _ in range(rows)]
        self.moves = [hashlib.sha256() for _ in range(rows)]
        self.drawing: list[bool] | None = None
        self.tapes: dict[int, _Tape] = {}
        self.films: dict[int, Recording] = {}
        self.episodes: list[Episode] = []
        self.recordings: list[Recording] = []
        self.timed: list[tuple[bool, float]] = []

    def play(self, task: str) -> Rollout:
        """Play until every index has been played; ``task`` is the environment's name in the episodes."""
        began = time.perf_counter()
        observation = self._begin(np.ones(self.envs.num_envs, bool), {})
        while any(index is not None for index in self.playing):
            actions = self._act(observation)
            self._draw()
            observation, _, terminated, truncated, info = self.envs.step(actions)
            over = (np.asarray(terminated) | np.asarray(truncated)) & self._active()
            self._count(observation, info, over)
            if over.any():
                self._finish(over, info, task)
                observation = self._begin(over, observation)
        return Rollout(
            tuple(sorted(self.episodes, key=lambda episode: episode.index)),
            tuple(sorted(self.recordings, key=lambda recording: recording.episode.index)),
            summarise_latency(self.timed, rows=1 if isinstance(self.actor, Apart) else self.envs.num_envs),
            time.perf_counter() - began,
            {task: self.envs.call("described")[0]},  # pyright: ignore[reportAttributeAccessIssue]
        )

    def _active(self) -> np.ndarray:
        return np.array([index is not None for index in self.playing])

    def _begin(self, free: np.ndarray, observation: Any) -> Any:  # noqa: ANN401 - gymnasium's batched observation
        """Give each free row the next waiting episode; return the observation after their resets."""
        rows = np.zeros_like(free)
        seeds: list[int | None] = [None] * len(free)
        for row in np.flatnonzero(free).tolist():
            self.playing[row] = self.waiting.popleft() if self.waiting else None
            index = self.playing[row]
            if index is not None:
                rows[row], seeds[row], self.steps[row], self.attempts[row] = True, self.seed + index, 0, []
                self.moves[row] = hashlib.sha256()
        if not rows.any():
            return observation
        observation, info = self.envs.reset(seed=seeds, options={"reset_mask": rows})  # pyright: ignore[reportArgumentType]
        if self.drawing is None and "completed" in info:
            self.drawing = [True] * len(free)
        for row in np.flatnonzero(rows).tolist():
            self.told[row] = self.now[row] = str(info["instruction"][row])
            self.task[row] = str(info["task"][row]) if "task" in info else ""
            if self.playing[row] in self.filmed and "image" in observation:
                self.tapes[row] = _Tape(observation["image"], row)
        if isinstance(self.actor, EpisodeActor):
            self.actor.begin(self.envs, rows, seeds)
        else:
            self._forget(rows, seeds)
        return observation

    def _forget(self, rows: np.ndarray, seeds: Sequence[int | None] | None = None) -> None:
        if isinstance(self.actor, Agent | Apart):
            self.actor.reset(rows, seeds=seeds)
        elif not isinstance(self.actor, EpisodeActor):
            self.actor.reset(rows)

    def _act(self, observation: dict[str, Any]) -> np.ndarray:
        """Ask the actor, with foresight while anything is being filmed."""
        batch = {**observation, INSTRUCTION: tuple(self.now)}
        foresee = bool(self.tapes) and self.ahead > 0
        began, asked = time.perf_counter(), 1
        if isinstance(self.actor, Apart):
            wanted = [foresee and row in self.tapes for row in range(self.envs.num_envs)]
            acting = self._active().tolist()
            asked = sum(acting)  # one after another: an answer took its share
            actions = self.actor.act(batch, foresee=wanted, rows=acting)
        else:
            actions = self.actor.act(batch, foresee=True) if foresee else self.actor.act(batch)  # pyright: ignore[reportCallIssue]
        self.timed.append((foresee, (time.perf_counter() - began) / asked))
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
        for moved, action in zip(self.moves, actions, strict=True):
            moved.update(action.tobytes())
        return actions

    def _draw(self) -> None:
        """Let the next step draw for those who will look."""
        if self.drawing is None:
            return
        looking = getattr(self.actor, "looking", [True] * len(self.drawing))
        wanted = [bool(looking[row]) or row in self.tapes for row in range(len(self.drawing))]
        if wanted != self.drawing:
            self.envs.set_attr("drawing", wanted)  # pyright: ignore[reportAttributeAccessIssue]
            self.drawing = wanted

    def _count(self, observation: dict[str, Any], info: dict[str, Any], over: np.ndarray) -> None:
        """Note what was seen and said, and which tasks of a sequence were done."""
        for row, tape in self.tapes.items():
            tape.saw(observation["image"], row)
        done = np.zeros_like(over)
        for row, index in enumerate(self.playing):
            if index is None:
                continue
            self.steps[row] += 1
            done[row] = "completed" in info and info["completed"][row] > len(self.attempts[row])
            if done[row]:
                self._attempted(row, success=True)
            self.now[row] = str(info["instruction"][row])
            if done[row] and not over[row]:
                self.task[row] = str(info["task"][row])
        if (done & ~over).any():
            self._forget(done & ~over)

    def _attempted(self, row: int, *, success: bool) -> None:
        before = sum(attempt.steps for attempt in self.attempts[row])
        attempt = Attempt(self.task[row], self.now[row], success, self.steps[row] - before)
        self.attempts[row].append(attempt)
        tape, index = self.tapes.pop(row, None), self.playing[row]
        if tape is not None and index is not None:
            shown = Episode(index, self.seed + index, attempt.task, attempt.instruction, success, attempt.steps)
            self.films[row] = tape.close(shown, ahead=self.ahead)

    def _finish(self, over: np.ndarray, info: dict[str, Any], task: str) -> None:
        for row in np.flatnonzero(over).tolist():
            index, success = self.playing[row], bool(info["is_success"][row])
            if index is None:
                continue
            asked = int(info["asked"][row]) if "asked" in info else 0
            if asked and not success:
                self._attempted(row, success=False)
            place = (index, self.seed + index, task, self.told[row], success, self.steps[row])
            moves = self.moves[row].hexdigest()[:16] if asked else ""
            episode = Episode(*place, asked, tuple(self.attempts[row]), moves)
            tape = self.tapes.pop(row, None)
            film = tape.close(episode, ahead=self.ahead) if tape is not None else self.films.pop(row, None)
            self.episodes.append(episode)
            self.recordings += [film] if film is not None else []
            self.note(episode, film)


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
