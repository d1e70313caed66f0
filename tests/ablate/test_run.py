"""Running: what is done is not done again, what fails loses nothing else, and the whole way from store to table."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from seerkit.ablate import launch as launching
from seerkit.ablate import run as module
from seerkit.ablate.job import Job, outcome_file, run_file
from seerkit.ablate.launch import check_launcher, launch
from seerkit.ablate.run import ablate
from seerkit.ablate.study import plan
from seerkit.recipe import RecipeError
from tests.ablate.tiny import tiny_study
from tests.conftest import ROOT

NOTHING = {"name": "nothing", "recipe": ["seer_tabletop"], "store": "no store", "seed": 0}


class Pretend:
    """Stands for the launcher: notes which jobs it was given and makes up their results."""

    def __init__(self, failing: Sequence[str] = (), stop_after: int | None = None) -> None:
        self.failing, self.stop_after = failing, stop_after
        self.given: list[str] = []

    def __call__(self, jobs: Sequence[Job], *_: Any, told: Any, **__: Any) -> dict[str, str]:  # noqa: ANN401
        errors = {}
        for job in jobs:
            if self.stop_after is not None and len(self.given) == self.stop_after:
                raise KeyboardInterrupt
            self.given.append(job.name)
            error = "it broke" if any(job.name.startswith(name) for name in self.failing) else None
            if error:
                errors[job.identity] = error
            else:
                _make_up(job)
            told(job, error)
        return errors


def _make_up(job: Job) -> None:
    last = Path(job.folder) / "checkpoints" / "last"
    last.mkdir(parents=True)
    (last / "training.json").write_text(json.dumps({"update": 1, "total": 1}))
    for one in job.evaluations:
        Path(one.result).parent.mkdir(exist_ok=True)
        made = {"seed": job.seed, "success": [True, False], "losses": {"val_loss_arm": 0.1}}
        Path(one.result).write_text(json.dumps(made))


@pytest.fixture
def unrecorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_record", lambda *_, **__: None)


def go(monkeypatch: pytest.MonkeyPatch, study: Any, out: Path, pretend: Pretend) -> Any:  # noqa: ANN401
    monkeypatch.setattr(module, "launch", pretend)
    return ablate(study, out, say=lambda _: None)


@pytest.mark.usefixtures("unrecorded")
def test_a_stopped_ablation_goes_on_with_the_others_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study = tiny_study(monkeypatch, "seer_table_3a", seeds=2)
    first = Pretend(stop_after=1)
    with pytest.raises(KeyboardInterrupt):
        go(monkeypatch, study, tmp_path, first)
    assert first.given == ["none, seed 0"]
    told = json.loads((tmp_path / "ablation.json").read_text())
    assert [len(row["runs"]) for row in told["rows"]] == [1, 0, 0], "what is done is in the table"
    assert not told["complete"]
    second = Pretend()
    outcome = go(monkeypatch, study, tmp_path, second)
    assert second.given == ["fore, seed 0", "fore_inv, seed 0", "none, seed 1", "fore, seed 1", "fore_inv, seed 1"]
    assert outcome.complete
    third = Pretend()
    assert go(monkeypatch, study, tmp_path, third).complete
    assert third.given == []
    more = tiny_study(monkeypatch, "seer_table_3a", ["none"], seeds=3)
    fourth = Pretend()
    go(monkeypatch, more, tmp_path, fourth)
    assert fourth.given == ["none, seed 2"]


@pytest.mark.usefixtures("unrecorded")
def test_a_failed_row_is_reported_and_tried_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study = tiny_study(monkeypatch, "seer_table_3a")
    outcome = go(monkeypatch, study, tmp_path, Pretend(failing=["fore, "]))
    assert outcome.errors == ["fore, seed 0: it broke"]
    assert [len(row.runs) for row in outcome.rows] == [1, 0, 1]
    assert "it broke" in (tmp_path / "ablation.md").read_text()
    again = Pretend()
    assert go(monkeypatch, study, tmp_path, again).complete
    assert again.given == ["fore, seed 0"]


@pytest.mark.usefixtures("unrecorded")
def test_a_failed_pre_training_fails_only_who_needs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    study = tiny_study(monkeypatch, "seer_table_3b")
    pretend = Pretend(failing=["pre-training of fore, "])
    outcome = go(monkeypatch, study, tmp_path, pretend)
    assert [name for name in pretend.given if not name.startswith("pre")] == ["none, seed 0", "both, seed 0"]
    assert outcome.errors == ["fore, seed 0: its pre-training failed: it broke"]


def test_a_job_that_breaks_says_why_and_the_next_one_runs(tmp_path: Path) -> None:
    jobs = [Job(**NOTHING, key="a", folder=str(tmp_path / "runs" / name)) for name in ("one", "two")]
    ended: list[str] = []
    errors = launch(
        jobs,
        tmp_path,
        launcher="basic",
        workers=2,
        settings=(),
        told=lambda job, error: ended.append(f"{Path(job.folder).name} {error}"),
    )
    assert len(errors) == 2
    assert all("StoreError" in error and "no store" in error for error in errors.values())
    assert sorted(line.split()[0] for line in ended) == ["one", "two"]
    assert "Traceback" in (tmp_path / "jobs" / "runs-one.log").read_text()


@pytest.mark.slow
@pytest.mark.sim
def test_from_nothing_to_a_table_with_a_kill_on_the_way(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One row is killed in mid-training by SIGKILL; the second call finishes it from its checkpoint."""
    study = tiny_study(monkeypatch, "seer_table_3a", ["none", "fore_inv"])
    _, jobs = plan(study, tmp_path)
    module._record(study, jobs, tmp_path, say=lambda _: None, workers=1)
    victim = jobs[0]
    spec = tmp_path / "victim.json"
    spec.write_text(victim.text())
    killing = (
        "import os, signal, sys, itertools; from pathlib import Path; from seerkit.ablate.job import run_file;"
        "from seerkit.train.trainer import Trainer; calls = itertools.count(1); update = Trainer.update;\n"
        "def dying(*a):\n    if next(calls) == 4: os.kill(os.getpid(), signal.SIGKILL)\n    return update(*a)\n"
        "Trainer.update = dying; run_file(Path(sys.argv[1]))"
    )
    done = subprocess.run([sys.executable, "-c", killing, str(spec)], cwd=ROOT, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL
    assert (Path(victim.folder) / "checkpoints" / "last").resolve().name == "000002"
    outcome = ablate(study, tmp_path, say=lambda _: None, workers=2)
    assert outcome.errors == []
    assert outcome.complete
    steps = [json.loads(line)["step"] for line in (Path(victim.folder) / "metrics.jsonl").read_text().splitlines()]
    assert steps == sorted(steps)
    for row in outcome.rows:
        assert len(row.runs[0].success) == 2
        assert row.runs[0].losses["val_loss_arm"] > 0
    assert outcome.rows[0].runs[0].losses.keys() < outcome.rows[1].runs[0].losses.keys(), "foresight has a loss, too"
    assert (tmp_path / "ablation.png").stat().st_size > 5000


def test_an_orphaned_job_asks_itself_to_stop(tmp_path: Path) -> None:
    """A job whose starter was killed does not go on for hours."""
    waits = (
        "import threading, signal, time; from seerkit.ablate import job;"
        "threading.Thread(target=job._follow_parent, daemon=True).start();"
        "print('up', flush=True); time.sleep(60)"
    )
    starter = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {waits!r}]); time.sleep(60)"
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen([sys.executable, "-c", starter], cwd=ROOT, stdout=said)
    deadline = time.monotonic() + 60
    while "up" not in (tmp_path / "said").read_text() and time.monotonic() < deadline:
        time.sleep(0.1)
    (child,) = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
    process.kill()
    process.wait()
    while os.path.exists(f"/proc/{child}") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not os.path.exists(f"/proc/{child}")


