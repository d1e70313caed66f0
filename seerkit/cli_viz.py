"""`seerkit viz`: one moment of a policy as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from seerkit.cli_options import read_options

if TYPE_CHECKING:
    from seerkit.policy import Policy
    from seerkit.viz.look import View
    from seerkit.viz.moment import Moment

console = Console()
FIRST_SEED = 1_000_000
"""First seed that no demonstration has, as in `seerkit eval`."""


def viz(  # noqa: PLR0913 - options of a command, each with its own name on the command line
    checkpoint: Annotated[Path, typer.Argument(help="the folder of a checkpoint, or user/repo on the Hub")],
    data: Annotated[Path | None, typer.Option(help="a store, or data of another format, to take a window from")] = None,
    window: Annotated[int | None, typer.Option(help="which window of the data; the first by default")] = None,
    env: Annotated[str | None, typer.Option(help="a task or gymnasium id to act in")] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            help="the layout; 1,000,000 by default, from where on nobody has trained. On CALVIN the sequence, 0 by "
            "default"
        ),
    ] = None,
    step: Annotated[int | None, typer.Option(help="how many steps to act before looking; none by default")] = None,
    option: Annotated[
        list[str] | None, typer.Option(help="of the environment, such as renderer=egl", metavar="K=V")
    ] = None,
    block: Annotated[int, typer.Option(help="whose attention: 0 is the trunk's first block, -1 its last")] = -1,
    out: Annotated[Path, typer.Option(help="the PNG; replaced only when the new one is done")] = Path("viz.png"),
) -> None:
    """Draw one moment: now, predicted, real, error with PSNR and SSIM, and what the actions attend to."""
    from seerkit.policy import Policy
    from seerkit.viz.look import look
    from seerkit.viz.picture import draw, write

    if (data is None) == (env is None):
        raise ValueError("expected --data STORE or --env TASK, one of the two")
    if data is None and window is not None:
        raise ValueError("--window is of --data; in an environment say --seed and --step")
    if env is None and (seed, step, option) != (None, None, None):
        raise ValueError("--seed, --step and --option are of --env; of data say --window")
    policy = Policy.from_pretrained(checkpoint)
    if data is not None:
        moment = _from_data(policy, data, window or 0)
    else:
        moment = _from_episode(policy, str(env), read_options(option), seed=seed, step=step or 0)
    view = look(policy, moment, block=block)
    picture = draw(view, moment, title=f"{policy.recipe.name}, {checkpoint}", block=block)
    console.print(_table(view))
    for note in view.notes:
        console.print(f"[yellow]note[/] {note}", highlight=False, soft_wrap=True)
    console.print(f"picture: [bold]{write(picture, out).resolve()}[/]", soft_wrap=True)


def _from_data(policy: Policy, data: Path, window: int) -> Moment:
    from seerkit.data.formats import open_source
    from seerkit.viz.moment import from_data

    try:
        return from_data(policy, open_source(data), window)
    except IndexError as error:
        raise ValueError(f"--window: {error}") from error


def _from_episode(policy: Policy, env: str, options: dict[str, Any], *, seed: int | None, step: int) -> Moment:
    from seerkit.eval.evaluate import plan_of
    from seerkit.viz.moment import from_episode

    scene = plan_of(policy.recipe.config, env=env, options=options or None).scenes[0]
    first = 0 if scene.in_a_row else FIRST_SEED
    scene.prepare()
    try:
        return from_episode(policy, scene, seed=first if seed is None else seed, step=step)
    except IndexError as error:
        raise ValueError(f"--seed: {error}") from error


def _table(view: View) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("camera", "foresight", "repeating the present", "attention"):
        table.add_column(column)
    for name, camera in view.cameras.items():
        scores = [
            f"{one.psnr:.1f} dB, SSIM {one.ssim:.3f}" if one else "-" for one in (camera.foreseen, camera.repeated)
        ]
        seen = "-" if camera.attention is None else f"{100 * camera.attention.sum():.0f} %"
        table.add_row(name, *scores, seen)
    return table
