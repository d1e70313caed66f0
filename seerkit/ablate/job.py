"""One job: train (or go on training) one policy, evaluate it, write what came out. Jobs know of no other job."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerkit.data.files import write_text

if TYPE_CHECKING:
    from seerkit.policy import Policy

LAST = "checkpoints/last"
LOSSES = ("val_loss_arm", "val_loss_gripper", "val_loss_foresight", "val_loss")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Evaluation:
    """One evaluation of a trained policy.

    Args:
        row: which row it belongs to.
        recipe: arguments of `seerkit.load_recipe`; who acts (the ensembler) and where (``eval``) is taken from it.
        recipe_hash: of that recipe.
        result: the file that is written.
    """

    row: str
    recipe: list[str]
    recipe_hash: str
    result: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """One training and its evaluations.

    Args:
        name: for people.
        key: what decides the weights, in eight characters.
        recipe: arguments of `seerkit.load_recipe`.
        store: what to learn from.
        folder: of the run.
        seed: of weights, data and training.
        threads: of torch.
        before: folder of the pre-training whose weights are taken, if any.
        evaluations: what is played afterwards.
    """

    name: str
    key: str
    recipe: list[str]
    store: str
    folder: str
    seed: int
    threads: int = 1
    before: str | None = None
    evaluations: list[Evaluation] = dataclasses.field(default_factory=list)

    @property
    def identity(self) -> str:
        """A name for files."""
        return f"{Path(self.folder).parent.name}-{Path(self.folder).name}"

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        if self.evaluations:
            return all(Path(one.result).is_file() for one in self.evaluations)
        return trained(Path(self.folder)) is not None

    def text(self) -> str:
        """Return the job as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, path: Path) -> Job:
        """Read a job that was written with `text`."""
        fields = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**fields, "evaluations": [Evaluation(**one) for one in fields["evaluations"]]})


def trained(folder: Path) -> dict[str, Any] | None:
    """Return the summary of a run that reached its last update, ``None`` if it has not."""
    file = folder / LAST / "training.json"
    if not file.is_file():
        return None
    summary = json.loads(file.read_text(encoding="utf-8"))
    return summary if summary["update"] == summary["total"] else None


def execute(job: Job) -> None:
    """Do what is left of a job.

    Raises:
        RuntimeError: if the pre-training it needs is not there, or the training was asked to stop.
    """
    import torch

    torch.set_num_threads(job.threads)
    folder = Path(job.folder)
    begin = time.monotonic()
    if trained(folder) is None:
        _train(job, folder)
    seconds = time.monotonic() - begin
    for evaluation in job.evaluations:
        if not Path(evaluation.result).is_file():
            _evaluate(job, evaluation, folder, seconds)


def outcome_file(spec: Path) -> Path:
    """Return where a job says how it ended."""
    return spec.with_suffix(".outcome.json")


def run_file(spec: Path) -> bool:
    """Execute the job in a file and write down beside it how that ended; errors do not leave this function."""
    try:
        execute(Job.read(spec))
    except Exception as error:
        traceback.print_exc()
        said = f"{type(error).__name__}: {error}"
        write_text(outcome_file(spec), json.dumps({"done": False, "error": said}) + "\n")
        return False
    write_text(outcome_file(spec), json.dumps({"done": True, "error": None}) + "\n")
    return True


def _train(job: Job, folder: Path) -> None:
    import torch

    from seerkit.init_from import prepare
    from seerkit.policy import build_policy
    from seerkit.train.loop import train

    torch.manual_seed(job.seed)
    policy = build_policy(*_with_weights(job))
    resume = (folder / LAST).exists()
    carried = None if resume else prepare(policy)
    if carried is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / "init_from.json", json.dumps(carried.as_dict(), indent=1) + "\n")
    result = train(policy, job.store, folder, resume=resume, device="cpu", progress=False)
    if result.interrupted:
        raise RuntimeError(f"stopped after {result.updates} updates; the same command goes on from there")


def _with_weights(job: Job) -> list[str]:
    if job.before is None:
        return job.recipe
    if trained(Path(job.before)) is None:
        raise RuntimeError(f"the pre-training in {job.before} is not finished")
    return [*job.recipe, f"init_from.checkpoint='{Path(job.before) / LAST}'"]


def _evaluate(job: Job, evaluation: Evaluation, folder: Path, seconds: float) -> None:
    from seerkit.eval.evaluate import evaluate, plan_of

    policy = _acting(folder, evaluation)
    plan = plan_of(policy.recipe.config, workers=0, record=0)
    begin = time.monotonic()
    played = evaluate(policy, dataclasses.replace(plan, baselines=()))
    summary = trained(folder) or {}
    rollout = played.rollouts["trained"]
    result = {
        "row": evaluation.row,
        "seed": job.seed,
        "recipe": evaluation.recipe,
        "recipe_hash": evaluation.recipe_hash,
        "run": str(folder.name),
        "pretrained": Path(job.before).name if job.before else None,
        "first_seed": plan.seed,
        "success": [bool(episode.success) for episode in rollout.episodes],
        "steps": [episode.steps for episode in rollout.episodes],
        "losses": {name: summary["metrics"][name] for name in LOSSES if name in summary.get("metrics", {})},
        "windows": summary.get("windows"),
        "seconds": {"training": round(seconds, 1), "evaluation": round(time.monotonic() - begin, 1)},
        "provenance": dict(played.provenance),
    }
    Path(evaluation.result).parent.mkdir(parents=True, exist_ok=True)
    write_text(Path(evaluation.result), json.dumps(result, indent=1, default=str) + "\n")


def _acting(folder: Path, evaluation: Evaluation) -> Policy:
    """Return the trained policy with the ensembler of the evaluation's recipe."""
    from seerkit.policy import Policy, build_policy

    learned = Policy.from_pretrained(folder / LAST)
    policy = build_policy(*evaluation.recipe)
    policy.load_state_dict(learned.state_dict())
    return policy


def _follow_parent() -> None:
    """Ask this process to save and stop once the one that started it is gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        time.sleep(1)
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_follow_parent, daemon=True).start()
    sys.exit(0 if run_file(Path(sys.argv[1])) else 1)
