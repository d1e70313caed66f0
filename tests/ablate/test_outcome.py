"""Table, plot and JSON from made-up results."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from seerkit.ablate.results import SCHEMA, outcome_of
from seerkit.ablate.study import make_study
from seerkit.ablate.table import columns, lines, markdown, rich_table
from tests.ablate.tiny import made_up

RATES = {"none": 0.2, "fore": 0.45, "fore_inv": 0.8}


def test_rows_stand_in_the_papers_order_with_its_numbers_beside() -> None:
    outcome = made_up(make_study("seer_table_3a"), RATES)
    assert columns(outcome)[:3] == ["row", "published, CALVIN ABC->D", "success %"]
    cells = lines(outcome)
    assert [row[0] for row in cells] == ["none", "fore", "fore_inv *"]
    assert [row[1] for row in cells] == ["3.31", "3.41", "3.64"]
    for row, result in zip(cells, outcome.rows, strict=True):
        won = [sum(run.success) for run in result.runs]
        assert row[3] == ", ".join(f"{count}/40" for count in won)
        assert row[2].startswith(f"{100 * sum(won) / 120:.0f} [")
        assert row[5] == "0.0210 [0.0200, 0.0220]"
    assert cells[2][4] == ""
    assert outcome.complete


def test_a_difference_is_to_the_reference_on_the_same_layouts() -> None:
    outcome = made_up(make_study("seer_table_3a"), RATES)
    none, fore, both = outcome.rows
    assert both.difference is None
    assert none.difference is not None
    assert fore.difference is not None
    assert none.difference.value < fore.difference.value < 0
    assert none.difference.high < 0
    alike = made_up(make_study("seer_table_3a"), dict.fromkeys(RATES, 0.5))
    assert lines(alike)[0][4] == "+0 (all alike)"


def test_a_pair_needs_both_seeds() -> None:
    study = make_study("seer_table_3a")
    full = made_up(study, RATES)
    runs = {row.row.name: {run.seed: run for run in row.runs} for row in full.rows}
    del runs["fore_inv"][0]
    del runs["fore"][1]
    part = outcome_of(study, runs, {"fore": {1: "it broke"}})
    assert not part.complete
    assert part.errors == ["fore, seed 1: it broke"]
    fore = part.rows[1]
    only = fore.runs[1].success, runs["fore_inv"][2].success
    assert fore.difference is not None
    assert fore.difference.value == pytest.approx((sum(only[0]) - sum(only[1])) / 40)
    assert "failed" in lines(part)[1][3]
    assert "it broke" in markdown(part)


def test_files_hold_everything(tmp_path: Path) -> None:
    outcome = made_up(make_study("gr1_table"), {"none": 0.1, "video": 0.2, "both": 0.9})
    outcome.write(tmp_path)
    told = json.loads((tmp_path / "ablation.json").read_text())
    assert told["schema"] == SCHEMA
    assert told["rows"][1]["recipe"] == "ablation/gr1_table/video"
    assert told["rows"][2]["published"][1]["average_length"] == 3.06
    assert told["rows"][0]["runs"][2]["rate"]["value"] == outcome.rows[0].runs[2].rate.value
    assert {"labelled", "play"} == set(told["stores"])
    assert (tmp_path / "ablation.md").read_text() == markdown(outcome)
    assert markdown(outcome).count("\n| ") == 5, "a head, a rule, three rows"
    assert "after `gr1_tabletop_video_pretrain`" in markdown(outcome)
    with Image.open(tmp_path / "ablation.png") as picture:
        assert picture.width > 600
        assert len(picture.convert("L").getcolors() or ()) > 20, "not an empty page"


def test_a_plot_shows_the_results(tmp_path: Path) -> None:
    pictures = []
    for rate in (0.1, 0.9):
        made_up(make_study("cameras"), {"both": 0.5, "primary": rate, "wrist": 0.5}).write(tmp_path)
        pictures.append((tmp_path / "ablation.png").read_bytes())
    assert pictures[0] != pictures[1]


def test_nothing_yet_is_a_table_without_a_plot(tmp_path: Path) -> None:
    outcome = outcome_of(make_study("proprioception"), {}, {})
    outcome.write(tmp_path)
    assert [row[1] for row in lines(outcome)] == ["-", "-"]
    assert not (tmp_path / "ablation.png").exists()
    console = Console(width=120, record=True, file=(tmp_path / "said").open("w"))
    console.print(rich_table(outcome))
    assert "without" in console.export_text()
