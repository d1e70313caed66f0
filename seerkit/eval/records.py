"""What a rollout leaves behind: outcomes, recorded frames, timings."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from seerkit.eval.statistics import Interval, wilson


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
    """

    index: int
    seed: int
    task: str
    instruction: str
    success: bool
    steps: int

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for a report."""
        return asdict(self)


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
        p50: median.
        p95: 95th percentile.
        calls: answers timed; the very first, which warms up, is left out.
        rows: environments answered per call.
        foreseeing: True if only answers that also drew the foresight could be timed.
    """

    p50: float
    p95: float
    calls: int
    rows: int
    foreseeing: bool

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for a report."""
        return {
            "p50_ms": self.p50,
            "p95_ms": self.p95,
            "calls": self.calls,
            "rows": self.rows,
            "foreseeing": self.foreseeing,
        }


@dataclass(frozen=True)
class Rollout:
    """All episodes of one actor, in order of their index."""

    episodes: tuple[Episode, ...]
    recordings: tuple[Recording, ...] = ()
    latency: Latency | None = None
    seconds: float = 0.0

    @property
    def successes(self) -> int:
        """Count the episodes that succeeded."""
        return sum(episode.success for episode in self.episodes)

    @property
    def rate(self) -> Interval:
        """Give the success rate with Wilson's 95 % interval."""
        return wilson(self.successes, len(self.episodes))

    def __add__(self, other: "Rollout") -> "Rollout":
        return Rollout(
            self.episodes + other.episodes,
            self.recordings + other.recordings,
            self.latency or other.latency,
            self.seconds + other.seconds,
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
    p50, p95 = np.percentile(np.asarray(chosen) * 1e3, [50, 95])
    return Latency(float(p50), float(p95), len(chosen), rows, not plain)
