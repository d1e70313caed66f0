"""`seerkit assets`: files of simulators that do not come with the package."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

assets = typer.Typer(no_args_is_help=True, help="Files of simulators that do not come with the package.")


@assets.callback()
def group() -> None:
    """Files of simulators that do not come with the package."""


@assets.command()
def calvin(
    sources: Annotated[
        list[Path] | None,
        typer.Option("--from", metavar="PATH", help="a checkout, zip or tar file of calvin or calvin_env; repeatable"),
    ] = None,
    fetch: Annotated[
        bool, typer.Option("--download", help="fetch both repositories at the commits we know, about 30 MB")
    ] = False,
) -> None:
    """Take over CALVIN's tables, robot and tasks from the original's repositories; without an option, check them."""
    from seerkit.assets import download, folder, require, take
    from seerkit.assets.where import hashes

    if sources and fetch:
        raise ValueError("expected --from PATH or --download, given both")
    console = Console()
    if sources or fetch:
        tell = partial(console.print, "fetching", highlight=False, markup=False, soft_wrap=True)
        taken = take("calvin", sources) if sources else download("calvin", say=tell)
        console.print(f"wrote {taken}", highlight=False, markup=False, soft_wrap=True)
        if folder("calvin") != taken:
            console.print(f"but SEERKIT_CALVIN_ASSETS is set: {folder('calvin')} is what is used", soft_wrap=True)
    place = require("calvin")
    console.print(f"{place}: all {len(hashes('calvin'))} files are there, as they should be", soft_wrap=True)
