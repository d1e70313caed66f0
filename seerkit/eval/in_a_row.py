"""CALVIN's protocol around its environment: numbered sequences of tasks, and the sentences that ask for them."""

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from seerkit.envs.calvin.protocol import LENGTH, TASKS, initial_state, sequences
from seerkit.envs.instruction import check_instruction

Sentences = Mapping[str, Sequence[str]] | Sequence[Sequence[str]]
"""Task -> its sentences, or for each sequence one sentence per task."""
PLAIN = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014", "''\"\"--")


class InARow(gym.Wrapper):
    """Play the benchmark's sequence that has the number given as seed.

    The table goes on to the next task by itself; this wrapper starts the sequence, says it in other sentences if it is
    given some, and lets nobody begin a task blind: its first observation has pictures even while ``drawing`` is off.

    Args:
        env: a `seerkit.envs.calvin.env.CalvinEnv`.
        sentences: instead of the benchmark's own; see `read_sentences`. Where a task has several, one is drawn by the
            sequence's number and the task's place in it.

    Raises:
        IndexError: at a reset, if there is no sequence of that number.
    """

    def __init__(self, env: gym.Env, *, sentences: Sentences | None = None) -> None:
        super().__init__(env)
        self._sequences, self._sentences = sequences(), sentences
        self._number, self._completed = 0, 0

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:  # noqa: ARG002
        """Begin the sequence of that number."""
        self._number, self._completed = seed or 0, 0
        if not 0 <= self._number < len(self._sequences):
            raise IndexError(f"expected a sequence of 0 to {len(self._sequences) - 1}, given {self._number}")
        robot, scene = initial_state(self._sequence.condition)
        given = {"robot_obs": robot, "scene_obs": scene, "tasks": self._sequence.tasks}
        observation, info = self.env.reset(options=given)
        return self._begin(observation), {**info, "asked": len(self._sequence.tasks)}

    def step(self, action: np.ndarray) -> tuple[dict, Any, bool, bool, dict]:
        """Step; at the first step of another task, look."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        began = info["completed"] > self._completed
        self._completed = info["completed"]
        info = {**info, "asked": len(self._sequence.tasks)}
        observation = self._begin(observation) if began and not terminated else self._said(observation)
        return observation, reward, terminated, truncated, info

    @property
    def _sequence(self) -> Any:  # noqa: ANN401 - the protocol's own class, whose name is taken here
        return self._sequences[self._number]

    def _begin(self, observation: dict) -> dict:
        table: Any = self.unwrapped
        return self._said(observation if table.drawing else table.look())

    def _said(self, observation: dict) -> dict:
        place = min(self._completed, len(self._sequence.tasks) - 1)
        if self._sentences is None:
            return observation
        said = sentence(self._sentences, self._number, place, self._sequence.tasks[place])
        return {**observation, "language_instruction": said}


def sentence(sentences: Sentences, number: int, place: int, task: str) -> str:
    """Choose how the task at one place of a sequence is asked for."""
    if not isinstance(sentences, Mapping):
        return sentences[number][place]
    several = sentences[task]
    return several[int(np.random.default_rng((number, place)).integers(len(several)))]


def read_sentences(path: Path | str) -> dict[str, tuple[str, ...]] | tuple[tuple[str, ...], ...]:
    """Read a JSON file of other sentences: ``{task: sentence or list of them}``, or 1000 lists of five.

    Of a sentence with several lines the first counts, as in the official evaluation; typographic quotes become plain.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if it is something else, lacks a task or names an unknown one, or a sentence cannot be said in 256
            printable ASCII characters.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no sentences at {file}")
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from error
    if isinstance(told, dict):
        _check_tasks(told, file)
        several = {task: [said] if isinstance(said, str) else said for task, said in told.items()}
        return {task: _clean(said, f"{file}: {task}") for task, said in several.items()}
    count = len(sequences())
    if not isinstance(told, list) or len(told) != count or any(not _is_row(row) for row in told):
        raise ValueError(f"expected {file} to map each task to sentences, or to list {count} times {LENGTH} sentences")
    return tuple(_clean(row, f"{file}: sequence {number}") for number, row in enumerate(told))


def hash_of_sentences(sentences: Sentences) -> str:
    """Return a sha256 of what will be said."""
    return hashlib.sha256(json.dumps(sentences, sort_keys=True).encode()).hexdigest()


def hash_of_sequences(count: int) -> str:
    """Return a sha256 of the first sequences: initial conditions and tasks, in order."""
    told = [[one.condition, list(one.tasks)] for one in sequences(count)]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _check_tasks(told: Mapping[str, Any], file: Path) -> None:
    for name in sorted(set(told) - set(TASKS)):
        near = difflib.get_close_matches(name, TASKS, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{file}: expected tasks of CALVIN, given {name!r}{hint}")
    missing = sorted(set(TASKS) - set(told))
    if missing:
        raise ValueError(f"{file}: expected sentences for all {len(TASKS)} tasks, given none for {missing}")


def _is_row(row: object) -> bool:
    return isinstance(row, list) and len(row) == LENGTH


def _clean(said: object, where: str) -> tuple[str, ...]:
    found = []
    if not isinstance(said, list):
        raise ValueError(f"{where}: expected a sentence or a list of them, given {said!r}")
    for one in said:
        if not isinstance(one, str):
            raise ValueError(f"{where}: expected a sentence, given {one!r}")
        try:
            found.append(check_instruction(one.strip().split("\n")[0].translate(PLAIN).strip()))
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    if not found:
        raise ValueError(f"{where}: expected at least one sentence, given none")
    return tuple(found)
