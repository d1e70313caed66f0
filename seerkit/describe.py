"""What a recipe builds: parts, shapes, parameter counts. Looked up if known, built otherwise.

Building a full-size policy takes seconds and torch; showing a recipe should take neither. The descriptions of the
package's recipes are therefore kept in ``recipes/cards.json``, keyed by a hash of all that decides what is built; a
test builds every recipe and compares. Descriptions of changed recipes are made once and kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypedDict

from seerkit.cache import cache_folder
from seerkit.recipe import Recipe, list_recipes, load_recipe, recipes_root

CARDS = "cards.json"
FORMAT = 2
"""Of the cards in the user's cache; those of another format are made anew."""
SECTIONS = ("cameras", "image_size", "steps", "chunk", "layout", "pixels", "encoders", "targets", "trunk", "heads")


class Row(TypedDict):
    """One line of the table of recipes."""

    summary: str
    paper: str
    benchmark: str
    steps: int
    tokens: int
    trainable: int
    frozen: int


class PartCard(TypedDict):
    """One stage of a policy: those of acting, then the ``target_<name>`` that only training runs."""

    name: str
    module: str
    reads: list[str]
    writes: dict[str, list[int]]
    trainable: int
    frozen: int


class Card(TypedDict):
    """Everything `seerkit recipe NAME` shows that has to be built to be known."""

    parts: list[PartCard]
    trainable: int
    frozen: int


def card(recipe: Recipe) -> Card:
    """Describe a recipe, from the package's cards, the user's cache, or by building it."""
    key = structure(recipe)
    known = _package_cards().get("cards", {}).get(key)
    if known is not None:
        return known
    cached = cache_folder("cards") / f"{key}.{FORMAT}.json"
    if cached.is_file():
        return json.loads(cached.read_text())
    made = make_card(recipe)
    cached.parent.mkdir(parents=True, exist_ok=True)
    partial = cached.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(made))
    partial.rename(cached)
    return made


def recipe_index() -> dict[str, Row]:
    """Return the table of the package's recipes: as kept beside the cards, or made anew if a file has changed.

    Composing every recipe takes seconds; reading a table does not.
    """
    kept = _package_cards().get("index", {})
    if kept.get("files") == _fingerprint():
        return kept["rows"]
    return make_index()


def make_index() -> dict[str, Row]:
    """Compose every recipe of the package and return its line of the table."""
    rows: dict[str, Row] = {}
    for name in list_recipes():
        recipe = load_recipe(name)
        meta, built, layout = recipe.config["meta"], card(recipe), recipe.config["layout"]
        rows[name] = {
            "summary": meta["summary"],
            "paper": meta.get("paper") or "",
            "benchmark": meta.get("benchmark") or "",
            "steps": recipe.config["steps"],
            "tokens": sum(layout["context"].values()) + sum(layout.get("queries", {}).values()),
            "trainable": built["trainable"],
            "frozen": built["frozen"],
        }
    return rows


def structure(recipe: Recipe) -> str:
    """Return sha256 over the sections of a recipe that decide what is built; not where frozen weights come from."""
    body = {key: _without_source(recipe.config.get(key)) for key in SECTIONS}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def make_card(recipe: Recipe) -> Card:
    """Build a recipe without initialising its weights, run one step of one row, and describe what happened."""
    import torch

    from seerkit.policy import Policy
    from seerkit.sample import sample_batch

    with torch.device("meta"):
        policy = Policy(recipe)
    policy.to_empty(device="cpu").eval()
    td = sample_batch(recipe, batch=1, steps=1, targets=False)
    if policy.samples:
        td["noise", "action"] = policy.draw_noise(1, 1)
    with torch.no_grad():
        parts = _run(policy, policy.stages, td)
        if policy.targets:
            td = sample_batch(recipe, batch=1, steps=1)
            learning = {k: v for k, v in policy.training_stages.items() if k.startswith(("pixels_", "target_"))}
            parts += [part for part in _run(policy, learning, td) if part["name"].startswith("target_")]
    return {
        "parts": parts,
        "trainable": sum(part["trainable"] for part in parts),
        "frozen": sum(part["frozen"] for part in parts),
    }


def write_cards() -> Path:
    """Describe every recipe of the package anew and write ``recipes/cards.json``."""
    recipes = [load_recipe(name) for name in list_recipes()]
    distinct = {structure(recipe): recipe for recipe in recipes}
    cards = {key: make_card(recipe) for key, recipe in distinct.items()}
    path = recipes_root() / CARDS
    for index in ({}, {"files": _fingerprint()}):  # the table reads the cards, so these are written first
        known = {"index": {**index, "rows": make_index()} if index else {}, "cards": cards}
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        partial.rename(path)
        _package_cards.cache_clear()
    return path


def _without_source(section: Any) -> Any:  # noqa: ANN401 - any section of a recipe
    if not isinstance(section, dict):
        return section
    parts = section.items()
    return {k: {i: v for i, v in p.items() if i != "source"} if isinstance(p, dict) else p for k, p in parts}


def _run(policy: Any, stages: Mapping[str, Any], td: Any) -> list[PartCard]:  # noqa: ANN401 - a Policy and its batch
    """Run stages one after the other and describe each."""
    modules, parts = _modules(policy), []
    for name, stage in stages.items():
        td = stage(td)
        trainable, frozen = _count(modules[name])
        parts.append(
            {
                "name": name,
                "module": type(modules[name]).__name__,
                "reads": [_dotted(key) for key in stage.in_keys],
                "writes": {_dotted(key): [*td[key].shape[1:]] for key in stage.out_keys},
                "trainable": trainable,
                "frozen": frozen,
            }
        )
    return parts


def _modules(policy: Any) -> dict[str, Any]:  # noqa: ANN401 - a Policy, not imported here
    """Return the module of every stage, by the stage's name."""
    pixels = {f"pixels_{name}": module for name, module in policy.pixels.items()}
    targets = {f"target_{name}": module for name, module in policy.targets.items()}
    return {**pixels, **dict(policy.encoders.items()), "trunk": policy.trunk, **dict(policy.heads.items()), **targets}


def _count(module: Any) -> tuple[int, int]:  # noqa: ANN401 - a torch module, not imported here
    sizes = [(p.numel(), p.requires_grad) for p in module.parameters()]
    return sum(n for n, trained in sizes if trained), sum(n for n, trained in sizes if not trained)


def _dotted(key: Any) -> str:  # noqa: ANN401 - a nested key
    return key if isinstance(key, str) else ".".join(key)


def _fingerprint() -> str:
    """Return sha256 over the names and contents of all recipe files of the package."""
    root, digest = recipes_root(), hashlib.sha256()
    for path in sorted(root.rglob("*.yaml")):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode() + path.read_bytes())
    return digest.hexdigest()


@cache
def _package_cards() -> dict[str, Any]:
    path = recipes_root() / CARDS
    return json.loads(path.read_text()) if path.is_file() else {}
