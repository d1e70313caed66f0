"""The command `seerkit ablate`."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

console = Console()


def ablate(
    group: Annotated[str | None, typer.Argument(help="a table; none lists all")] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Argument(help="some.key=value for all rows; hydra.* goes to the launcher", show_default=False),
    ] = None,
    preset: Annotated[str, typer.Option(help="quick or full")] = "quick",
    task: Annotated[str, typer.Option(help="a task of the twin")] = "Reach",
    rows: Annotated[list[str] | None, typer.Option(help="only these rows; may be given several times")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="trainings per row")] = 3,
    out: Annotated[Path | None, typer.Option(help="the folder; runs/ablate-GROUP by default")] = None,
    launcher: Annotated[str, typer.Option(help="basic, or a Hydra launcher such as submitit_slurm")] = "basic",
) -> None:
    """Train and evaluate the rows of a table on the twin; write one table and one plot. Finishes what was begun."""
    from seerkit.ablate.groups import list_groups

    if group is None:
        console.print(_groups(list_groups()))
        return
    from seerkit.ablate.run import ablate as run
    from seerkit.ablate.study import make_study
    from seerkit.ablate.table import NOTE, rich_table

    given = overrides or []
    settings = [override for override in given if override.lstrip("+~").startswith("hydra")]
    common = tuple(override for override in given if override not in settings)
    study = make_study(group, rows, preset=preset, task=task, seeds=seeds, overrides=common)
    folder = out or Path("runs") / f"ablate-{group}"
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a cluster's way of asking to stop
    try:
        outcome = run(study, folder, say=_say, launcher=launcher, settings=settings)
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from here")
        raise typer.Exit(1) from None
    console.print(rich_table(outcome))
    console.print(NOTE, style="dim", highlight=False)
    _say(f"table: {folder / 'ablation.md'}   plot: {folder / 'ablation.png'}")
    if not outcome.complete:
        console.print("[yellow]some runs are missing[/]; the same command tries them again")
        raise typer.Exit(1)


def _say(text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def _groups(known: dict[str, str]) -> Table:
    from seerkit.ablate.groups import load_group

    table = Table(header_style="bold")
    for name in ("group", "compares", "rows"):
        table.add_column(name)
    for name, title in known.items():
        table.add_row(f"[bold cyan]{name}[/]", title, ", ".join(row.name for row in load_group(name).rows))
    return table
