"""The command `seerkit eval`."""

from __future__ import annotations

import os
import signal
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from seerkit.cli_compare import show_comparison
from seerkit.cli_options import read_options

if TYPE_CHECKING:
    from seerkit.eval.evaluate import Plan
    from seerkit.eval.report import Report
    from seerkit.eval.statistics import Interval

console = Console()
MEMORY = 3600.0
"""Seconds of progress from which the remaining time is estimated: a sequence of CALVIN may take minutes."""
STOPPED = 130
"""Exit status of a command that was interrupted."""


def evaluate(  # noqa: PLR0913 - options of a command, each with its own name on the command line
    checkpoint: Annotated[
        Path | None, typer.Argument(help="the folder of a checkpoint, or user/repo on the Hub", show_default=False)
    ] = None,
    env: Annotated[list[str] | None, typer.Option(help="tasks or gymnasium ids; the recipe's by default")] = None,
    episodes: Annotated[int | None, typer.Option(min=1, help="per environment")] = None,
    sequences: Annotated[int | None, typer.Option(min=1, help="on CALVIN: the first of the benchmark's 1000")] = None,
    out: Annotated[
        Path | None, typer.Option(help="where the report goes; by default into the run, else the checkpoint")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="first layout; from 1,000,000 on nobody has trained on it")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="simulator processes; one per core by default")] = None,
    record: Annotated[int | None, typer.Option(min=0, help="episodes to film; on CALVIN their first task")] = None,
    horizon: Annotated[int | None, typer.Option(min=1, help="steps of an episode; on CALVIN of a task")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="of the environment, such as renderer=egl or button=1431a46", metavar="K=V")
    ] = None,
    sentences: Annotated[Path | None, typer.Option(help="on CALVIN: a JSON of other instructions")] = None,
    apart: Annotated[
        bool | None,
        typer.Option("--apart/--together", help="on CALVIN: act for one environment at a time; by default on a CPU"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="where the policy acts; an accelerator if there is one")] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="torch threads; 1 suits small policies beside simulators")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="on CALVIN: forget what was played before")] = False,
    compare: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="two report.json, or folders with one: name what differs, test the difference", metavar="A B"
        ),
    ] = None,
) -> None:
    """Roll a policy out beside the expert and chance, write report.json and report.html; or compare two reports.

    On CALVIN it plays sequences of five tasks, keeps each as it ends, and goes on where it was stopped.
    """
    if compare is not None and checkpoint is None:
        show_comparison(*compare, console)
        return
    if checkpoint is None or compare is not None:
        raise ValueError("expected a checkpoint to evaluate, or --compare A B to compare two reports; one of the two")
    if episodes is not None and sequences is not None:
        raise ValueError("expected --episodes or --sequences (CALVIN's episodes), given both")
    import torch

    from seerkit.eval.evaluate import plan_of
    from seerkit.policy import Policy

    if threads is not None:
        torch.set_num_threads(threads)
    plan = plan_of(
        Policy.from_pretrained(checkpoint).recipe.config,
        env=env,
        episodes=episodes or sequences,
        seed=seed,
        workers=workers or len(os.sched_getaffinity(0)),
        record=record,
        horizon=horizon,
        options=read_options(option) or None,
        sentences=_read_sentences(sentences),
        apart=apart,
    )
    of_calvin = {"--sequences": sequences is not None, "--apart or --together": apart is not None, "--fresh": fresh}
    _refuse_misplaced(plan, [name for name, given in of_calvin.items() if given], seed)
    folder = out or report_of(checkpoint)
    where = device or ("cuda" if torch.cuda.is_available() else None)
    sum_up(_play(checkpoint, plan, folder, where, fresh=fresh), folder, console)


def _refuse_misplaced(plan: Plan, of_calvin: list[str], seed: int | None) -> None:
    """Refuse options that would change nothing where they are given."""
    if of_calvin and not plan.in_a_row:
        names = [scene.name for scene in plan.scenes]
        raise ValueError(f"expected {' and '.join(of_calvin)} with CALVIN, given for {names}")
    if plan.in_a_row and seed is not None:
        raise ValueError(f"expected no --seed on CALVIN, where a sequence's number is its seed; given {seed}")


