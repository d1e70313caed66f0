"""Record what a scripted expert does into a store, in parallel processes, reproducibly."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import itertools
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from seerkit.data.depth import to_millimetres
from seerkit.data.store import Conventions, Store, StoreError
from seerkit.data.writer import StoreWriter
from seerkit.worker import end_with_parent

Env = gymnasium.Env[Any, Any]
EnvFactory = Callable[[], Env]
ON_THE_WAY = 0.3
"""The expert is on its way while it moves by more than this share of the largest step along some axis."""
PATIENCE = 20
"""A run gives up when this many rollouts, and nine of ten of all, brought nothing worth keeping."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recording:
    """Say how an episode is recorded.

    Args:
        noise: size of the expert's bursts of noise, as a share of the action's range; 0 for none. The noisy action is
            executed, the expert's own is stored: the recording shows how to recover, never how to stumble.
        random_start: share of the episodes that start from a random pose instead of the env's own; needs an env that
            knows the reset option ``start="random"``.
        chain: how many times a rollout asks for another goal instead of ending; needs an env with ``goals`` and
            ``set_goal``. Half of the goals are replaced on the way (the episode is cut there and kept), the others once
            they are met; what follows is a new episode that starts where the one before ended.
        ask: share of the steps on the way at which the expert is also asked what it would do for every other goal. Each
            answer is stored as an episode of one step: the same picture with another sentence and another action, which
            is what teaches a policy to listen. Needs an env with ``goals`` and ``set_goal``.
        horizon: steps after which an episode has failed; the env's own limit if not given.
        keep_failures: whether to keep episodes that failed, too.
        play: whether to record play: no sentence is stored, and an episode is kept whatever became of it.
        tasks: what is demonstrated, rollout by rollout in turn, each on a random table on which it can be done; needs
            an env that knows the reset option ``layout``, as CALVIN's. None given: what the env asks for by itself.

    Raises:
        ValueError: a value is out of range, or tasks are to be changed on the way.
    """

    noise: float = 0.0
    random_start: float = 0.0
    chain: int = 0
    ask: float = 0.0
    horizon: int | None = None
    keep_failures: bool = False
    play: bool = False
    tasks: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        shares = (self.random_start, self.ask)
        if self.noise < 0 or self.chain < 0 or (self.horizon or 1) < 1 or not all(0 <= share <= 1 for share in shares):
            raise ValueError(f"noise, chain, horizon cannot be negative; random_start and ask are shares; got {self}")
        if self.play and self.ask:
            raise ValueError("ask stores the same step with other sentences, and play stores no sentence; choose one")
        if self.tasks and (self.chain or self.ask):
            raise ValueError("on a table drawn for one task others may be impossible; expected tasks, or chain and ask")


@dataclasses.dataclass
class Segment:
    """Hold the steps of one episode while it is recorded."""

    instruction: str
    images: dict[str, list[np.ndarray]]
    state: list[np.ndarray] = dataclasses.field(default_factory=list)
    action: list[np.ndarray] = dataclasses.field(default_factory=list)
    depth: dict[str, list[np.ndarray]] = dataclasses.field(default_factory=dict)
    success: bool = False
    cut: bool = False

    def add(self, observation: Mapping[str, Any], label: np.ndarray) -> None:
        """Append what was seen and what the expert wanted then."""
        for name, frames in self.images.items():
            frames.append(observation["image"][name])
        for name, metres in observation.get("depth", {}).items():
            self.depth.setdefault(name, []).append(to_millimetres(metres))
        self.state.append(observation["state"])
        self.action.append(label)


