"""The commands `seerkit data ...`: look at recorded episodes, check, join, divide and convert them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from seerkit.cli_options import read_options

if TYPE_CHECKING:
    from seerkit.data.convert import Progress

data = typer.Typer(help="Look at recorded episodes, check, join, divide and convert them.", no_args_is_help=True)
console = Console()

PathArg = Annotated[Path, typer.Argument(help="a store, or data of another format", show_default=False)]
Format = Annotated[str | None, typer.Option(help="the format, if the files do not tell", show_default=False)]
Options = Annotated[
    list[str] | None, typer.Option("--option", help="name=value for the format's reader", show_default=False)
]
Out = Annotated[Path, typer.Option(help="where the result goes; must not exist")]


@data.command()
def info(path: PathArg, format: Format = None, option: Options = None) -> None:
    """Show what is recorded: episodes, sentences, cameras, conventions, size."""
    from seerkit.data.formats import open_source
    from seerkit.data.overview import overview

    text = overview(open_source(path, format=format, **read_options(option)))
    console.print(text, markup=False, highlight=False, soft_wrap=True)


@data.command()
def check(path: PathArg, format: Format = None, option: Options = None) -> None:
    """Read every step and say what is damaged; exit code 1 if anything is."""
    from seerkit.data.check import check as look
    from seerkit.data.check import tails
    from seerkit.data.formats import open_source

    source = open_source(path, format=format, **read_options(option))
    found = 0
    with _bar("episodes") as told:
        for finding in look(source, progress=told):
            found += 1
            where = f"{'' if finding.episode is None else f'episode {finding.episode} '}{finding.array}".rstrip()
            console.print(f"[red]{where}[/]: ", end="")
            console.print(finding.text, markup=False, highlight=False, soft_wrap=True)
    for tail in tails(source):
        console.print(f"[yellow]note[/] {tail}", highlight=False, soft_wrap=True)
    if found:
        console.print(f"{found} damaged, of {len(source.episodes)} episodes and their arrays", highlight=False)
        raise typer.Exit(1)
    console.print(f"[green]ok[/]  {len(source.episodes)} episodes, {len(source)} steps")


@data.command()
def convert(
    path: PathArg,
    out: Out,
    format: Format = None,
    option: Options = None,
    frames: Annotated[str, typer.Option(help="raw, or jpeg for an eighth of the disk")] = "raw",
) -> None:
    """Copy data of any format into a store; a second call goes on where the first was interrupted."""
    from seerkit.data.convert import convert as copy
    from seerkit.data.formats import open_source

    source = open_source(path, format=format, **read_options(option))
    console.print(f"{source!r}", highlight=False, soft_wrap=True)
    with _bar("steps") as told:
        store = copy(source, out, frames=frames, progress=told)  # pyright: ignore[reportArgumentType]
    console.print(f"wrote {store!r}", highlight=False, soft_wrap=True)


@data.command()
def export(
    store: PathArg,
    out: Out,
    to: Annotated[str, typer.Option(help="lerobot (v3.0) or seer_real")] = "lerobot",
    codec: Annotated[
        str, typer.Option(help="of lerobot: libsvtav1, libx264, or images, which are exact")
    ] = "libsvtav1",
    quality: Annotated[int, typer.Option(help="of lerobot's videos (constant rate factor): less is better")] = 30,
    format: Format = None,
    option: Options = None,
) -> None:
    """Write a store as a data set in another library's format."""
    from seerkit.data.formats import open_source

    if to not in (known := ("lerobot", "seer_real")):
        raise ValueError(f"--to must be one of {known}, got {to!r}")
    source = open_source(store, format=format, **read_options(option))
    with _bar("steps") as told:
        if to == "lerobot":
            from seerkit.data.lerobot_folder import write_lerobot

            write_lerobot(source, out, codec=codec, quality=quality, progress=told)
        else:
            from seerkit.data.seer_folder import write_seer_folder

            write_seer_folder(source, out, progress=told)
    console.print(f"wrote {out}", highlight=False, soft_wrap=True)


@data.command()
def merge(
    stores: Annotated[list[Path], typer.Argument(help="stores with equal conventions", show_default=False)], out: Out
) -> None:
    """Join stores into a new one."""
    from seerkit.data.store import Store
    from seerkit.data.writer import merge as join

    console.print(f"wrote {join([Store(path) for path in stores], out)!r}", highlight=False, soft_wrap=True)


@data.command()
def split(
    store: Annotated[Path, typer.Argument(help="a store", show_default=False)],
    out: Annotated[Path, typer.Option(help="two stores appear here: train and held-out")],
    holdout: Annotated[float, typer.Option(help="share of the layouts held out")] = 0.1,
    seed: Annotated[int, typer.Option(help="another seed, another choice")] = 0,
) -> None:
    """Divide a store in two, so that no layout is in both."""
    from seerkit.data.files import fresh_folder
    from seerkit.data.split import split_episodes
    from seerkit.data.store import Store
    from seerkit.data.writer import merge as join

    whole = Store(store)
    sides = dict(zip(("train", "held-out"), split_episodes(whole, holdout=holdout, seed=seed), strict=True))
    with fresh_folder(out) as draft:
        for name, episodes in sides.items():
            join([whole], draft / name, order=[(0, index) for index in episodes])
    for name in sides:
        console.print(f"wrote {Store(out / name)!r}", highlight=False, soft_wrap=True)


@contextmanager
def _bar(unit: str) -> Iterator[Progress]:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn(unit), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:

        def told(done: int, total: int) -> None:
            if not bars.task_ids:  # no bar above an error that comes before any work
                bars.add_task("")
            bars.update(bars.task_ids[0], completed=done, total=total)

        yield told
