"""Scores of sequences of tasks: how many in a row, and each task by itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from seerkit.eval.records import Attempt, Episode
from seerkit.eval.statistics import Interval, bootstrap, wilson


@dataclass(frozen=True)
class TaskScore:
    """How often one task was done, whenever a sequence came to it.

    Args:
        task: its name.
        attempts: how often it was asked for.
        successes: how often it was done.
        steps: mean steps of those, None without any.
    """

    task: str
    attempts: int
    successes: int
    steps: float | None

    @property
    def rate(self) -> Interval:
        """Give the success rate with Wilson's 95 % interval."""
        return wilson(self.successes, self.attempts)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for a report."""
        told = {"task": self.task, "attempts": self.attempts, "successes": self.successes}
        return {**told, "rate": self.rate.to_dict(), "steps_to_success": self.steps}


@dataclass(frozen=True)
class Chains:
    """Score sequences of tasks as CALVIN does; one ends at its first failure.

    Args:
        episodes: the sequences.
    """

    episodes: Sequence[Episode]

    @property
    def asked(self) -> int:
        """Give the tasks of the longest sequence."""
        return max(episode.asked for episode in self.episodes)

    @property
    def length(self) -> Interval:
        """Give the average number of tasks done in a row, with a 95 % interval from the bootstrap over sequences."""
        return bootstrap([float(episode.completed) for episode in self.episodes])

    @property
    def length_told(self) -> str:
        """Say in words where the average length may lie; the bootstrap does not know if all sequences went alike."""
        length = self.length
        if length.low == length.high:
            return "no interval: all sequences went alike"
        return f"95 % interval {length.low:.2f} to {length.high:.2f}"

    @property
    def in_a_row(self) -> list[Interval]:
        """Give the share of sequences with at least 1, 2, ... tasks done, with Wilson's 95 % intervals."""
        done = [episode.completed for episode in self.episodes]
        return [wilson(sum(count >= wanted for count in done), len(done)) for wanted in range(1, self.asked + 1)]

    @property
    def tasks(self) -> list[TaskScore]:
        """Score every task that was asked for, by name."""
        tried: dict[str, list[Attempt]] = {}
        for episode in self.episodes:
            for attempt in episode.attempts:
                tried.setdefault(attempt.task, []).append(attempt)
        return [_score(task, tried[task]) for task in sorted(tried)]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for a report."""
        return {
            "sequences": len(self.episodes),
            "asked": self.asked,
            "average_length": self.length.to_dict(),
            "in_a_row": [rate.to_dict() for rate in self.in_a_row],
            "tasks": [score.to_dict() for score in self.tasks],
        }


def _score(task: str, attempts: Sequence[Attempt]) -> TaskScore:
    steps = [attempt.steps for attempt in attempts if attempt.success]
    return TaskScore(task, len(attempts), len(steps), sum(steps) / len(steps) if steps else None)