def collect(
    env: str | EnvFactory,
    out: str | Path,
    *,
    episodes: int = 100,
    seed: int = 0,
    workers: int | None = None,
    recording: Recording | None = None,
    env_options: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Store:
    """Record a scripted expert into a new store.

    Rollout ``i`` is reset with ``seed + i`` and kept in that order, so the store does not depend on the number of
    workers. Episodes that fail are left out, unless ``recording.keep_failures``.

    Args:
        env: a gymnasium id or task name (`seerkit.envs.make`), or a function that makes an env. Its ``unwrapped`` must
            have ``expert(rng, noise=...)``, giving an expert with ``act(env)`` and ``label``.
        out: where the store will be; must not exist.
        episodes: how many episodes to store.
        seed: first reset seed; demonstrations use seeds below 1,000,000, evaluation those above.
        workers: processes; one per available core if not given. 1 records in this process.
        recording: noise, random starts, goal switches.
        env_options: passed on to the env, such as ``image_size`` or ``state``; an env that measures depth (the twin
            with ``look={"depth": True}``) has it stored.
        progress: whether to draw a progress bar (on stderr).

    Raises:
        StoreError: ``out`` exists, or the expert hardly ever succeeds.
        ValueError: a number is out of range, or the env lacks what ``recording`` asks for.
    """
    from seerkit.envs.contract import TRAIN_SEEDS

    if episodes < 1 or seed not in TRAIN_SEEDS:
        raise ValueError(f"episodes must be at least 1 and seed in {TRAIN_SEEDS}, got {episodes} and {seed}")
    workers = min(workers or len(os.sched_getaffinity(0)), episodes)
    recording = recording or Recording()
    if isinstance(env, str):
        name, make = _named(env, env_options or {})
    else:
        name, make = "", functools.partial(env, **(env_options or {}))
    conventions, recording = _look(make, name, recording)
    with StoreWriter(out, conventions) as writer, _Bar(episodes, shown=progress) as bar:
        seeds = iter(range(seed, TRAIN_SEEDS.stop))
        for rollout, (number, segments) in enumerate(_rollouts(make, seeds, recording, workers)):
            for segment in segments[: episodes - writer.episodes]:
                images = {camera: np.stack(frames) for camera, frames in segment.images.items()}
                about = {"instruction": segment.instruction, "success": segment.success, "seed": number, "task": name}
                depth = {camera: np.stack(frames) for camera, frames in segment.depth.items()}
                writer.add(images, np.stack(segment.state), np.stack(segment.action), depth=depth, **about)
            bar.update(writer, rollouts=rollout + 1)
            if writer.episodes == episodes:
                break
            if rollout + 1 >= PATIENCE and writer.episodes < (rollout + 1) / 10:
                given = f"{writer.episodes} of {rollout + 1} rollouts"
                raise StoreError(f"expected an expert that succeeds, got {given}; keep_failures would keep them")
        else:
            raise StoreError(f"no seed left in {TRAIN_SEEDS} after {writer.episodes} of {episodes} episodes")
    return Store(out)


def record(env: Env, seed: int, recording: Recording) -> list[Segment]:
    """Play one rollout with the env's expert and return the episodes worth keeping.

    Args:
        env: as `collect` describes it.
        seed: of the reset, the noise and the changes of goal.
        recording: how to record; its ``horizon`` must be set.
    """
    rng = np.random.default_rng([seed, 1])
    options = {"start": "random"} if rng.random() < recording.random_start else {}
    if recording.tasks:
        options["layout"] = recording.tasks[seed % len(recording.tasks)]
    observation, _ = env.reset(seed=seed, options=options)
    base: Any = env.unwrapped
    expert = base.expert(rng, noise=recording.noise)
    horizon = recording.horizon or 0
    segments = [_begin(observation, "" if recording.play else observation["language_instruction"])]
    answers: list[Segment] = []
    switches = _switches(rng, recording.chain)
    switch = next(switches)
    while True:
        segment = segments[-1]
        action = expert.act(env)
        segment.add(observation, expert.label)
        if recording.ask and np.abs(expert.label[:3]).max() > ON_THE_WAY and rng.random() < recording.ask:
            answers += _ask(env, observation)
        observation, _, terminated, truncated, info = env.step(action)
        segment.success = bool(info["is_success"])
        failed = truncated or (terminated and not segment.success) or len(segment.state) >= horizon
        if switch is not None and (segment.success or (len(segment.state) == switch and not failed)):
            segment.cut = not segment.success
            told = _other_goal(base, rng)
            segments.append(_begin(observation, "" if recording.play else told))
            switch = next(switches)
        elif segment.success or failed:
            break
    every = recording.keep_failures or recording.play
    kept = [segment for segment in segments if segment.success or segment.cut or every]
    return kept + answers if kept else []


def _ask(env: Env, observation: Mapping[str, Any]) -> list[Segment]:
    """Ask a steady expert what it would do now for every other goal."""
    base: Any = env.unwrapped
    asked, expert, answers = base.goal, base.expert(np.random.default_rng(0)), []
    for goal in base.goals:
        if goal != asked:
            answer = _begin(observation, base.set_goal(goal))
            expert.act(env)
            answer.add(observation, expert.label)
            answer.cut = True
            answers.append(answer)
    base.set_goal(asked)
    return answers


def _begin(observation: Mapping[str, Any], instruction: str) -> Segment:
    return Segment(instruction, {name: [] for name in observation["image"]})


def _switches(rng: np.random.Generator, chain: int) -> Iterator[int | None]:
    """Yield for each goal of a rollout after how many steps to replace it; 0 once it is met, ``None`` never."""
    for _ in range(chain):
        yield int(rng.integers(3, 16)) if rng.random() < 0.5 else 0
    while True:
        yield None


def _other_goal(base: Any, rng: np.random.Generator) -> str:  # noqa: ANN401  (any env with goals)
    others = [goal for goal in base.goals if goal != base.goal]
    return base.set_goal(others[int(rng.integers(len(others)))])


def _named(env: str, options: Mapping[str, Any]) -> tuple[str, EnvFactory]:
    """Return the env's full id and a function that makes it without a step limit, which `record` keeps itself."""
    from seerkit.envs import env_id, make

    name = env_id(env)
    return name, functools.partial(make, name, **{"max_episode_steps": -1, **options})


def _look(make: EnvFactory, name: str, recording: Recording) -> tuple[Conventions, Recording]:
    """Read conventions and horizon off an env, and check that it can do what the recording asks for."""
    env = make()
    try:
        space: Any = env.observation_space
        base: Any = env.unwrapped
        limit = gymnasium.spec(name).max_episode_steps if name else getattr(env.spec, "max_episode_steps", None)
        horizon = recording.horizon or limit
        if horizon is None:
            raise ValueError("the env has no step limit of its own; give Recording(horizon=...)")
        if (recording.chain or recording.ask) and len(getattr(base, "goals", ())) < 2:
            given = getattr(base, "goals", None)
            raise ValueError(f"chain and ask need an env with at least 2 goals, got goals={given}")
        _check_tasks(base, recording.tasks)
        cameras = {camera: box.shape for camera, box in space["image"].items()}
        rate = float(env.metadata.get("render_fps", 15.0))
        said: dict[str, Any] = {"state": tuple(base.state_names)} if hasattr(base, "state_names") else {}
        conventions = Conventions(cameras=cameras, frame_rate=rate, depth="depth" in space.spaces, **said)
        return conventions, dataclasses.replace(recording, horizon=horizon)
    finally:
        env.close()


def _check_tasks(base: Any, tasks: Sequence[str]) -> None:  # noqa: ANN401  (any env)
    """Make sure that an env draws layouts, and knows every task."""
    if tasks and not getattr(base, "draws_layouts", False):
        raise ValueError(f"tasks need an env that draws a layout for each, as CALVIN's do; given {type(base).__name__}")
    for task in tasks:
        if task not in base.goals:
            near = difflib.get_close_matches(task, base.goals, n=1)
            raise ValueError(f"no task {task!r}{f'; did you mean {near[0]!r}?' if near else f' in {base.goals}'}")


# -- parallel rollouts ------------------------------------------------------------------------------------------------

_worker: list[Env] = []
"""The env of a worker process."""


def _rollouts(
    make: EnvFactory, seeds: Iterator[int], recording: Recording, workers: int
) -> Iterator[tuple[int, list[Segment]]]:
    """Yield rollouts in the order of their seeds; as many are under way as keeps the workers busy."""
    if workers == 1:
        env = make()
        try:
            yield from ((seed, record(env, seed, recording)) for seed in seeds)
        finally:
            env.close()
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(make,))
    try:
        waiting = deque((seed, pool.submit(_record, seed, recording)) for seed in itertools.islice(seeds, 3 * workers))
        while waiting:
            seed, rollout = waiting.popleft()
            yield seed, rollout.result()
            waiting.extend((seed, pool.submit(_record, seed, recording)) for seed in itertools.islice(seeds, 1))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_worker(make: EnvFactory) -> None:
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    end_with_parent()
    _worker.append(make())


def _record(seed: int, recording: Recording) -> list[Segment]:
    return record(_worker[0], seed, recording)


class _Bar:
    """Show episodes stored, the share of rollouts kept, steps per second and the time left."""

    def __init__(self, episodes: int, *, shown: bool) -> None:
        columns = ("[bold]collect", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
        tail = (TextColumn("ETA"), TimeRemainingColumn())
        self._progress = Progress(*columns, *tail, console=Console(stderr=True), disable=not shown)
        self._task = self._progress.add_task("collect", total=episodes, note="")
        self._since = time.perf_counter()

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, writer: StoreWriter, *, rollouts: int) -> None:
        """Renew the numbers."""
        speed = writer.steps / max(time.perf_counter() - self._since, 1e-9)
        note = f"{rollouts} rollouts  {speed:.0f} steps/s"
        self._progress.update(self._task, completed=writer.episodes, note=note)
