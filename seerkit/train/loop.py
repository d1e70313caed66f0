"""The training loop: batches in, checkpoints and a log out, resumable at every checkpoint."""

from __future__ import annotations

import dataclasses
import math
import signal
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from seerkit.data.formats import open_source
from seerkit.data.sampler import Sampler
from seerkit.data.source import Source
from seerkit.train.checkpoint import Checkpoints
from seerkit.train.logging import Bar, Clock, MetricLog
from seerkit.train.prefetch import Prefetch
from seerkit.train.settings import Settings
from seerkit.train.trainer import Trainer, TrainingError
from seerkit.train.validate import Validation
from seerkit.train.windows import mixed_windows

if TYPE_CHECKING:
    from seerkit.policy import Policy


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
    with the same weights, bit for bit, as if it had never stopped (same machine, same number of threads).

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
        TrainingError: the loss is not finite, ``out`` does not fit ``resume``, or the recipe's ``init_from`` names a
            checkpoint from which nothing was carried over.
        StoreError: the store does not hold what the policy needs.
    """
    given = [store] if isinstance(store, Source | str | Path) else store
    sources = [one if isinstance(one, Source) else open_source(one) for one in given]
    config: dict[str, Any] = policy.recipe.config  # pyright: ignore[reportAssignmentType, reportAttributeAccessIssue]
    settings = settings or Settings.read(config["train"])
    run = _Run(policy, sources, weights, settings=settings, out=Path(out), device=_device(device))
    run.begin(resume=resume)
    done, total = run.trainer.done, run.trainer.total
    with (
        MetricLog(run.out, start=done) as log,
        _StopRequest() as stop,
        Bar(total=total, start=done, shown=progress) as bar,
    ):
        run.go(log, bar, stop)
    return run.result(interrupted=stop.asked and run.trainer.done < total)


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
        device: torch.device,
    ) -> None:
        self.windows, held, sentences = mixed_windows(policy, sources, settings, weights)
        self.settings, self.sources, self.out = settings, sources, out
        micro = settings.micro_batch or settings.batch_size
        self.sampler = Sampler(size=len(self.windows), batch_size=micro, seed=settings.seed)
        total, warmup = settings.length(len(self.windows))
        self.trainer = Trainer(policy, settings, total=total, warmup=warmup, device=device)
        self.checkpoints = Checkpoints(out, keep=settings.keep)
        self.validation = None
        if held is not None:
            limit = settings.validation_windows
            self.validation = Validation(held, limit=limit, batch_size=micro, device=device, instructions=sentences)
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
            self.best = math.inf if summary["best"] is None else summary["best"]
            self.metrics = dict(summary["metrics"])

    def go(self, log: MetricLog, bar: Bar, stop: _StopRequest) -> None:
        """Update until the end or until asked to stop."""
        trainer, passes = self.trainer, self.settings.accumulation
        clock = Clock()
        span = {"first": trainer.done * passes, "last": trainer.total * passes}
        with Prefetch(self.windows, self.sampler, **span, device=trainer.device) as batches:
            for group in _groups(iter(batches), passes):
                lr = trainer.lr
                self._sums.append(trainer.update(group))
                bar.update(trainer.done)
                ends = stop.asked or trainer.done == trainer.total
                if ends or trainer.done % self.settings.log_every == 0:
                    bar.update(trainer.done, self._log(log, clock, lr))
                if self._validate_and_save(log, ends=ends):
                    clock.restart()
                if stop.asked:
                    break

    def result(self, *, interrupted: bool) -> Result:
        """Leave the averaged weights in the policy and say how it went."""
        last = self.checkpoints.last()
        if last is None:
            raise TrainingError(f"no checkpoint in {self.checkpoints.folder}")
        if self.trainer.ema is not None:
            self.trainer.ema.copy_to_module()
        return Result(self.trainer.done, last, dict(self.metrics), interrupted)

    def _log(self, log: MetricLog, clock: Clock, lr: float) -> dict[str, float]:
        means = {name: float(torch.stack([sums[name] for sums in self._sums]).mean()) for name in self._sums[0]}
        done = self.trainer.done
        bad = {name: value for name, value in means.items() if not math.isfinite(value)}
        if bad:
            raise TrainingError(f"update {done}: expected finite numbers, got {bad}; try a lower learning rate")
        rate = clock.rate(len(self._sums) * self.settings.batch_size)
        values = {
            "lr": lr,
            **means,
            "windows_per_second": rate,
            "epoch": done * self.settings.batch_size / len(self.windows),
        }
        log.write(done, values)
        self.metrics |= values
        self._sums.clear()
        return values

    def _validate_and_save(self, log: MetricLog, *, ends: bool) -> bool:
        done, tenth = self.trainer.done, math.ceil(self.trainer.total / 10)
        measured = improved = False
        if self.validation is not None and (ends or done % (self.settings.validate_every or tenth) == 0):
            with self.trainer.averaged(), self.trainer.precision():
                values = self.validation.measure(self.trainer.policy)
            log.write(done, values)
            self.metrics |= values
            measured, improved = True, values["val_loss"] < self.best
            self.best = min(self.best, values["val_loss"])
        if ends or improved or done % (self.settings.save_every or tenth) == 0:
            self._check_finite()
            self.checkpoints.save(self.trainer, summary=self._summary(), best=improved)
            return True
        return measured

    def _check_finite(self) -> None:
        if self._sums and not math.isfinite(float(self._sums[-1]["loss"])):
            raise TrainingError(f"update {self.trainer.done}: the loss is {float(self._sums[-1]['loss'])}")

    def _summary(self) -> dict[str, Any]:
        return {
            "update": self.trainer.done,
            "total": self.trainer.total,
            "best": None if math.isinf(self.best) else self.best,
            "metrics": self.metrics,
            "settings": dataclasses.asdict(self.settings),
            "store": ", ".join(str(source.path) for source in self.sources),
            "windows": len(self.windows),
            "drawn": getattr(self.windows, "drawn", None),
            "conventions": dataclasses.asdict(self.sources[0].conventions),
        }


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


class _StopRequest:
    """Turn SIGTERM and Ctrl-C into a wish to save and stop; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (Python's signature)
        self.asked = True
        signal.signal(number, self._before[number])


def _groups(batches: Iterator[Any], size: int) -> Iterator[list[Any]]:
    group = []
    for batch in batches:
        group.append(batch)
        if len(group) == size:
            yield group
            group = []


def _device(wanted: str | torch.device | None) -> torch.device:
    if wanted is not None:
        return torch.device(wanted)
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
