"""Run jobs: as processes of this machine, or through a Hydra launcher (Slurm, by way of submitit)."""

from __future__ import annotations

import contextlib
import difflib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from pathlib import Path

from seerkit.ablate.job import Job, outcome_file
from seerkit.data.files import write_text
from seerkit.recipe import RecipeError

BASIC = "basic"
TRAILER = "Set the environment variable HYDRA_FULL_ERROR"
"""Begins what Hydra says after every error."""
POLL = 0.2
"""Seconds between two looks at what is running."""

Ended = Generator[tuple[str, str], None, None]
"""Jobs as they end: their identity, and what to say if they left no word themselves."""
Told = Callable[[Job, str | None], None]
"""Called once per job that ended, with what went wrong, or ``None``."""


def check_launcher(launcher: str, settings: Sequence[str] = ()) -> None:
    """Make sure that there is such a launcher, before anything is done for it.

    Args:
        launcher: see `launch`.
        settings: overrides for Hydra; with a ``hydra.searchpath`` among them, only Hydra can say what there is.

    Raises:
        RecipeError: if neither seerkit nor Hydra knows it; names the nearest.
    """
    from hydra import initialize
    from hydra.core.global_hydra import GlobalHydra

    if launcher == BASIC or any("hydra.searchpath" in setting for setting in settings):
        return
    caller = GlobalHydra.instance()
    saved, caller.hydra = caller.hydra, None
    try:
        with initialize(version_base="1.3", config_path=None):
            known = sorted({BASIC, *GlobalHydra.instance().config_loader().get_group_options("hydra/launcher")})
    finally:
        GlobalHydra.instance().hydra = saved
    if launcher not in known:
        near = difflib.get_close_matches(launcher, known, n=1, cutoff=0.5)
        did_you = f"; did you mean {near[0]!r}?" if near else ""
        raise RecipeError(
            f"no launcher {launcher!r}{did_you}; installed: {known}; those of a cluster come with seerkit[cluster]"
        )


def launch(
    jobs: Sequence[Job], out: Path, *, launcher: str, workers: int, settings: Sequence[str], told: Told
) -> dict[str, str]:
    """Run jobs and wait for all of them; one that fails does not keep the others from running.

    Args:
        jobs: what to do; nothing in them may depend on another of them.
        out: the ablation's folder; job files, outcomes and logs go to ``jobs/``.
        launcher: ``"basic"``, or the name of a Hydra launcher such as ``"submitit_slurm"``.
        workers: how many jobs of this machine run at once; launchers of a cluster decide for themselves.
        settings: overrides for Hydra, such as ``hydra.launcher.partition=gpu``.
        told: told about every job that ended.

    Returns:
        What went wrong, by `Job.identity`; empty if nothing did.
    """
    if not jobs:
        return {}
    specs = {job.identity: _write(job, out / "jobs") for job in jobs}
    names = {job.identity: job for job in jobs}
    if launcher == BASIC:
        ended = _processes(specs, names, workers=workers)
    else:
        ended = _hydra(specs, out, launcher=launcher, workers=workers, settings=settings)
    errors: dict[str, str] = {}
    with contextlib.closing(ended):
        for identity, otherwise in ended:
            error = _error(specs[identity], otherwise)
            if error:
                errors[identity] = error
            told(names[identity], error)
    return errors


def _write(job: Job, folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    spec = folder / f"{job.identity}.json"
    outcome_file(spec).unlink(missing_ok=True)
    write_text(spec, job.text())
    return spec


def _error(spec: Path, otherwise: str) -> str | None:
    """Return what the job says went wrong; what its launcher says, if it left no word itself."""
    if not outcome_file(spec).is_file():
        return otherwise
    return json.loads(outcome_file(spec).read_text(encoding="utf-8"))["error"]


def _processes(specs: dict[str, Path], names: dict[str, Job], *, workers: int) -> Ended:
    """Run every job in a process of its own, ``workers`` at once; yield jobs as they end."""
    waiting, running = [*specs], dict[str, subprocess.Popen[bytes]]()
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                identity = waiting.pop(0)
                running[identity] = _start(specs[identity], threads=names[identity].threads)
            ended = [identity for identity, process in running.items() if process.poll() is not None]
            for identity in ended:
                status = running.pop(identity).returncode
                yield identity, f"the process ended with status {status}; see {specs[identity].with_suffix('.log')}"
            if not ended:
                time.sleep(POLL)
    finally:
        _end(list(running.values()))


def _start(spec: Path, *, threads: int) -> subprocess.Popen[bytes]:
    with spec.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "seerkit.ablate.job", str(spec)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=_environment(threads),
        )


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to save and stop; end those that do not."""
    for process in processes:
        process.terminate()
    for process in processes:
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _hydra(specs: dict[str, Path], out: Path, *, launcher: str, workers: int, settings: Sequence[str]) -> Ended:
    """Let one Hydra application sweep over the jobs; yield jobs as their outcomes appear, the rest when it ends."""
    order = out / "jobs" / "order.json"
    write_text(order, json.dumps([str(spec.resolve()) for spec in specs.values()]) + "\n")
    log = out / "jobs" / "hydra.log"
    numbers = ",".join(map(str, range(len(specs))))
    local = [f"hydra.sweeper.max_batch_size={workers}"] if launcher.endswith("_local") else []
    sweep = [f"order='{order.resolve()}'", f"job={numbers}", f"hydra/launcher={launcher}"]
    places = [f"hydra.sweep.dir='{(out / 'hydra').resolve()}'"]
    command = [sys.executable, "-m", "seerkit.ablate.hydra_app", "--multirun", *sweep, *places, *local, *settings]
    waiting = dict(specs)
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, env=_environment(1))
    try:
        while waiting:
            over = process.poll() is not None
            for identity in [name for name, spec in waiting.items() if over or outcome_file(spec).is_file()]:
                del waiting[identity]
                yield identity, f"launcher {launcher!r} ended with status {process.poll()}: {_last_line(log)}"
            time.sleep(0 if over else POLL)
        process.wait()
    finally:
        _end([process] if process.poll() is None else [])


def _last_line(log: Path) -> str:
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith(TRAILER)]
    return f"{lines[-1] if lines else 'it said nothing'} (see {log})"


def _environment(threads: int) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
