"""The result of an evaluation: numbers for machines, a page for people."""

import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from seerkit.eval import quality
from seerkit.eval.chains import Chains
from seerkit.eval.curves import Curves, listening, told_by
from seerkit.eval.published import published
from seerkit.eval.records import Episode, Recording, Rollout
from seerkit.eval.statistics import Interval, bootstrap, stratified_bootstrap, wilson

SCHEMA, VERSION = "seerkit.eval.report", 1
TRAINED, EXPERT, RANDOM = "trained", "expert", "random"
JSON, PAGE = "report.json", "report.html"


@dataclass(frozen=True)
class Group:
    """The episodes of one actor on one task with one instruction."""

    actor: str
    task: str
    instruction: str
    episodes: tuple[Episode, ...]

    @property
    def rate(self) -> Interval:
        """Give the success rate with Wilson's 95 % interval."""
        return wilson(sum(episode.success for episode in self.episodes), len(self.episodes))

    @property
    def resampled(self) -> Interval:
        """Give the success rate with a 95 % bootstrap interval."""
        return stratified_bootstrap([[float(episode.success) for episode in self.episodes]])

    @property
    def steps(self) -> Interval | None:
        """Give the mean steps of successful episodes with a bootstrap interval; None if none succeeded."""
        taken = [float(episode.steps) for episode in self.episodes if episode.success]
        return bootstrap(taken) if taken else None

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for ``report.json``."""
        return {
            "actor": self.actor,
            "task": self.task,
            "instruction": self.instruction,
            "episodes": len(self.episodes),
            "successes": sum(episode.success for episode in self.episodes),
            "rate": self.rate.to_dict(),
            "rate_bootstrap": self.resampled.to_dict(),
            "steps_to_success": self.steps.to_dict() if self.steps else None,
        }


@dataclass(frozen=True)
class Report:
    """What came out of an evaluation.

    Args:
        title: heading of the page.
        rollouts: actor -> its episodes; the trained policy is ``"trained"``.
        summary: one sentence on the policy.
        provenance: see `seerkit.eval.provenance`.
        curves: training curves by name.
        warnings: sentences a reader must not miss.
        benchmark: what was played, if it is a public benchmark: see `seerkit.eval.published`.
    """

    title: str
    rollouts: Mapping[str, Rollout]
    summary: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    curves: Curves = field(default_factory=dict)
    warnings: Sequence[str] = ()
    benchmark: str | None = None

    def rate(self, actor: str = TRAINED) -> Interval:
        """Give an actor's success rate with Wilson's 95 % interval.

        Raises:
            KeyError: if that actor was not evaluated.
        """
        if actor not in self.rollouts:
            raise KeyError(f"expected an actor of {sorted(self.rollouts)}, given {actor!r}")
        return self.rollouts[actor].rate

    @property
    def recordings(self) -> tuple[Recording, ...]:
        """Give what was recorded of the trained policy."""
        return self.rollouts[TRAINED].recordings if TRAINED in self.rollouts else ()

    def groups(self) -> list[Group]:
        """Split all episodes by actor, task and instruction; sequences, which have several, are not among them."""
        found: dict[tuple[str, str, str], list[Episode]] = {}
        for actor, rollout in self.rollouts.items():
            for episode in () if rollout.in_a_row else rollout.episodes:
                found.setdefault((actor, episode.task, episode.instruction), []).append(episode)
        return [Group(*names, tuple(episodes)) for names, episodes in found.items()]

    def chains(self) -> dict[str, Chains]:
        """Give the scores of every actor that played sequences of tasks."""
        return {actor: Chains(rollout.episodes) for actor, rollout in self.rollouts.items() if rollout.in_a_row}

    def foresight(self) -> dict[str, dict[str, Interval]]:
        """Give PSNR in dB per camera, of the foresight and of repeating the present."""
        return quality.summarise(self.recordings)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, fit for JSON; the layout is that of ``VERSION``."""
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "title": self.title,
            "summary": self.summary,
            "actors": {actor: _actor(rollout) for actor, rollout in self.rollouts.items()},
            "groups": [group.to_dict() for group in self.groups()],
            "sequences": {actor: chains.to_dict() for actor, chains in self.chains().items()},
            "episodes": [
                {"actor": actor, **episode.to_dict()}
                for actor, rollout in self.rollouts.items()
                for episode in rollout.episodes
            ],
            "foresight_psnr": {
                camera: {name: interval.to_dict() for name, interval in scores.items()}
                for camera, scores in self.foresight().items()
            },
            "training": {
                "last": {name: series.last for name, series in self.curves.items()},
                "told_by": told_by(self.curves),
                "wrong_word_ratio": listening(self.curves),
            },
            "benchmark": self.benchmark,
            "published": [number.to_dict() for number in published(self.benchmark)],
            "warnings": list(self.warnings),
            "provenance": dict(self.provenance),
        }

    def write(self, out: Path | str) -> Path:
        """Write ``report.json`` and ``report.html`` into a folder, each whole or not at all; return the page's path."""
        from seerkit.eval.html import render

        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        page = render(self)
        write_atomic(folder / JSON, json.dumps(finite(self.to_dict()), indent=1).encode())
        write_atomic(folder / PAGE, page.encode())
        return folder / PAGE

    def write_still(self, path: Path | str, *, moments: int = 5, side: int = 128) -> Path:
        """Write a PNG of saw, foreseen and came at a few moments of a successful episode (else of any).

        Raises:
            ValueError: if no episode was recorded.
        """
        from seerkit.eval.pictures import png, still

        if not self.recordings:
            raise ValueError("expected a recorded episode, given none; evaluate with record=1 or more")
        best = max(self.recordings, key=lambda tape: (tape.episode.success, bool(tape.foresight), -tape.episode.index))
        write_atomic(Path(path), png(still(best, moments=moments, side=side)))
        return Path(path)


def write_atomic(path: Path, content: bytes) -> None:
    """Write a file under a temporary name, then rename it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_bytes(content)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def finite(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """Turn a tree into strict JSON: NaN and infinity become null, numpy's numbers plain ones, tuples lists."""
    if isinstance(value, Mapping):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if isinstance(value, np.generic):
        return finite(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def _actor(rollout: Rollout) -> dict[str, Any]:
    return {
        "episodes": len(rollout.episodes),
        "successes": rollout.successes,
        "rate": rollout.rate.to_dict(),
        "rate_bootstrap": rollout.resampled.to_dict(),
        "latency": rollout.latency.to_dict() if rollout.latency else None,
        "seconds": rollout.seconds,
        "steps": sum(episode.steps for episode in rollout.episodes),
    }
