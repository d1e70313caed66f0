"""The rows of the tables: the file and the twin's overrides make the same change, and every row composes on both."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest

from seerkit import list_recipes, load_recipe
from seerkit.ablate.groups import Row, list_groups, load_group
from seerkit.recipe import Recipe, RecipeError

GROUPS = {name: load_group(name) for name in list_groups()}
ROWS = [(name, row) for name, group in GROUPS.items() for row in group.rows]
FIRST_STAGES = {row.before for _, row in ROWS if row.before}


def names(value: object) -> str:
    return value.name if isinstance(value, Row) else str(value)


@cache
def load(*arguments: str) -> Recipe:
    return load_recipe(*arguments)


def settings(*arguments: str) -> dict[str, Any]:
    return {key: value for key, value in load(*arguments).flat().items() if not key.startswith("meta.")}


@pytest.mark.parametrize(("group", "row"), ROWS, ids=names)
def test_file_and_twin_make_the_same_change(group: str, row: Row) -> None:
    assert settings(f"ablation/{group}/{row.name}") == settings(row.base, *row.finetune[1:])
    if row.pretrain is None or row.before is None:
        assert row.pretrain is row.before is None
    elif row.before.startswith("ablation/"):
        base = load(row.before).config["meta"]["ablation"]["base"]
        assert settings(row.before) == settings(base, *row.pretrain[1:])
    else:
        assert len(row.pretrain) == 1, "an unchanged pre-training of the paper is an unchanged one of the twin"


@pytest.mark.parametrize(("group", "row"), ROWS, ids=names)
def test_a_row_composes_on_the_twin(group: str, row: Row) -> None:
    recipe = load(*row.finetune)
    assert recipe.config["meta"]["benchmark"] == "tabletop"
    own = load(f"ablation/{group}/{row.name}").config["meta"]
    assert (own["ablation"]["group"], own["ablation"]["row"]) == (group, row.name)
    assert own["paper"].startswith("https://arxiv.org/abs/")
    if row.pretrain:
        assert load(*row.pretrain).config["meta"]["benchmark"] == "tabletop"


@pytest.mark.parametrize("group", GROUPS)
def test_rows_of_a_group_differ(group: str) -> None:
    rows = GROUPS[group].rows
    made = [(load(*row.finetune).hash, row.pretrain and load(*row.pretrain).hash) for row in rows]
    assert len(set(made)) == len(rows)
    assert GROUPS[group].reference in [row.name for row in rows]


def test_every_file_is_a_row_or_the_pre_training_of_one() -> None:
    found = {name for name in list_recipes() if name.startswith("ablation/")}
    rows = {f"ablation/{group}/{row.name}" for group, row in ROWS}
    assert found - rows == {name for name in FIRST_STAGES if name.startswith("ablation/")}
    assert rows <= found


def test_published_numbers_are_those_of_the_papers() -> None:
    """Read off arXiv 2412.15109 (Tables 3a, 3b) and 2312.13139 (ablations on CALVIN)."""
    seer = {
        "seer_table_3a": {"none": 3.31, "fore": 3.41, "fore_inv": 3.64},
        "seer_table_3b": {"none": 3.64, "fore": 3.73, "both": 3.98},
        "gr1_future_step": {"ahead_1": 3.61, "ahead_3": 3.82, "ahead_5": 3.67},
    }
    for group, expected in seer.items():
        for row in GROUPS[group].rows:
            (number,) = row.published
            assert number.average_length == expected[row.name]
            # tasks in a row add up to the average length
            assert sum(number.in_a_row) / 100 == pytest.approx(number.average_length, abs=0.011), (group, row.name)
    gr1 = {row.name: [number.average_length for number in row.published] for row in GROUPS["gr1_table"].rows}
    assert gr1 == {"none": [3.33, 2.40, 1.04], "video": [3.82, 2.65, 1.52], "both": [4.21, 3.06, 2.00]}


def test_wrong_names_are_answered_with_the_nearest() -> None:
    with pytest.raises(RecipeError, match="did you mean 'seer_table_3a'"):
        load_group("seer_table3a")
    with pytest.raises(RecipeError, match="did you mean 'fore_inv'"):
        GROUPS["seer_table_3a"].pick(["for_inv"])
    assert [row.name for row in GROUPS["seer_table_3a"].pick(["fore_inv", "none"])] == ["none", "fore_inv"]
