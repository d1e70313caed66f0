"""The command `seerkit`. Heavy modules are imported inside the commands, so that showing things is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from seerkit.recipe import Recipe, RecipeError, load_recipe

app = typer.Typer(
    name="seerkit",
    help="Train, ablate, evaluate and deploy manipulation policies that foresee.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)
console = Console()

Overrides = Annotated[list[str] | None, typer.Argument(help="group=option or some.key=value", show_default=False)]


@app.callback(invoke_without_command=True)
def options(version: Annotated[bool, typer.Option("--version", help="print the version")] = False) -> None:
    """Say the version."""
    if version:
        from seerkit import __version__

        typer.echo(__version__)


@app.command()
def recipe(
    name: Annotated[str | None, typer.Argument(help="a recipe or a recipe file; none lists all")] = None,
    overrides: Overrides = None,
    yaml: Annotated[bool, typer.Option("--yaml", help="print the resolved recipe")] = False,
    diff: Annotated[str | None, typer.Option(help="print what differs from another recipe")] = None,
    copy: Annotated[Path | None, typer.Option(help="write the resolved recipe to a new file")] = None,
    check: Annotated[bool, typer.Option("--check", help="build it, compute a loss and its gradients")] = False,
    mask: Annotated[Path | None, typer.Option(help="draw who attends to whom as a PNG")] = None,
) -> None:
    """List recipes, or show one: parts, keys, shapes, parameters, tokens, commands."""
    from seerkit import show

    if name is None:
        console.print(show.recipe_table())
        return
    shown = load_recipe(name, *(overrides or []))
    if yaml:
        typer.echo(shown.yaml(), nl=False)
    elif diff is not None:
        console.print(show.diff(shown, load_recipe(diff)), end="", soft_wrap=True)
    elif copy is not None:
        _write_new(copy, shown.yaml())
        console.print(f"wrote {copy}; use it like a name: [bold]seerkit recipe {copy}[/]")
    elif mask is not None:
        from seerkit.draw import draw_mask

        console.print(f"wrote {draw_mask(shown, mask)}")
    elif check:
        _check(shown)
    else:
        console.print(show.recipe_card(shown, command=" ".join([name, *(overrides or [])])))


def main() -> None:
    """Run the command; what a user can mend is one line on the terminal, not a traceback."""
    try:
        app()
    except (ValueError, KeyError, OSError, RuntimeError) as error:
        if os.environ.get("SEERKIT_DEBUG"):
            raise
        text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
        Console(stderr=True, soft_wrap=True).print(f"[bold red]error[/] {type(error).__name__}: ", end="")
        Console(stderr=True, soft_wrap=True).print(text, markup=False, highlight=False)
        sys.exit(2)


def _check(shown: Recipe) -> None:
    from seerkit.check import check_recipe

    with console.status(f"building {shown.name} and training it on one made-up batch"):
        result = check_recipe(shown)
    for name, value in result.losses.items():
        console.print(f"{name:<20}{value:.4f}")
    console.print(
        f"[green]ok[/]  {result.reached} tensors have gradients; built, ran and backpropagated in {result.seconds:.1f} s"
    )


def _write_new(path: Path, text: str) -> None:
    if path.exists():
        raise RecipeError(f"{path} exists already; nothing was written")
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.rename(path)


if __name__ == "__main__":
    main()