def _play(checkpoint: Path, plan: Plan, folder: Path, device: str | None, *, fresh: bool) -> Report:
    """Play with a bar; on CALVIN, say how to go on if it is stopped."""
    from seerkit.eval.evaluate import evaluate as play

    if not plan.in_a_row:
        with Bars() as bars:
            return play(str(checkpoint), plan, out=folder, device=device, progress=bars.told)
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with Bars(unit="tasks in a row") as bars:
            return play(str(checkpoint), plan, out=folder, device=device, fresh=fresh, progress=bars.told)
    except KeyboardInterrupt:
        told = f"stopped; the same command goes on: what was played is in [bold]{escape(str(folder))}[/]"
        console.print(told, soft_wrap=True)
        raise typer.Exit(STOPPED) from None
    finally:
        signal.signal(signal.SIGTERM, previous)


def _read_sentences(path: Path | None) -> Any:  # noqa: ANN401 - `in_a_row.Sentences`
    if path is None:
        return None
    from seerkit.eval.in_a_row import read_sentences

    return read_sentences(path)


def report_of(checkpoint: Path) -> Path:
    """Return where a report goes: into the run, into a checkpoint that is of no run; of a policy on the Hub, here."""
    if not checkpoint.is_dir():
        return Path(f"{checkpoint.name}-report")
    folder = checkpoint.resolve()
    return (folder.parents[1] if folder.parent.name == "checkpoints" else folder) / "report"


def sum_up(report: Report, folder: Path, console: Console) -> None:
    """Print the rates, the warnings, and where the page is."""
    chains = report.chains()
    for actor in report.rollouts:
        if actor not in chains:
            console.print(f"{actor:<10}{_rate(report.rate(actor))}", highlight=False)
            continue
        for place, rate in enumerate(chains[actor].in_a_row, start=1):
            console.print(f"{place} in a row{_rate(rate)}", highlight=False)
        length, told = chains[actor].length, chains[actor].length_told
        console.print(f"[bold]average length {length.value:.2f}[/]   ({told})", highlight=False)
    for warning in report.warnings:
        console.print(f"[yellow]note[/] {escape(warning)}", highlight=False, soft_wrap=True)
    console.print(f"page: [bold]{escape(str((folder / 'report.html').resolve()))}[/]", soft_wrap=True)


def _rate(rate: Interval) -> str:
    return f"{100 * rate.value:5.0f} %   (95 % interval {100 * rate.low:.0f} to {100 * rate.high:.0f})"


class Bars:
    """Say on stderr how far every actor of an evaluation is: by a bar each, or without a terminal by lines.

    Args:
        unit: what successes are counted as: ``"won"``, or on average per episode.
        every: seconds between lines; the log of a job that runs for a day shall tell how long it still takes.
    """

    def __init__(self, *, unit: str = "won", every: float = 60.0) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._unit, self._every = unit, every
        columns = ("{task.description:<10}", BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[won]}"))
        left, self._console = TimeRemainingColumn(), Console(stderr=True)
        lines = not self._console.is_terminal
        self._bars = Progress(*columns, left, console=self._console, speed_estimate_period=MEMORY, disable=lines)
        self._tasks: dict[str, Any] = {}
        self._began: dict[str, tuple[float, int]] = {}
        self._said = -every

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        self._bars.stop()

    def told(self, actor: str, done: int, total: int, won: int) -> None:
        """Take note of one more finished episode, or of those that were there before."""
        said = f"{won} won" if self._unit == "won" else f"{won / done if done else 0:.2f} {self._unit}"
        if not self._tasks:
            self._bars.start()
        if actor not in self._tasks:
            self._tasks[actor] = self._bars.add_task(actor, total=total, completed=done, won=said)
        self._bars.update(self._tasks[actor], completed=done, total=total, won=said)
        if not self._console.is_terminal:
            self._say(actor, done, total, said)

    def _say(self, actor: str, done: int, total: int, said: str) -> None:
        now = time.monotonic()
        since, before = self._began.setdefault(actor, (now, done))
        if done < total and now - self._said < self._every:
            return
        self._said = now
        seconds = (total - done) * (now - since) / (done - before) if done > before else None
        left = "" if seconds is None or done == total else f", about {timedelta(seconds=round(seconds))} left"
        self._console.print(f"{actor} {done}/{total}, {said}{left}", highlight=False, soft_wrap=True)
