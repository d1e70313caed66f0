"""What a rollout leaves behind: outcomes, recorded frames, timings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from seerkit.eval.statistics import Interval, stratified_bootstrap, wilson


@dataclass(frozen=True)
class Attempt:
    """How one task of a sequence went.

    Args:
        task: its name.
        instruction: what the robot was told.
        success: whether it was done.
        steps: control steps taken.
    """

    task: str
    instruction: str
    success: bool
    steps: int


@dataclass(frozen=True)
class Episode:
    """How one episode went.

    Args:
        index: its place in the evaluation; the episode is a function of its seed alone.
        seed: what the environment was reset with.
        task: short name of the environment.
        instruction: what the robot was told at the first step.
        success: whether ``info["is_success"]`` held at the last step.
        steps: control steps taken.
        asked: how many tasks the episode asks for in a row; 0 if it is no sequence.
        attempts: those of them that were begun.
        actions: of a sequence, a hash of all actions taken: two runs that agree in it went the same way to the last
            bit.
    """

    index: int
    seed: int
    task: str
    instruction: str
    success: bool
    steps: int
    asked: int = 0
    attempts: tuple[Attempt, ...] = ()
    actions: str = ""

    @property
    def completed(self) -> int:
        """Count the tasks done in a row."""
        return sum(attempt.success for attempt in self.attempts)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for a report; of an episode that is no sequence only what it has."""
        told = asdict(self)
        if self.asked:
            return {**told, "attempts": list(told["attempts"]), "completed": self.completed}
        return {name: value for name, value in told.items() if name not in ("asked", "attempts", "actions")}


@dataclass(frozen=True)
class Recording:
    """What the robot saw in one episode, and what it foresaw.

    Shape:
        frames[camera]: ``(L + 1, 3, H, W)`` uint8, the last one after the last action.
        foresight[camera]: ``(L, 3, h, w)`` uint8; ``foresight[t]`` is the frame expected at ``t + ahead``. Empty if
            the actor does not foresee.
    """

    episode: Episode
    frames: Mapping[str, np.ndarray]
    foresight: Mapping[str, np.ndarray] = field(default_factory=dict)
    ahead: int = 0

    @property
    def cameras(self) -> tuple[str, ...]:
        """Name the cameras in order."""
        return tuple(self.frames)


@dataclass(frozen=True)
class Latency:
    """How long the actor took to answer, in milliseconds per call.

    Args:
        calls: how long each answer took; the very first is not among them.
        warm_up: how long the very first took, which loads, allocates and encodes what later ones find ready.
        rows: environments answered per call.
        foreseeing: True if only answers that also drew the foresight could be timed.
    """

    calls: tuple[float, ...]
    warm_up: float
    rows: int
    foreseeing: bool

    @property
    def p50(self) -> float:
        """Give the median."""
        return float(np.percentile(self.calls, 50))

    @property
    def p95(self) -> float:
        """Give the 95th percentile."""
        return float(np.percentile(self.calls, 95))

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for a report."""
        return {
            "p50_ms": self.p50,
            "p95_ms": self.p95,
            "warm_up_ms": self.warm_up,
            "calls": len(self.calls),
            "rows": self.rows,
            "foreseeing": self.foreseeing,
        }

    def __add__(self, other: "Latency") -> "Latency":
        """Join the answers given in two environments; those that drew no foresight are preferred to those that did."""
        if self.foreseeing != other.foreseeing:
            return other if self.foreseeing else self
        return Latency(self.calls + other.calls, self.warm_up, self.rows, self.foreseeing)


@dataclass(frozen=True)
class Rollout:
    """All episodes of one actor, in order of their index.

    Args:
        episodes: how each went.
        recordings: what was filmed.
        latency: how long the actor took; None if nobody asks.
        seconds: how long all of it took.
        environments: task -> what its environment says of itself, see `seerkit.eval.seat.Seat.described`.
    """

    episodes: tuple[Episode, ...]
    recordings: tuple[Recording, ...] = ()
    latency: Latency | None = None
    seconds: float = 0.0
    environments: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def successes(self) -> int:
        """Count the episodes that succeeded."""
        return sum(episode.success for episode in self.episodes)

    @property
    def in_a_row(self) -> bool:
        """Whether the episodes are sequences of tasks."""
        return any(episode.asked for episode in self.episodes)

    @property
    def rate(self) -> Interval:
        """Give the success rate with Wilson's 95 % interval."""
        return wilson(self.successes, len(self.episodes))

    @property
    def resampled(self) -> Interval:
        """Give the success rate with a 95 % interval from the bootstrap, episodes drawn anew within each task."""
        tasks: dict[str, list[float]] = {}
        for episode in self.episodes:
            tasks.setdefault(episode.task, []).append(float(episode.success))
        return stratified_bootstrap([*tasks.values()])

    def __add__(self, other: "Rollout") -> "Rollout":
        both = self.latency + other.latency if self.latency and other.latency else self.latency or other.latency
        return Rollout(
            self.episodes + other.episodes,
            self.recordings + other.recordings,
            both,
            self.seconds + other.seconds,
            {**self.environments, **other.environments},
        )


def summarise_latency(seconds: list[tuple[bool, float]], *, rows: int) -> Latency | None:
    """Turn timed answers ``(drew the foresight, seconds)`` into percentiles; None if there are none after warm-up.

    Answers that also drew the foresight are left out unless there are no others.
    """
    timed = seconds[1:]
    plain = [took for foresaw, took in timed if not foresaw]
    chosen = plain or [took for _, took in timed]
    if not chosen:
        return None
    return Latency(tuple(1e3 * took for took in chosen), 1e3 * seconds[0][1], rows, not plain)
