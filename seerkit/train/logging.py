"""A run's log: ``metrics.jsonl``, TensorBoard, and a progress bar."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from seerkit.data.files import write_text

METRICS = "metrics.jsonl"


class MetricLog:
    """Append measurements to ``<out>/metrics.jsonl`` and to TensorBoard's files in ``<out>/tensorboard``.

    Each line is one JSON object with ``step``, the number of updates done. A resumed run drops the lines beyond its
    starting point first, so every step is told once.

    Args:
        out: the run's folder.
        start: the update the run starts from.
    """

    def __init__(self, out: Path, *, start: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        out.mkdir(parents=True, exist_ok=True)
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

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Write one line; ``val_*`` and the rest form two groups in TensorBoard."""
        self._file.write(json.dumps({"step": step, **{name: _short(value) for name, value in values.items()}}) + "\n")
        self._file.flush()
        for name, value in values.items():
            group = "val" if name.startswith("val_") else "train"
            self._board.add_scalar(f"{group}/{name.removeprefix('val_')}", value, step)


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


def _short(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None
