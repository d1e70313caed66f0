"""`seerkit push` and `seerkit fetch`: policies to the Hub, frozen encoders from it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

console = Console()


def push(
    checkpoint: Annotated[Path, typer.Argument(help="the folder of a checkpoint")],
    repo: Annotated[str, typer.Argument(help="user/name; created if need be")],
    tag: Annotated[str | None, typer.Option(help="name this version; it must be new")] = None,
    private: Annotated[bool, typer.Option("--private", help="if the repository is created, for you only")] = False,
    include_frozen: Annotated[
        bool, typer.Option("--include-frozen", help="upload frozen encoders, too; needed if one came from a path")
    ] = False,
    report: Annotated[Path | None, typer.Option(help="a report.json; the run's by default")] = None,
    endpoint: Annotated[str | None, typer.Option(help="address of the Hub; HF_ENDPOINT or the public one")] = None,
) -> None:
    """Upload a checkpoint to the Hub: recipe, weights, and a card with what its report says."""
    from seerkit.hub import load
    from seerkit.hub import push as upload

    with console.status(f"loading {checkpoint}"):
        policy = load(checkpoint, endpoint=endpoint)
    options = {"tag": tag, "private": private, "include_frozen": include_frozen, "report": report}
    url = upload(policy, repo, endpoint=endpoint, **options)
    console.print(f"pushed to [bold]{url}[/]", soft_wrap=True)
    version = f', revision="{tag}"' if tag else ""
    console.print(f'get it with Policy.from_pretrained("{repo}"{version})', highlight=False, soft_wrap=True)


def fetch(
    recipe: Annotated[str, typer.Argument(help="a recipe or a recipe file")],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="group=option or some.key=value", show_default=False)
    ] = None,
    endpoint: Annotated[str | None, typer.Option(help="address of the Hub; HF_ENDPOINT or the public one")] = None,
) -> None:
    """Download a recipe's frozen encoders into the Hub's cache and check that they fit."""
    from seerkit.hub.frozen import frozen_modules
    from seerkit.policy import build_policy

    policy = build_policy(recipe, *(overrides or []), fetch=True, endpoint=endpoint)
    found = frozen_modules(policy).values()
    for frozen in found:
        origin = policy.origins.get(frozen.name)
        held = f"sha256 {origin.sha256[:12]}" if origin else "random, as the recipe says"
        console.print(f"{frozen}: {held}", highlight=False, soft_wrap=True)
    if not found:
        console.print(f"{policy.recipe.name} has no frozen encoder")
