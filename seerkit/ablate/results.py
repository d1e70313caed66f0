"""What came out: the runs of every row, their intervals, and the files they are written to."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from seerkit.ablate.groups import Row
from seerkit.ablate.job import Job
from seerkit.ablate.statistics import paired_difference, success_interval
from seerkit.ablate.study import Study
from seerkit.data.files import write_text
from seerkit.eval.statistics import Interval, wilson

SCHEMA, VERSION = "seerkit.ablation", 1
ACTION_LOSS = "val_loss_arm"
"""The held-out loss that is shown: it still tells rows apart when all of them succeed, or none."""


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of a row, evaluated.

    Args:
        seed: of the training.
        success: whether each episode succeeded; the same layouts for every run.
        losses: on held-out episodes, at the end of the training.
        details: the whole result file.
    """

    seed: int
    success: tuple[bool, ...]
    losses: Mapping[str, float]
    details: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def rate(self) -> Interval:
        """The share of episodes that succeeded, with Wilson's 95 % interval."""
        return wilson(sum(self.success), len(self.success))


@dataclasses.dataclass(frozen=True)
class RowOutcome:
    """The runs of one row.

    Args:
        row: what was run.
        runs: what is finished, by seed.
        errors: what went wrong with the others, by seed.
        reference: runs of the row it is compared with; ``None`` if it is that row.
    """

    row: Row
    runs: tuple[Run, ...]
    errors: Mapping[int, str] = dataclasses.field(default_factory=dict)
    reference: tuple[Run, ...] | None = ()

    @property
    def success(self) -> Interval | None:
        """Mean success over the seeds, with `success_interval`."""
        return success_interval([run.success for run in self.runs]) if self.runs else None

    @property
    def difference(self) -> Interval | None:
        """Success minus the reference row's, seed by seed and layout by layout; ``None`` for the reference itself."""
        theirs = {run.seed: run for run in self.reference or ()}
        pairs = [(run.success, theirs[run.seed].success) for run in self.runs if run.seed in theirs]
        if not pairs:
            return None
        return paired_difference([mine for mine, _ in pairs], [other for _, other in pairs])

    def loss(self, name: str = ACTION_LOSS) -> tuple[float, float, float] | None:
        """Mean, lowest and highest of a held-out loss over the seeds."""
        values = [run.losses[name] for run in self.runs if name in run.losses]
        return (sum(values) / len(values), min(values), max(values)) if values else None

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for ``ablation.json``."""
        return {
            "row": self.row.name,
            "recipe": f"ablation/{{group}}/{self.row.name}",
            "summary": self.row.summary,
            "published": [dataclasses.asdict(number) for number in self.row.published],
            "twin": {"pretrain": self.row.pretrain, "finetune": self.row.finetune},
            "success": self.success.to_dict() if self.success else None,
            "difference_to_reference": self.difference.to_dict() if self.difference else None,
            "held_out_action_loss": self.loss(),
            "runs": [{**run.details, "rate": run.rate.to_dict()} for run in self.runs],
            "errors": {str(seed): error for seed, error in self.errors.items()},
        }


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Everything that came out of a study so far."""

    study: Study
    rows: tuple[RowOutcome, ...]

    @property
    def complete(self) -> bool:
        """Whether every row has a run for every seed."""
        return all(len(row.runs) == self.study.seeds for row in self.rows)

    @property
    def errors(self) -> list[str]:
        """What went wrong, one sentence per run."""
        return [f"{row.row.name}, seed {seed}: {error}" for row in self.rows for seed, error in row.errors.items()]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values, fit for JSON."""
        study = self.study
        rows = [row.to_dict() for row in self.rows]
        for row in rows:
            row["recipe"] = row["recipe"].format(group=study.group.name)
        return {
            "schema": SCHEMA,
            "version": VERSION,
            "group": study.group.name,
            "title": study.group.title,
            "reference": study.group.reference,
            "task": study.task,
            "preset": {"name": study.preset, **dataclasses.asdict(study.size)},
            "overrides": list(study.overrides),
            "seeds": study.seeds,
            "complete": self.complete,
            "stores": {name: dataclasses.asdict(gathering) for name, gathering in study.stores().items()},
            "rows": rows,
        }

    def write(self, out: Path) -> None:
        """Write ``ablation.json``, ``ablation.md`` and, once there is a run, ``ablation.png`` into a folder."""
        from seerkit.ablate.plot import draw
        from seerkit.ablate.table import markdown

        write_text(out / "ablation.json", json.dumps(self.to_dict(), indent=1, default=str) + "\n")
        write_text(out / "ablation.md", markdown(self))
        if any(row.runs for row in self.rows):
            draw(self, out / "ablation.png")


def gather(study: Study, jobs: Sequence[Job], errors: Mapping[str, str]) -> Outcome:
    """Read the results of a study's jobs.

    Args:
        study: what was asked for.
        jobs: its trainings.
        errors: what went wrong, by `Job.identity`.
    """
    runs: dict[str, dict[int, Run]] = {row.name: {} for row in study.rows}
    failed: dict[str, dict[int, str]] = {row.name: {} for row in study.rows}
    for job in jobs:
        for evaluation in job.evaluations:
            file = Path(evaluation.result)
            if file.is_file():
                runs[evaluation.row][job.seed] = read_run(file)
            elif job.identity in errors:
                failed[evaluation.row][job.seed] = errors[job.identity]
    return outcome_of(study, runs, failed)


def outcome_of(study: Study, runs: Mapping[str, Mapping[int, Run]], errors: Mapping[str, Mapping[int, str]]) -> Outcome:
    """Put runs, by row and seed, into an outcome."""
    ordered = {name: tuple(own[seed] for seed in sorted(own)) for name, own in runs.items()}
    first = study.group.reference
    rows = [
        RowOutcome(row, ordered.get(name, ()), errors.get(name, {}), None if name == first else ordered.get(first))
        for name, row in ((row.name, row) for row in study.rows)
    ]
    return Outcome(study, tuple(rows))


def read_run(file: Path) -> Run:
    """Read a result file."""
    details = json.loads(file.read_text(encoding="utf-8"))
    return Run(details["seed"], tuple(details["success"]), details["losses"], details)
