"""From a study to jobs: what is shared, what is not, and what is finished."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from seerkit.ablate.job import Job
from seerkit.ablate.study import PRESETS, make_study, plan
from seerkit.recipe import load_recipe


def test_every_row_and_seed_is_a_job_with_its_change(tmp_path: Path) -> None:
    before, jobs = plan(make_study("seer_table_3a", seeds=2), tmp_path)
    assert before == []
    assert [job.name for job in jobs] == [
        f"{row}, seed {seed}" for seed in (0, 1) for row in ("none", "fore", "fore_inv")
    ]
    for job in jobs:
        config = load_recipe(*job.recipe).config
        assert config["train"]["seed"] == job.seed
        assert config["train"]["updates"] == PRESETS["quick"].updates
        assert config["eval"]["episodes"] == PRESETS["quick"].trials
    none, fore, both = (load_recipe(*job.recipe).config for job in jobs[:3])
    assert "foresight" not in none["heads"]
    assert fore["layout"]["edges"]["action"]["foresight"]["when"] == "never"
    assert both["layout"]["edges"]["action"]["foresight"]["when"] == "same_step"
    assert len({job.folder for job in jobs}) == len({job.store for job in jobs}) * 6 == 6


def test_rows_that_differ_after_training_share_it(tmp_path: Path) -> None:
    _, jobs = plan(make_study("ensembler", seeds=2), tmp_path)
    assert len(jobs) == 2
    for job in jobs:
        assert [one.row for one in job.evaluations] == ["first", "temporal", "receding"]
        names = [load_recipe(*one.recipe).config["ensemble"]["_target_"].rpartition(".")[2] for one in job.evaluations]
        assert names == ["FirstAction", "TemporalEnsemble", "RecedingHorizon"]
        assert len({one.result for one in job.evaluations}) == 3


def test_equal_pre_training_is_shared_and_other_is_not(tmp_path: Path) -> None:
    before, jobs = plan(make_study("seer_data_fraction", ["pretrained_10", "pretrained_20", "scratch_10"]), tmp_path)
    assert len(before) == 3, "one per seed"
    assert len(jobs) == 9
    for job in jobs:
        expected = next(first.folder for first in before if first.seed == job.seed)
        assert job.before == (None if job.name.startswith("scratch") else expected)
    first, _ = plan(make_study("seer_table_3b", seeds=1), tmp_path)
    assert len(first) == 2
    assert [load_recipe(*job.recipe).config["losses"]["arm"]["weight"] for job in first] == [0.0, 1.0]
    assert {Path(job.store).name.partition("-")[0] for job in first} == {"play"}


def test_a_changed_setting_never_meets_old_files(tmp_path: Path) -> None:
    folders = []
    for change in ((), ("train.lr=5e-4",), ("train.updates=7",), ("eval.episodes=9",)):
        _, jobs = plan(make_study("proprioception", ["with"], seeds=1, overrides=change), tmp_path)
        folders.append((jobs[0].folder, jobs[0].evaluations[0].result))
    trained, results = zip(*folders, strict=True)
    assert len(set(trained)) == 3, "what is only evaluated otherwise keeps its training"
    assert trained[0] == trained[3]
    assert len(set(results)) == 4


def test_a_rows_own_change_wins_over_that_of_all_rows(tmp_path: Path) -> None:
    _, jobs = plan(make_study("chunk_length", seeds=1, overrides=("chunk=2",)), tmp_path)
    assert [load_recipe(*job.recipe).config["chunk"] for job in jobs] == [1, 2, 5, 10]


def test_jobs_travel_as_files(tmp_path: Path) -> None:
    for job in (*plan(make_study("seer_table_3b", seeds=1), tmp_path)[0], *plan(make_study("ensembler"), tmp_path)[1]):
        (tmp_path / "job.json").write_text(job.text())
        assert Job.read(tmp_path / "job.json") == job


def test_a_job_is_finished_when_its_results_are_there(tmp_path: Path) -> None:
    before, jobs = plan(make_study("seer_table_3b", ["both"], seeds=1), tmp_path)
    assert not jobs[0].finished
    Path(jobs[0].evaluations[0].result).parent.mkdir()
    Path(jobs[0].evaluations[0].result).write_text("{}")
    assert jobs[0].finished
    last = Path(before[0].folder) / "checkpoints" / "last"
    last.mkdir(parents=True)
    for update, finished in ((3, False), (5, True)):
        (last / "training.json").write_text(json.dumps({"update": update, "total": 5}))
        assert before[0].finished is finished


def test_stores_depend_on_the_task_and_hold_what_it_can_show() -> None:
    reach, colours = (make_study("seer_table_3b", task=task).stores() for task in ("Reach", "ReachColor"))
    assert set(reach) == {"labelled", "play"} == set(colours)
    assert reach["play"].recording.chain == 0, "Reach has a single goal"
    assert colours["play"].recording.chain > 1
    assert len({one.key for one in (*reach.values(), *colours.values())}) == 4
    assert set(make_study("cameras").stores()) == {"labelled"}


@pytest.mark.parametrize(
    ("change", "message"),
    [({"preset": "quik"}, "did you mean 'quick'"), ({"task": "Raech"}, "did you mean 'Reach'"), ({"seeds": 0}, "seed")],
)
def test_wrong_settings_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_study("cameras", **change)


def test_presets_leave_rows_room_to_differ() -> None:
    quick, full = PRESETS["quick"], PRESETS["full"]
    smaller = {field.name for field in dataclasses.fields(quick)} - {"overrides"}
    assert all(getattr(quick, name) < getattr(full, name) for name in smaller)
