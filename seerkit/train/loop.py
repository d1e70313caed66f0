"""The training loop: batches in, checkpoints and a log out, resumable at every checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seerkit.data.formats import open_source
from seerkit.data.sampler import Sampler
from seerkit.data.source import Source, fingerprint
from seerkit.train.checkpoint import Checkpoints
from seerkit.train.logging import Bar, Clock, MetricLog
from seerkit.train.parallel import World, join
from seerkit.train.prefetch import Prefetch
from seerkit.train.settings import Settings
from seerkit.train.state import Spare
from seerkit.train.stop import StopRequest
from seerkit.train.trainer import Trainer, TrainingError
from seerkit.train.validate import Validation
from seerkit.train.windows import mixed_windows

if TYPE_CHECKING:
    from seerkit.policy import Policy


VALIDATION_ROWS = 64
"""Windows per pass of a validation, at most: a number of its own, so that metrics do not depend on the processes."""


@dataclasses.dataclass(frozen=True)
class Result:
    """Say how a run ended.

    Args:
        updates: updates done.
        checkpoint: the last checkpoint.
        metrics: the newest value of every metric.
        interrupted: whether it was asked to stop (SIGTERM, Ctrl-C) before its end; it can be resumed.
    """

    updates: int
    checkpoint: Path
    metrics: dict[str, float]
    interrupted: bool


def train(
    policy: Policy | nn.Module,
    store: Source | str | Path | Sequence[Source | str | Path],
    out: str | Path,
    *,
    weights: Sequence[float] | None = None,
    settings: Settings | None = None,
    resume: bool = False,
    device: str | torch.device | None = None,
    progress: bool = True,
) -> Result:
    """Train a policy on a store.

    A run that was stopped, or killed at any moment, continues with ``resume=True`` from its last checkpoint and ends
    with the same weights, bit for bit, as if it had never stopped (same machine, same number of threads and processes).

    Started by ``torchrun``, every process calls this function with the same arguments, and together they do what one
    would have done: each takes its slice of every batch, and the first one writes, logs and draws. See
    `seerkit.train.parallel`. With ``parallel="fsdp"`` the policy stays split at the end; load the checkpoint to act.

    Args:
        policy: what to train; changed in place. Ends with the trained weights, averaged if the settings ask for it.
        store: recorded episodes, or where they are (a store, or a folder of another format that is read in place); or
            several of these, to be mixed (`seerkit.data.mixture.Mixture`).
        out: the run's folder: ``checkpoints/``, ``metrics.jsonl``, ``tensorboard/``.
        weights: share of each of several data sets among the windows drawn; in proportion to their sizes if not given.
        settings: hyper-parameters; the policy's own recipe decides if not given.
        resume: continue the run in ``out``; without it, ``out`` must not hold checkpoints.
        device: where to train; an accelerator if there is one.
        progress: whether to draw a progress bar (on stderr).

    Raises:
        ParallelError: the processes were not started as they should have been.
        TrainingError: the loss is not finite, ``out`` does not fit ``resume``, or the recipe's ``init_from`` names a
            checkpoint from which nothing was carried over.
        StoreError: the store does not hold what the policy needs.
    """
    given = [store] if isinstance(store, Source | str | Path) else store
    sources = [one if isinstance(one, Source) else open_source(one) for one in given]
    config: dict[str, Any] = policy.recipe.config  # pyright: ignore[reportAssignmentType, reportAttributeAccessIssue]
    settings = settings or Settings.read(config["train"])
    world = join(device)
    run = _Run(policy, sources, weights, settings=settings, out=Path(out), world=world)
    with contextlib.ExitStack() as stack:
        stack.callback(run.trainer.close)
        stack.enter_context(run.checkpoints)
        run.begin(resume=resume)
        done, total = run.trainer.done, run.trainer.total
        log = stack.enter_context(run.open_log()) if world.first else None
        stop = stack.enter_context(StopRequest(world))
        bar = stack.enter_context(Bar(total=total, start=done, shown=progress and world.first))
        interrupted = run.go(log, bar, stop)
    return run.result(interrupted=interrupted)


class _Run:
    """Everything one call of `train` works with."""

    def __init__(
        self,
        policy: Policy | nn.Module,
        sources: Sequence[Source],
        weights: Sequence[float] | None,
        *,
        settings: Settings,
        out: Path,
        world: World,
    ) -> None:
        self.windows, held, sentences = mixed_windows(policy, sources, settings, weights)
        self.settings, self.sources, self.out, self.world = settings, sources, out, world
        self.passes = settings.passes(world.size)
        rows = settings.rows(settings.batch_size // world.size // self.passes)
        place = {"rank": world.rank, "world": world.size}
        self.sampler = Sampler(size=len(self.windows), batch_size=rows, seed=settings.seed, **place)
        total, warmup = settings.length(len(self.windows))
        spare = Spare(policy, kept=world.first)
        self.trainer = Trainer(policy, settings, total=total, warmup=warmup, world=world)
        self.checkpoints = Checkpoints(out, keep=settings.keep, spare=spare, world=world)
        self.validation = None
        if held is not None:
            limit, rows = settings.validation_windows, min(settings.micro_batch or settings.batch_size, VALIDATION_ROWS)
            self.validation = Validation(held, limit=limit, batch_size=rows, world=world, instructions=sentences)
        self.best = math.inf
        self.metrics: dict[str, float] = {}
        self._sums: list[dict[str, Tensor]] = []

    def begin(self, *, resume: bool) -> None:
        """Load the last checkpoint, or make sure that there is none."""
        last = self.checkpoints.last()
        if not resume and last is not None:
            raise TrainingError(f"{last} exists already; resume this run or choose another folder")
        if last is None:
            _check_begun(self.trainer.policy)
        if resume and last is not None:
            summary = self.checkpoints.load(self.trainer)
            if summary["windows"] != len(self.windows):
                raise TrainingError(f"the run saw {summary['windows']} windows, the store now has {len(self.windows)}")
            if summary.get("drawn") != (drawn := getattr(self.windows, "drawn", None)):
                raise TrainingError(f"the run drew {summary.get('drawn')} windows of its data sets, now {drawn}")
            if (seen := summary.get("data")) not in (None, self.data):
                paths = ", ".join(str(source.path) for source in self.sources)
                raise TrainingError(f"the run saw other data ({seen}) than {paths} holds now ({self.data})")
            self.best = math.inf if summary["best"] is None else summary["best"]
            self.metrics = dict(summary["metrics"])

    def open_log(self) -> MetricLog:
        """Return the log of the whole run."""
        shown = {"recipe": self.trainer.policy.recipe.config, "train": dataclasses.asdict(self.settings)}
        return MetricLog(self.out, start=self.trainer.done, wandb=self.settings.wandb, config=shown)

    def go(self, log: MetricLog | None, bar: Bar, stop: StopRequest) -> bool:
        """Update until the end or until asked to stop; say whether it was the latter."""
        trainer, passes = self.trainer, self.passes
        clock = Clock()
        span = {"first": trainer.done * passes, "last": trainer.total * passes}
        with Prefetch(self.windows, self.sampler, **span, device=trainer.device) as batches:
            for group in _groups(iter(batches), passes):
                lr = trainer.lr
                self._sums.append(trainer.update(group))
                bar.update(trainer.done)
                stopping = stop.agreed()
                ends = stopping or trainer.done == trainer.total
                if ends or trainer.done % self.settings.log_every == 0:
                    bar.update(trainer.done, self._log(log, clock, lr))
                if self._validate_and_save(log, stopping=stopping):
                    clock.restart()
                if stopping:
                    break
        return trainer.done < trainer.total

    def result(self, *, interrupted: bool) -> Result:
        """Leave the averaged weights in the policy and say how it went."""
        last = self.checkpoints.last()
        if last is None:
            raise TrainingError(f"no checkpoint in {self.checkpoints.folder}")
        if self.trainer.ema is not None:
            self.trainer.ema.copy_to_module()
        return Result(self.trainer.done, last, dict(self.metrics), interrupted)

    def _log(self, log: MetricLog | None, clock: Clock, lr: float) -> dict[str, float]:
        means, done = self._means(self._sums), self.trainer.done
        _refuse(means, update=done)
        rate = clock.rate(len(self._sums) * self.settings.batch_size)
        values = {
            "lr": lr,
            **means,
            "windows_per_second": rate,
            "epoch": done * self.settings.batch_size / len(self.windows),
        }
        if log is not None:
            log.write(done, values)
        self.metrics |= values
        self._sums.clear()
        return values

    def _means(self, sums: Sequence[dict[str, Tensor]]) -> dict[str, float]:
        """Average over updates and processes; the only place where the device is asked for a loss."""
        rows = torch.stack([torch.stack([each[name] for each in sums]).mean() for name in sums[0]])
        return dict(zip(sums[0], (self.world.sum(rows) / self.world.size).tolist(), strict=True))

    def _validate_and_save(self, log: MetricLog | None, *, stopping: bool) -> bool:
        """Do either if it is time. Who is asked to stop has little of it, and saves alone."""
        done, tenth = self.trainer.done, math.ceil(self.trainer.total / 10)
        ends, measured, improved = done == self.trainer.total, False, False
        due = ends or (not stopping and done % (self.settings.validate_every or tenth) == 0)
        if self.validation is not None and due:
            with self.trainer.averaged(), self.trainer.replicas.gathered(), self.trainer.precision():
                values = self.validation.measure(self.trainer.policy)
            if log is not None:
                log.write(done, values)
            self.metrics |= values
            measured, improved = True, values["val_loss"] < self.best
            self.best = min(self.best, values["val_loss"])
        if ends or stopping or improved or done % (self.settings.save_every or tenth) == 0:
            self._check_finite()
            self.checkpoints.save(self.trainer, summary=self._summary(), best=improved)
            return True
        return measured

    def _check_finite(self) -> None:
        """Keep weights that an infinite gradient spoiled out of a checkpoint, also where the loss was still finite."""
        if self._sums:
            _refuse(self._means(self._sums[-1:]), update=self.trainer.done)

    @functools.cached_property
    def data(self) -> list[str]:
        """Short digests of the data sets, wherever they lie."""
        return [fingerprint(source) for source in self.sources]

    def _summary(self) -> dict[str, Any]:
        return {
            "update": self.trainer.done,
            "total": self.trainer.total,
            "best": None if math.isinf(self.best) else self.best,
            "metrics": self.metrics,
            "settings": dataclasses.asdict(self.settings),
            "store": ", ".join(str(source.path) for source in self.sources),
            "data": self.data,
            "windows": len(self.windows),
            "drawn": getattr(self.windows, "drawn", None),
            "conventions": dataclasses.asdict(self.sources[0].conventions),
        }


def _refuse(means: Mapping[str, float], *, update: int) -> None:
    bad = {name: value for name, value in means.items() if not math.isfinite(value)}
    if bad:
        raise TrainingError(f"update {update}: expected finite numbers, got {bad}; try a lower learning rate")


def _check_begun(policy: nn.Module) -> None:
    """Refuse to begin from initial weights although the recipe names others."""
    recipe: Any = policy.recipe
    named = (recipe.config.get("init_from") or {}).get("checkpoint")
    if not named or getattr(policy, "begun", None) is not None:
        return
    if getattr(policy, "checkpoint", None) is None or recipe.changed("init_from"):
        raise TrainingError(
            f"recipe {recipe.name!r} begins from init_from.checkpoint={named}, but nothing was carried over: call "
            "seerkit.init_from.prepare(policy) before train(policy, ...), or build it with init_from.checkpoint=null"
        )


def _groups(batches: Iterator[Any], size: int) -> Iterator[list[Any]]:
    group = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []
