"""The demonstration, end to end, with almost nothing to learn from."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from seerkit.collect import Recording
from seerkit.demo import PRESETS, Demo, Lesson, choose, run

TINY = ("dim=16", "encoders.image.module.vit.depth=0", "train.batch_size=4", "train.warmup=1", "train.holdout=0")


@pytest.mark.sim
def test_two_lessons_end_in_a_report(tmp_path: Path) -> None:
    lessons = (
        Lesson(task="ReachColor", recording=Recording(chain=1, ask=0.5), episodes=12, updates=3),
        Lesson(task="PickPlace", recording=Recording(), episodes=1, updates=2, lr=1e-4),
    )
    told: list[str] = []
    demo = Demo(lessons=lessons, overrides=TINY, trials=1)
    report = run(demo, tmp_path / "demo", say=told.append, workers=1)
    page = tmp_path / "demo" / "report" / "report.html"
    assert "A small Seer learns PickPlace" in page.read_text()
    assert {"trained", "expert", "random"} == set(report.rollouts)
    assert report.rate("expert").value == 1.0
    assert (tmp_path / "demo" / "report" / "foresight.png").stat().st_size > 1000
    protocol = json.loads((tmp_path / "demo" / "report" / "report.json").read_text())
    assert protocol["schema"] == "seerkit.eval.report"
    assert any("recording 12 episodes of ReachColor" in line for line in told)
    again: list[str] = []
    run(dataclasses.replace(demo, trials=1), tmp_path / "demo", say=again.append, workers=1)
    assert not any("recording" in line for line in again), "what is there is not done again"


def test_presets_and_tasks_are_chosen_by_name() -> None:
    assert choose(None, None) == PRESETS["reach"]
    assert choose("language", None).task == "ReachColor"
    assert choose(None, "PickPlace") == PRESETS["pick_place"]
    assert choose(None, "StackCups").task == "StackCups"
    with pytest.raises(ValueError, match="did you mean 'language'"):
        choose("langage", None)
    with pytest.raises(ValueError, match="did you mean 'PickPlace'"):
        choose(None, "PickPlaces")
    with pytest.raises(ValueError, match="not both"):
        choose("reach", "Reach")
