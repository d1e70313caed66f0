"""What `seerkit recipe` prints; imports no torch."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from seerkit.describe import Card, card, recipe_index
from seerkit.recipe import Recipe


def recipe_table() -> Table:
    """Return all recipes with their papers and sizes, one row each."""
    rows = recipe_index()
    table = Table(title=f"{len(rows)} recipes", title_justify="left", header_style="bold", box=None, pad_edge=False)
    table.add_column("recipe", overflow="fold", min_width=34)
    table.add_column("paper", no_wrap=True)
    for size in ("tokens", "trained + frozen"):
        table.add_column(size, justify="right", no_wrap=True)
    for name, row in sorted(rows.items(), key=lambda item: (item[0].count("/"), item[0])):  # ablations last
        table.add_row(
            Text.assemble((name, "bold cyan"), ("\n" + row["summary"], "dim")),
            paper(row["paper"]),
            f"{row['steps']} x {row['tokens']}",
            f"{row['trainable'] / 1e6:.1f} + {row['frozen'] / 1e6:5.1f} M",
        )
    return table


def paper(link: str) -> str:
    """Return a paper's link in short.

    Example:
        >>> paper("https://arxiv.org/abs/2412.15109")
        'arXiv:2412.15109'
    """
    return link.replace("https://arxiv.org/abs/", "arXiv:")


def recipe_card(recipe: Recipe, *, command: str) -> RenderableType:
    """Return everything a user asks about one recipe: parts, keys, shapes, parameters, tokens, commands."""
    config, built = recipe.config, card(recipe)
    meta = config["meta"]
    title = Text.assemble((recipe.name, "bold cyan"), *[(f"  {change}", "yellow") for change in recipe.overrides])
    lines = [title, Text(meta["summary"])]
    if meta.get("paper"):
        lines.append(Text(f"paper {meta['paper']}", style="dim"))
    sizes = Text.assemble(
        ("parameters  ", "bold"), f"trainable {built['trainable']:,}   frozen {built['frozen']:,}   ",
        (f"recipe {recipe.hash[:12]}", "dim"),
    )  # fmt: skip
    body = [sizes, _tokens(recipe), Text(), _parts(built), _losses(recipe), Text(), _commands(recipe, command)]
    return Group(*lines, Text(), *body)


def diff(ours: Recipe, theirs: Recipe) -> Text:
    """Return what differs from ``theirs`` to ``ours``: removed, added and changed settings, one line each."""
    old, new = theirs.flat(), ours.flat()
    text = Text(f"--- {theirs.name}\n+++ {' '.join([ours.name, *ours.overrides])}\n", style="bold")
    described = ("meta.",)
    for key in [*old, *(key for key in new if key not in old)]:
        if key.startswith(described) or (key in old and key in new and old[key] == new[key]):
            continue
        if key in old:
            text.append(f"- {key}: {old[key]}\n", style="red")
        if key in new:
            text.append(f"+ {key}: {new[key]}\n", style="green")
    return text


def tokens_per_step(recipe: Recipe) -> int:
    """Return how many tokens one control step adds to the trunk's sequence."""
    layout = recipe.config["layout"]
    return sum(layout["context"].values()) + sum(layout.get("queries", {}).values())


def _tokens(recipe: Recipe) -> Text:
    layout, steps = recipe.config["layout"], recipe.config["steps"]
    groups = [f"{name} {n}" for name, n in layout["context"].items()]
    queries = [f"[{name}] {n}" for name, n in layout.get("queries", {}).items()]
    count = tokens_per_step(recipe)
    return Text.assemble(
        ("tokens      ", "bold"), f"{' + '.join([*groups, *queries])} = {count} per step, ",
        f"{count * steps} in {steps} step{'s' * (steps > 1)}",
    )  # fmt: skip


def _parts(built: Card) -> Table:
    table = Table(header_style="bold", title="Parts (shapes of one step, without the batch)", title_justify="left")
    table.add_column("stage", no_wrap=True)
    table.add_column("reads -> writes", overflow="fold")
    table.add_column("trainable", justify="right", no_wrap=True)
    table.add_column("frozen", justify="right", no_wrap=True)
    for part in built["parts"]:
        flow = Text("\n".join(part["reads"]))
        for key, shape in part["writes"].items():
            flow.append(f"\n-> {key} {tuple(shape)}", style="green")
        numbers = (f"{part[kind]:,}" if part[kind] else "" for kind in ("trainable", "frozen"))
        table.add_row(Text.assemble((part["name"], "bold"), ("\n" + part["module"], "dim")), flow, *numbers)
    return table


def _losses(recipe: Recipe) -> Text:
    terms = [f"{part['weight']:g} x {name}" for name, part in recipe.config["losses"].items()]
    ensemble = {k: v for k, v in recipe.config["ensemble"].items() if k != "_target_"}
    settings = ", ".join(f"{key}={value}" for key, value in ensemble.items())
    name = recipe.config["ensemble"]["_target_"].rpartition(".")[2]
    return Text.assemble(("loss        ", "bold"), " + ".join(terms), ("\nensemble    ", "bold"), f"{name}({settings})")


def _commands(recipe: Recipe, command: str) -> Text:
    text = Text.assemble(("train       ", "bold"), f"seerkit train {command} --data STORE --out runs/{recipe.name}")
    if "action" in recipe.config["heads"]:  # what cannot act cannot be evaluated
        benchmark = recipe.config.get("eval", {}).get("env") or "ENV"
        text.append("\nevaluate    ", style="bold")
        text.append(f"seerkit eval runs/{recipe.name}/checkpoints/last --env {benchmark}")
    return text
