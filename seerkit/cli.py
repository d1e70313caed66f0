"""The command `seerkit`. Heavy modules are imported inside the commands, so that showing things is quick."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from seerkit import cli_ablate, cli_eval, cli_features, cli_hub, cli_play, cli_viz
from seerkit.cli_assets import assets
from seerkit.cli_convert import convert
from seerkit.cli_data import data
from seerkit.recipe import Recipe, RecipeError, load_recipe


def _with_groups(app: typer.Typer, **groups: typer.Typer) -> typer.Typer:
    for name, group in groups.items():
        app.add_typer(group, name=name)
    return app


app = _with_groups(
    typer.Typer(
        name="seerkit",
        help="Train, ablate, evaluate and deploy manipulation policies that foresee.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    ),
    convert=convert,
    assets=assets,
    data=data,
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


@app.command()
def collect(  # noqa: PLR0913 - options of a command, each with its own name on the command line
    env: Annotated[str, typer.Argument(help="a task (Reach) or a gymnasium id")],
    out: Annotated[Path, typer.Option(help="where the store will be; must not exist")],
    episodes: Annotated[int, typer.Option(min=1)] = 100,
    seed: Annotated[int, typer.Option(help="first layout; below 1,000,000")] = 0,
    noise: Annotated[float, typer.Option(help="size of bursts that push the expert off its way")] = 0.0,
    random_start: Annotated[float, typer.Option(help="share of episodes that start from a random pose")] = 0.0,
    chain: Annotated[int, typer.Option(help="goal switches per rollout, each a new episode")] = 0,
    ask: Annotated[float, typer.Option(help="share of steps at which every other goal is asked for, too")] = 0.0,
    play: Annotated[bool, typer.Option("--play", help="store no sentences and keep whatever happens")] = False,
    depth: Annotated[bool, typer.Option("--depth", help="store depth frames, too (twin)")] = False,
    task: Annotated[
        list[str] | None,
        typer.Option(help="on CALVIN: what to demonstrate, on random tables; may be repeated", show_default=False),
    ] = None,
) -> None:
    """Record a scripted expert into a store."""
    from seerkit.collect import Recording
    from seerkit.collect import collect as record

    recording = Recording(
        noise=noise, random_start=random_start, chain=chain, ask=ask, play=play, tasks=tuple(task or ())
    )
    options = {"look": {"depth": True}} if depth else {}
    store = record(env, out, episodes=episodes, seed=seed, recording=recording, env_options=options)
    console.print(f"recorded {store!r}")


play = app.command()(cli_play.play)
ablate = app.command()(cli_ablate.ablate)


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="a recipe, a recipe file, a checkpoint, or user/repo on the Hub")],
    data: Annotated[list[Path], typer.Option(help="a store to learn from, or data of another format; may be repeated")],
    out: Annotated[Path, typer.Option(help="the run's folder: checkpoints, metrics.jsonl, tensorboard")],
    overrides: Overrides = None,
    weights: Annotated[
        str | None, typer.Option(help="share of each data set, such as 3,1; their sizes if none")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in the folder, bit for bit")] = False,
    device: Annotated[str | None, typer.Option(help="an accelerator if there is one")] = None,
) -> None:
    """Train a recipe on a store; settings are overrides such as train.lr=3e-4 or train.updates=2000."""
    import torch

    from seerkit.cli_init import begin
    from seerkit.hub import is_checkpoint
    from seerkit.policy import build_policy
    from seerkit.train.loop import train as run
    from seerkit.train.parallel import is_first, leave

    said = console if is_first() else Console(quiet=True)  # several processes (torchrun) speak with one voice
    if not is_checkpoint(recipe):
        torch.manual_seed(load_recipe(recipe, *(overrides or [])).config["train"]["seed"])
    shares = _shares(weights)
    policy = build_policy(recipe, *(overrides or []), fetch=True)  # a frozen encoder that is random stays so
    begin(policy, out, said)
    result = run(policy, data, out, weights=shares, resume=resume, device=device)
    leave()
    if result.interrupted:
        said.print(f"stopped after {result.updates} updates; continue with [bold]--resume[/]")
        raise typer.Exit(1)
    said.print(f"{result.updates} updates; evaluate with [bold]seerkit eval {result.checkpoint}[/]")


features = app.command()(cli_features.features)
push = app.command()(cli_hub.push)
fetch = app.command()(cli_hub.fetch)
viz = app.command()(cli_viz.viz)


evaluate = app.command(name="eval")(cli_eval.evaluate)


@app.command()
def demo(
    preset: Annotated[str | None, typer.Option(help="reach (default), language or pick_place")] = None,
    task: Annotated[str | None, typer.Option(help="a task of the twin, such as PickPlace")] = None,
    out: Annotated[Path | None, typer.Option(help="the folder of the run; runs/demo-TASK by default")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="start over, deleting what the folder holds")] = False,
) -> None:
    """Record an expert, train a small Seer, evaluate it on unseen layouts, write the report page."""
    import shutil

    from seerkit.demo import choose, run

    chosen = choose(preset, task)
    folder = out or Path("runs") / f"demo-{chosen.task.lower()}"
    if fresh:
        shutil.rmtree(folder, ignore_errors=True)
    with cli_eval.Bars() as bars:
        report = run(chosen, folder, say=lambda text: console.print(f"[bold]{text}[/]"), progress=bars.told)
    cli_eval.sum_up(report, folder / "report", console)


def main() -> None:
    """Run the command; what a user can mend is one line on the terminal, not a traceback."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # idle torch threads must not spin beside simulators
    try:
        app()
    except (ValueError, KeyError, OSError, RuntimeError, ModuleNotFoundError) as error:
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
        f"[green]ok[/]  gradients reach all {result.reached} trainable tensors; it took {result.seconds:.1f} s"
    )


def _shares(text: str | None) -> list[float] | None:
    """Read ``3,1``."""
    try:
        return None if text is None else [float(share) for share in text.split(",")]
    except ValueError as error:
        raise ValueError(f"--weights must be numbers such as 3,1, got {text!r}") from error


def _write_new(path: Path, text: str) -> None:
    if path.exists():
        raise RecipeError(f"{path} exists already; nothing was written")
    partial = path.with_name(f".{path.name}.partial")
    partial.write_text(text)
    partial.rename(path)


if __name__ == "__main__":
    main()
