"""The command `seerkit play`: undirected play on a simulator's table, recorded in the benchmark's own layout."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

console = Console()


def play(  # noqa: PLR0913 - options of a command, each with its own name on the command line
    env: Annotated[str, typer.Argument(help="calvin_d: scene D of CALVIN")],
    out: Annotated[Path, typer.Option(help="where training/ and validation/ will be; must not exist")],
    episodes: Annotated[int, typer.Option(min=1, help="episodes to learn from")] = 8,
    validation: Annotated[int, typer.Option(min=1, help="episodes of the validation split")] = 1,
    steps: Annotated[int, typer.Option(min=2, help="frames of an episode; 30 are a second")] = 1000,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    noise: Annotated[float, typer.Option(min=0.0, help="size of bursts that push the hand off its way")] = 0.3,
    renderer: Annotated[str, typer.Option(help="egl, or tiny for pictures nobody else's policies know")] = "egl",
    workers: Annotated[int | None, typer.Option(min=1, help="one per core if not given", show_default=False)] = None,
) -> None:
    """Record undirected play on CALVIN's table into a folder of the official layout."""
    from seerkit.play import Play, record_play

    wanted = Play(
        env=env, episodes=episodes, validation=validation, steps=steps, seed=seed, noise=noise, renderer=renderer
    )
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("episodes", total=episodes + validation)
        sentences = record_play(wanted, out, workers=workers, progress=lambda done, _: bar.update(task, completed=done))
    frames = (episodes + validation) * steps
    console.print(f"wrote {frames} frames and {sentences} sentences to {out}", highlight=False, soft_wrap=True)