@pytest.mark.slow
def test_hydras_launchers_run_jobs(tmp_path: Path) -> None:
    """Two jobs through submitit's local executor: both run, both say how it ended."""
    if importlib.util.find_spec("submitit") is None:
        pytest.skip("needs submitit; install with: pip install -c constraints.txt -e '.[cluster]'")
    jobs = [Job(**NOTHING, key="a", folder=str(tmp_path / "runs" / name)) for name in ("one", "two")]
    last = Path(jobs[0].folder) / "checkpoints" / "last"
    last.mkdir(parents=True)
    (last / "training.json").write_text(json.dumps({"update": 1, "total": 1}))  # nothing left to do: it succeeds
    errors = launch(
        jobs,
        tmp_path,
        launcher="submitit_local",
        workers=2,
        settings=["hydra.launcher.timeout_min=5"],
        told=lambda *_: None,
    )
    assert list(errors) == [jobs[1].identity]
    assert "StoreError" in errors[jobs[1].identity], "the job's own words, not the launcher's"
    assert json.loads(outcome_file(tmp_path / "jobs" / "runs-one.json").read_text()) == {"done": True, "error": None}


def test_a_mistyped_launcher_is_found_before_anything_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recorded: list[object] = []
    monkeypatch.setattr(module, "_record", lambda *given, **_: recorded.append(given))
    study = tiny_study(monkeypatch, "seer_table_3a")
    with pytest.raises(RecipeError, match=r"no launcher 'basik'; did you mean 'basic'\?; installed: \[.*'basic'"):
        ablate(study, tmp_path / "out", say=lambda _: None, launcher="basik")
    assert recorded == []
    assert not (tmp_path / "out").exists()


@pytest.mark.skipif(importlib.util.find_spec("submitit") is None, reason="needs submitit, of seerkit[cluster]")
def test_launchers_of_a_cluster_are_known_by_name() -> None:
    check_launcher("submitit_local")
    with pytest.raises(RecipeError, match=r"no launcher 'submitit_loca'; did you mean 'submitit_local'\?"):
        check_launcher("submitit_loca")
    check_launcher("mine", ["hydra.searchpath=[pkg://mine]"])


def test_hydras_last_word_is_not_taken_for_the_error(tmp_path: Path) -> None:
    log = tmp_path / "hydra.log"
    log.write_text("Could not do it\n\nSet the environment variable HYDRA_FULL_ERROR=1 for a complete stack trace.\n")
    assert launching._last_line(log) == f"Could not do it (see {log})"


@pytest.mark.slow
def test_an_unknown_launcher_is_named(tmp_path: Path) -> None:
    job = Job(**NOTHING, key="a", folder=str(tmp_path / "runs" / "one"))
    errors = launch([job], tmp_path, launcher="submitit_lokal", workers=1, settings=(), told=lambda *_: None)
    assert "submitit_lokal" in errors[job.identity]


def test_a_job_file_is_executed_and_answered(tmp_path: Path) -> None:
    spec = tmp_path / "job.json"
    spec.write_text(Job(**NOTHING, key="a", folder=str(tmp_path / "runs" / "one")).text())
    assert run_file(spec) is False
    assert "no store does not exist" in json.loads(outcome_file(spec).read_text())["error"]
