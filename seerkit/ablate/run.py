"""Run an ablation: record, pre-train, train, evaluate, and put it into one table; what is done is not done again."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path

from seerkit.ablate.job import Job
from seerkit.ablate.launch import BASIC, check_launcher, launch
from seerkit.ablate.results import Outcome, gather
from seerkit.ablate.study import Study, plan

Say = Callable[[str], None]


def ablate(
    study: Study,
    out: Path,
    *,
    say: Say,
    launcher: str = BASIC,
    workers: int | None = None,
    threads: int = 1,
    settings: Sequence[str] = (),
) -> Outcome:
    """Run a study into the folder ``out``, or finish what was begun there.

    ```
    out/
      ablation.json  ablation.md  ablation.png
      results/    one file per row and seed
      runs/       trainings, each a folder as `seerkit train` writes it
      pretrain/   pre-trainings
      stores/     recordings
      jobs/       what was started, how it ended, logs
    ```

    Args:
        study: what to do.
        out: the folder.
        say: told in a sentence what happens.
        launcher: see `seerkit.ablate.launch.launch`.
        workers: jobs at once; one per core if not given.
        threads: torch threads per job.
        settings: overrides for Hydra's launchers.

    Raises:
        RecipeError: if there is no such launcher; nothing is written then.
    """
    check_launcher(launcher, settings)
    out.mkdir(parents=True, exist_ok=True)
    workers = workers or max(1, len(os.sched_getaffinity(0)) // threads)
    before, trainings = plan(study, out, threads=threads)
    errors: dict[str, str] = {}
    failed: dict[str, str] = {}
    go = {"launcher": launcher, "workers": workers, "settings": settings}
    try:
        _record(study, before + trainings, out, say=say, workers=workers)
        for wave in (before, trainings):
            open_jobs = [job for job in wave if not job.finished]
            ready = [job for job in open_jobs if job.before not in failed]
            for job in open_jobs:
                if job.before in failed:
                    errors[job.identity] = f"its pre-training failed: {failed[job.before]}"
            say(f"{len(wave) - len(open_jobs)} of {len(wave)} jobs done before, {len(ready)} to do") if wave else None
            told = _Told(say, len(ready))
            errors |= launch(ready, out, told=told, **go)
            failed = {job.folder: errors[job.identity] for job in wave if job.identity in errors}
    finally:
        outcome = gather(study, trainings, errors)
        outcome.write(out)
    return outcome


class _Told:
    """Say how every job ended."""

    def __init__(self, say: Say, total: int) -> None:
        self._say, self._total, self._done = say, total, 0

    def __call__(self, job: Job, error: str | None) -> None:
        self._done += 1
        self._say(f"[{self._done}/{self._total}] {job.name}: {f'failed: {error}' if error else 'done'}")


def _record(study: Study, jobs: Sequence[Job], out: Path, *, say: Say, workers: int) -> None:
    from seerkit.collect import collect

    needed = {job.store for job in jobs if not job.finished}
    for name, gathering in study.stores().items():
        path = out / "stores" / f"{name}-{gathering.key}"
        if path.exists() or str(path) not in needed:
            continue
        say(f"recording {gathering.episodes} episodes of {gathering.task} ({name})")
        collect(
            gathering.task,
            path,
            episodes=gathering.episodes,
            seed=gathering.seed,
            workers=workers,
            recording=gathering.recording,
            env_options={"image_size": gathering.image_size},
        )
