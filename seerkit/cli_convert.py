"""`seerkit convert`: other projects' files to ours and back."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

convert = typer.Typer(no_args_is_help=True, help="Other projects' files to ours and back.")


class Source(StrEnum):
    """Where weights may come from."""

    SEER = "seer"
    GR1 = "gr1"
    MAE = "mae"
    CLIP = "clip"
    R3M = "r3m"


class Target(StrEnum):
    """Where weights may go to."""

    SEER = "seer"
    GR1 = "gr1"


@convert.callback()
def group() -> None:
    """Other projects' files to ours and back."""


@convert.command()
def weights(
    given: Annotated[Path, typer.Argument(metavar="IN", help="a file of weights, or with --to a checkpoint's folder")],
    out: Annotated[Path, typer.Argument(help="what to write; must not exist")],
    overrides: Annotated[list[str] | None, typer.Argument(help="changes to --recipe, such as steps=7")] = None,
    source: Annotated[Source | None, typer.Option("--from", help="whose file it is")] = None,
    target: Annotated[Target | None, typer.Option("--to", help="for whose code to write it")] = None,
    recipe: Annotated[str | None, typer.Option(help="told from the shapes if not given")] = None,
) -> None:
    """Convert official checkpoints, strictly: every tensor is carried, named as unused, or an error."""
    from seerkit.convert.weights import convert_encoder, export_policy, import_policy
    from seerkit.recipe import load_recipe

    if (source is None) == (target is None):
        raise typer.BadParameter(
            "say either --from (an official file to ours) or --to (a checkpoint of ours to theirs)"
        )
    if overrides and recipe is None:
        raise typer.BadParameter(f"overrides {overrides} change a recipe; say which with --recipe")
    policies = source in (Source.SEER, Source.GR1)
    if recipe is not None and not policies:
        raise typer.BadParameter("--recipe goes with --from seer or --from gr1")
    if target is not None:
        done = export_policy(given, out, system=target.value)
    elif policies:
        chosen = None if recipe is None else load_recipe(recipe, *(overrides or []))
        done = import_policy(given, out, system=str(source), recipe=chosen)
    else:
        done = convert_encoder(given, out, kind=str(source))
    console = Console()
    for name, line in done.lines.items():
        console.print(f"{name:<28}{line}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"wrote {done.out}", highlight=False, markup=False, soft_wrap=True)
