"""Record play on CALVIN's table into a folder of the official layout."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from seerkit.data.calvin_folder import Sentence, Vectors, write_step, write_tables
from seerkit.data.files import fresh_folder
from seerkit.worker import end_with_parent

if TYPE_CHECKING:
    from seerkit.envs.calvin.env import CalvinEnv

LONGEST = 64
"""Frames a sentence may span, as in the official annotations."""
SPLITS = ("training", "validation")
RENDERERS = ("auto", "egl", "tiny")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Play:
    """Say what is recorded.

    Args:
        env: short name or id of one of CALVIN's scenes.
        episodes: episodes of the training split.
        validation: episodes of the validation split.
        steps: frames of each episode; 30 are a second.
        seed: of everything.
        noise: size of the bursts that push the hand off its way, as a share of the action's range.
        renderer: who draws the pictures; see :class:`seerkit.envs.calvin.env.CalvinEnv`.

    Raises:
        ValueError: a value is out of range.
    """

    env: str = "calvin_d"
    episodes: int = 8
    validation: int = 1
    steps: int = 1000
    seed: int = 0
    noise: float = 0.3
    renderer: str = "egl"

    def __post_init__(self) -> None:
        if min(self.episodes, self.validation) < 1 or self.steps < 2 or self.noise < 0 or self.seed < 0:
            raise ValueError(f"expected episodes and validation >= 1, steps >= 2, noise and seed >= 0, got {self}")
        if self.renderer not in RENDERERS:
            raise ValueError(f"expected a renderer of {RENDERERS}, got {self.renderer!r}")


@dataclasses.dataclass(frozen=True)
class Played:
    """Hold what the tables need to know of an episode."""

    vectors: Vectors
    sentences: list[Sentence]


def record_play(
    play: Play, out: Path, *, workers: int | None = None, progress: Callable[[int, int], None] | None = None
) -> int:
    """Record play into a new folder with ``training/`` and ``validation/``.

    An episode depends on the seed, its split and its number alone, so the frames do not depend on ``workers``. Whenever
    a task was done, a sentence is given to at most 64 frames that end there, if the task is done within them. Depth,
    touch, embeddings of sentences and ``.hydra`` are not written.

    Args:
        play: what to record.
        out: must not exist; appears when it is complete.
        workers: processes; one per available core if not given.
        progress: told how many of how many episodes are done.

    Returns:
        How many sentences there are.

    Raises:
        FileExistsError: ``out`` exists.
        ValueError: ``play.env`` is none of CALVIN's scenes.
    """
    scene = _scene(play.env)
    workers = workers or len(os.sched_getaffinity(0))
    counts = dict(zip(SPLITS, (play.episodes, play.validation), strict=True))
    with fresh_folder(out) as draft:
        for split in SPLITS:
            (draft / split).mkdir()
        jobs = [(play, draft / split, number) for split in SPLITS for number in range(counts[split])]
        played = []
        for one in _each(jobs, min(workers, len(jobs))):
            played.append(one)
            if progress:
                progress(len(played), len(jobs))
        for split, some in zip(SPLITS, (played[: play.episodes], played[play.episodes :]), strict=True):
            write_tables(
                draft / split,
                bounds=[(number * play.steps, (number + 1) * play.steps - 1) for number in range(len(some))],
                scene=f"calvin_scene_{scene}",
                sentences=[sentence for one in some for sentence in one.sentences],
                vectors=[one.vectors for one in some],
            )
    return sum(len(one.sentences) for one in played)


def record_episode(env: CalvinEnv, folder: Path, number: int, play: Play) -> Played:
    """Play one episode and write its frames; `record_play` says how."""
    from seerkit.envs.calvin.layouts import layout
    from seerkit.envs.calvin.play import Player
    from seerkit.envs.calvin.protocol import TASKS

    rng = np.random.default_rng([play.seed, SPLITS.index(folder.name), number])
    options = layout(env.world, TASKS[int(rng.integers(len(TASKS)))], rng)
    observation, info = env.reset(seed=0, options=options)
    player, first = Player(rng, noise=play.noise), number * play.steps
    seen, begun, asked = deque([env.world.situation()], maxlen=LONGEST), 0, env.asked
    sentences, rows = [], []
    for step in range(play.steps):
        before, images = info, observation["image"]
        action = player.act(env)
        begun = step if env.asked != asked else begun
        observation, reward, *_, info = env.step(action)
        absolute = write_step(
            folder, first + step, images, before["robot_obs"], before["scene_obs"], after=info["robot_obs"]
        )
        rows.append((absolute, before["robot_obs"], before["scene_obs"]))
        seen.append(env.world.situation())
        if reward and step + 1 < play.steps:
            length = min(step + 2 - begun, len(seen))
            if env.oracle.done(seen[-length], seen[-1], (player.task,)):
                last = first + step + 1
                text = env.oracle.sentences[player.task]
                sentences.append(Sentence(last - length + 1, last, text, player.task))
        asked = env.asked
    return Played(Vectors(*(np.stack(column) for column in zip(*rows, strict=True))), sentences)


_worker: list[Any] = []
"""The environment of a worker process."""


def _each(jobs: list[tuple[Play, Path, int]], workers: int) -> Iterable[Played]:
    if workers == 1:
        _start(jobs[0][0])
        try:
            yield from map(_do, jobs)
        finally:
            _worker.pop().close()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(jobs[0][0],)) as pool:
        yield from pool.map(_do, jobs)


def _start(play: Play) -> None:
    from seerkit.envs import make

    end_with_parent()
    _worker.append(make(play.env, renderer=play.renderer).unwrapped)


def _do(job: tuple[Play, Path, int]) -> Played:
    play, folder, number = job
    return record_episode(_worker[0], folder, number, play)


def _scene(name: str) -> str:
    """Give the letter of a scene."""
    from seerkit.envs import CALVIN, env_id

    if env_id(name) not in CALVIN.values():
        raise ValueError(f"expected one of {[*CALVIN]}, the tables that can be played with, given {name!r}")
    return env_id(name).split("-")[1]
