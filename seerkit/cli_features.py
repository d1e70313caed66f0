"""`seerkit features`: encode a data set's frames once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def features(
    recipe: Annotated[str, typer.Argument(help="a recipe, a recipe file, a checkpoint, or user/repo on the Hub")],
    data: Annotated[Path, typer.Option(help="the store, or data of another format")],
    overrides: Annotated[list[str] | None, typer.Argument(help="component or value overrides")] = None,
    device: Annotated[str | None, typer.Option(help="an accelerator if there is one")] = None,
) -> None:
    """Keep what a recipe's frozen image encoder makes of every frame, for train.cached_features=true."""
    import torch
    from rich.console import Console
    from rich.progress import Progress

    from seerkit.data.formats import open_source
    from seerkit.hub import is_checkpoint
    from seerkit.policy import build_policy
    from seerkit.recipe import load_recipe
    from seerkit.train.features import build_features

    where = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if not is_checkpoint(recipe):  # as `seerkit train` does: an encoder that stays random is the same there
        torch.manual_seed(load_recipe(recipe, *(overrides or [])).config["train"]["seed"])
    policy, source = build_policy(recipe, *(overrides or []), fetch=True), open_source(data)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("encode frames", total=None)
        folder = build_features(
            policy, source, device=where, progress=lambda done, total: bar.update(task, completed=done, total=total)
        )
    typer.echo(f"features in {folder}")
