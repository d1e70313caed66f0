"""A run's log: ``metrics.jsonl``, TensorBoard, and a progress bar."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from seerkit.data.files import write_text

METRICS = "metrics.jsonl"


class MetricLog:
    """Append measurements to ``<out>/metrics.jsonl``, to TensorBoard's files in ``<out>/tensorboard`` and to W&B.

    Each line is one JSON object with ``step``, the number of updates done. A resumed run drops the lines beyond its
    starting point first, so every step is told once.

    Args:
        out: the run's folder.
        start: the update the run starts from.
        wandb: a project of Weights & Biases to log to, too; see `WandbRun`.
        config: what a W&B run shows as its configuration.
    """

    def __init__(
        self, out: Path, *, start: int, wandb: str | None = None, config: Mapping[str, Any] | None = None
    ) -> None:
        from torch.utils.tensorboard import SummaryWriter

        out.mkdir(parents=True, exist_ok=True)
        self._wandb = None if wandb is None else WandbRun(out, project=wandb, config=config or {})
        path = out / METRICS
        if path.exists():
            lines = read_metrics(path)
            write_text(path, "".join(json.dumps(line) + "\n" for line in lines if line["step"] <= start))
        self._file = path.open("a", encoding="utf-8")
        self._board = SummaryWriter(str(out / "tensorboard"), purge_step=start + 1)

    def __enter__(self) -> MetricLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self._board.close()
        if self._wandb is not None:
            self._wandb.close(failed=error is not None)

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line; ``val_*`` and the rest form two groups in TensorBoard and W&B."""
        self._file.write(json.dumps({"step": step, **{name: _short(value) for name, value in values.items()}}) + "\n")
        self._file.flush()
        grouped = {_grouped(name): value for name, value in values.items()}
        for name, value in grouped.items():
            self._board.add_scalar(name, value, step)
        if self._wandb is not None:
            self._wandb.write(step, grouped)


class WandbRun:
    """One run in a project of Weights & Biases; a resumed training goes on in the same one.

    Without a network say ``WANDB_MODE=offline`` and upload later with ``wandb sync``, as with any program that uses it.

    Args:
        out: the run's folder: W&B's files go there, its name is the run's, and ``wandb.id`` remembers which it was.
        project: the project.
        config: what the run shows as its configuration.

    Raises:
        ModuleNotFoundError: wandb is not installed.
    """

    def __init__(self, out: Path, *, project: str, config: Mapping[str, Any]) -> None:
        try:
            wandb: Any = import_module("wandb")
        except ModuleNotFoundError as error:
            if error.name != "wandb":
                raise
            raise ModuleNotFoundError(
                f"train.wandb={project} needs wandb: pip install 'seerkit[wandb]', or say train.wandb=null"
            ) from error
        remembered = out / "wandb.id"
        known = remembered.read_text(encoding="utf-8").strip() if remembered.exists() else None
        self._run: Any = wandb.init(
            project=project, dir=str(out), name=out.resolve().name, id=known, resume="allow", config=dict(config)
        )
        self._run.define_metric("*", step_metric="update")
        write_text(remembered, f"{self._run.id}\n")

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Log values over the number of updates done."""
        self._run.log({**values, "update": update})

    def close(self, *, failed: bool) -> None:
        """Finish the run, so that everything is written."""
        self._run.finish(exit_code=int(failed))


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Read ``metrics.jsonl``; a last line that a killed run left unfinished is ignored."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            lines.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return lines


class Bar:
    """Show update, loss, windows per second and the time left; nothing when not wanted.

    Args:
        total: updates of the whole run.
        start: updates done already.
        shown: whether to draw at all.
    """

    def __init__(self, *, total: int, start: int, shown: bool) -> None:
        columns = ("[bold]train", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
        times = (TimeElapsedColumn(), TextColumn("ETA"), TimeRemainingColumn())
        self._progress = Progress(*columns, *times, console=Console(stderr=True), disable=not shown, transient=False)
        self._task = self._progress.add_task("train", total=total, completed=start, note="")

    def __enter__(self) -> Bar:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def update(self, done: int, values: Mapping[str, float] | None = None) -> None:
        """Move the bar, and renew its note if there are new values."""
        self._progress.update(self._task, completed=done)
        if values:
            note = f"loss {values['loss']:.4f}  {values['windows_per_second']:.0f} windows/s"
            self._progress.update(self._task, note=note)


class Clock:
    """Measure windows per second between two looks."""

    def __init__(self) -> None:
        self._since = time.perf_counter()

    def rate(self, windows: int) -> float:
        """Return ``windows`` per second since the last call or `restart`, and start anew."""
        now = time.perf_counter()
        rate = windows / max(now - self._since, 1e-9)
        self._since = now
        return rate

    def restart(self) -> None:
        """Leave out the time until now (validation, saving)."""
        self._since = time.perf_counter()


def _grouped(name: str) -> str:
    return f"val/{name.removeprefix('val_')}" if name.startswith("val_") else f"train/{name}"


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
