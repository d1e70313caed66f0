"""The tables that can be run: which rows they have, what was published, and how the twin makes the same change."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping, Sequence
from typing import Any

from seerkit.recipe import RecipeError, load_recipe, recipes_root

FOLDER = "ablation"
TABLE = "groups.yaml"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Published:
    """A number as a paper prints it.

    Args:
        benchmark: where it was measured.
        source: paper and table.
        average_length: tasks completed in a row out of five, on average.
        in_a_row: per cent of sequences with at least 1, 2, ... tasks completed; empty if not printed.
    """

    benchmark: str
    source: str
    average_length: float
    in_a_row: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a table.

    Args:
        name: of the row; its recipe is ``ablation/<group>/<name>``.
        summary: what is changed.
        base: recipe of the paper's system the row's recipe changes one thing of.
        before: recipe of the pre-training the row's recipe starts from, ``None`` if it starts from nothing.
        published: what the paper reports.
        pretrain: arguments of `seerkit.load_recipe` for the twin's pre-training, ``None`` for none.
        finetune: the same for the training that is evaluated.
    """

    name: str
    summary: str
    base: str
    before: str | None
    published: tuple[Published, ...]
    pretrain: tuple[str, ...] | None
    finetune: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Group:
    """One table.

    Args:
        name: folder below ``recipes/ablation``.
        title: what it compares.
        rows: in the order of the table.
        reference: the row the others are compared with.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    reference: str

    def pick(self, names: Sequence[str] | None) -> tuple[Row, ...]:
        """Return the named rows in the table's order; all of them for ``None``.

        Raises:
            RecipeError: if there is no such row; names the nearest.
        """
        known = [row.name for row in self.rows]
        for name in names or ():
            if name not in known:
                raise RecipeError(f"group {self.name!r} has no row {name!r}{_nearest(name, known)}; rows: {known}")
        return tuple(row for row in self.rows if not names or row.name in names)


def list_groups() -> dict[str, str]:
    """Return the names of all groups with their titles.

    Example:
        >>> "seer_table_3a" in list_groups()
        True
    """
    return {name: about["title"] for name, about in _table().items()}


def load_group(name: str) -> Group:
    """Read a group from the recipes of its rows.

    Raises:
        RecipeError: if there is no such group; names the nearest.

    Example:
        >>> [row.name for row in load_group("seer_table_3a").rows]
        ['none', 'fore', 'fore_inv']
    """
    table = _table()
    if name not in table:
        raise RecipeError(f"no ablation group {name!r}{_nearest(name, [*table])}; there are {[*table]}")
    about = table[name]
    rows = tuple(_row(name, row) for row in about["rows"])
    return Group(name=name, title=about["title"], rows=rows, reference=about["reference"])


def _row(group: str, name: str) -> Row:
    meta = load_recipe(f"{FOLDER}/{group}/{name}").config["meta"]
    about: Mapping[str, Any] = meta["ablation"]
    twin = about["twin"]
    return Row(
        name=name,
        summary=meta["summary"],
        base=about["base"],
        before=about["pretrain"],
        published=tuple(
            Published(**{**number, "in_a_row": tuple(number.get("in_a_row", ()))}) for number in about["published"]
        ),
        pretrain=None if twin["pretrain"] is None else tuple(twin["pretrain"]),
        finetune=tuple(twin["finetune"]),
    )


def _table() -> dict[str, Any]:
    import yaml

    return yaml.safe_load((recipes_root() / FOLDER / TABLE).read_text(encoding="utf-8"))


def _nearest(word: str, known: list[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.4)
    return f"; did you mean {near[0]!r}?" if near else ""
