"""Differences of success rates, and reports side by side."""

import json
import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from typer.testing import CliRunner

from seerkit.cli import app
from seerkit.eval.compare import compare, differing, read_report
from seerkit.eval.difference import difference, fisher, holm, mcnemar, paired_difference
from seerkit.eval.records import Episode, Rollout
from seerkit.eval.report import Report
from seerkit.eval.statistics import stratified_bootstrap

PLAYED = [True] * 30 + [False] * 10
BETTER = [True] * 38 + [False] * 2


def report(
    folder: Path, won: list[bool], *, task: str = "Reach", first: int = 0, steps: int = 9, **known: object
) -> Path:
    """Write a report of a policy that won some of its episodes, beside an expert that won all."""
    rollouts = {
        "trained": Rollout(tuple(Episode(i, first + i, task, "", good, 9) for i, good in enumerate(won))),
        "expert": Rollout(tuple(Episode(i, first + i, task, "", True, steps) for i in range(len(won)))),
    }
    Report("Test", rollouts, provenance=known).write(folder)
    return folder


def recipe(lr: float) -> dict:
    return {"name": "tiny", "hash": f"{lr}", "config": {"lr": lr}}


@pytest.mark.parametrize(("one", "other"), list(product(range(0, 9, 2), repeat=2)))
def test_mcnemar_is_the_binomial_test(one: int, other: int) -> None:
    known = stats.binomtest(one, one + other).pvalue if one + other else 1.0
    assert mcnemar(one, other) == pytest.approx(known, abs=1e-12)


@pytest.mark.parametrize("first", [(0, 7), (3, 20), (20, 20), (11, 31)])
@pytest.mark.parametrize("second", [(0, 5), (9, 20), (30, 30)])
def test_fisher_agrees_with_scipy(first: tuple[int, int], second: tuple[int, int]) -> None:
    table = [[first[0], first[1] - first[0]], [second[0], second[1] - second[0]]]
    assert fisher(first, second) == pytest.approx(stats.fisher_exact(table).pvalue, rel=1e-9)


def test_newcombes_own_examples() -> None:
    independent = difference((48, 80), (56, 70))  # Newcombe (1998), independent samples, table II (a), method 10
    assert (independent.low, independent.high) == pytest.approx((0.0524, 0.3339), abs=5e-5)
    pairs = [(True, True)] * 36 + [(False, True)] * 12 + [(True, False)] * 2  # paired samples, 36, 12, 2, 0, method 10
    paired = paired_difference(pairs)
    assert (paired.value, paired.low, paired.high) == pytest.approx((0.2, 0.0569, 0.3404), abs=5e-5)


def test_intervals_turn_round_with_the_sides_and_pairing_helps_where_outcomes_agree() -> None:
    pairs = [(True, True)] * 20 + [(False, False)] * 15 + [(False, True)] * 5
    there, back = paired_difference(pairs), paired_difference([(two, one) for one, two in pairs])
    assert (there.low, there.high) == pytest.approx((-back.high, -back.low))
    loose = difference((20, 40), (25, 40))
    assert there.high - there.low < 0.7 * (loose.high - loose.low)
    assert there.low > 0 > loose.low


def test_the_paired_interval_holds_the_truth_as_often_as_it_says() -> None:
    draw, held, worlds = np.random.default_rng(0), 0, 600
    for _ in range(worlds):
        kind = draw.choice(4, size=40, p=[0.55, 0.2, 0.05, 0.2])  # both, only second, only first, neither
        interval = paired_difference([(k in (0, 2), k in (0, 1)) for k in kind.tolist()])
        held += interval.low <= 0.15 <= interval.high
    assert 0.93 <= held / worlds <= 0.98


def test_exact_tests_cry_wolf_rarely_enough() -> None:
    draw = np.random.default_rng(1)
    alone = draw.multinomial(30, [0.2, 0.2, 0.6], size=500)
    assert np.mean([mcnemar(int(a), int(b)) < 0.05 for a, b, _ in alone]) <= 0.05
    wins = draw.binomial(25, 0.6, size=(500, 2))
    assert np.mean([fisher((int(a), 25), (int(b), 25)) < 0.05 for a, b in wins]) <= 0.05


def test_holm_never_lowers_and_keeps_the_order() -> None:
    values = [0.2, 0.001, 0.04, 0.03]
    adjusted = holm(values)
    assert adjusted == pytest.approx([0.2, 0.004, 0.09, 0.09])
    assert holm([]) == []


def test_bootstrap_within_strata_leaves_out_what_tasks_differ_in() -> None:
    tasks = [[1.0] * 20, [0.0] * 20]
    assert stratified_bootstrap(tasks).to_dict() == {"value": 0.5, "low": 0.5, "high": 0.5}
    pooled = stratified_bootstrap([tasks[0] + tasks[1]])
    half = 1.96 * math.sqrt(0.25 / 40)
    assert (pooled.low, pooled.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.026)
    assert math.isnan(stratified_bootstrap([[]]).value)


def test_the_same_layouts_are_compared_one_by_one(tmp_path: Path) -> None:
    found = compare(report(tmp_path / "a", PLAYED), report(tmp_path / "b", BETTER))
    assert found.overall.paired
    assert (found.overall.only_first, found.overall.only_second) == (0, 8)
    assert found.overall.p == pytest.approx(2 * 0.5**8)
    assert found.larger_than_chance
    assert found.overall.change.value == pytest.approx(0.2)
    assert (found.tasks, found.notes) == ((), ())


def test_other_layouts_are_compared_as_rates_and_the_same_difference_may_be_chance(tmp_path: Path) -> None:
    found = compare(report(tmp_path / "a", PLAYED), report(tmp_path / "b", BETTER[:35], first=1000))
    assert not found.overall.paired
    assert found.overall.p == pytest.approx(fisher((30, 40), (35, 35)))
    small = compare(report(tmp_path / "c", PLAYED[25:35]), report(tmp_path / "d", BETTER[32:40], first=1000))
    assert not small.larger_than_chance


def test_a_smaller_report_is_compared_on_its_own_layouts(tmp_path: Path) -> None:
    found = compare(report(tmp_path / "a", PLAYED), report(tmp_path / "b", BETTER[:32]))
    assert (found.overall.paired, found.overall.episodes) == (True, (32, 32))
    assert found.notes == ("8 episodes of the first report have no partner and are left out.",)


def test_an_environment_that_changed_is_noticed_by_its_expert(tmp_path: Path) -> None:
    found = compare(report(tmp_path / "a", PLAYED), report(tmp_path / "b", PLAYED, steps=10))
    assert "'expert' went another way on 40 of 40" in found.notes[0]


def test_fields_that_differ_are_named_once_and_those_that_follow_from_them_not() -> None:
    def known(decay: float, torch: str) -> dict:
        ensemble = {"_target_": "seerkit.ensemble.TemporalEnsemble", "decay": decay}
        return {
            "created": torch,
            "recipe": {"name": "seer", "hash": str(decay), "config": {"ensemble": ensemble, "cameras": ["a"]}},
            "execution": {"ensemble": ensemble, "device": "cpu"},
            "image_pipeline": {"primary": {"size": decay}, "frames": {"Reach": {"primary": [3, 64, 64]}}},
            "versions": {"torch": torch, **({"mujoco": "3.3.2"} if decay else {})},
        }

    found = [(field.name, field.first, field.second) for field in differing(known(0.01, "2.13"), known(0.0, "2.14"))]
    assert found == [
        ("recipe.config.ensemble.decay", 0.01, 0.0),
        ("versions.mujoco", "3.3.2", "(not there)"),
        ("versions.torch", "2.13", "2.14"),
    ]


def test_several_tasks_are_corrected_for_being_several(tmp_path: Path) -> None:
    def both(folder: Path, won: list[bool]) -> Path:
        episodes = [Episode(i, i, task, "", good, 9) for task in ("Reach", "Pick") for i, good in enumerate(won)]
        Report("Two", {"trained": Rollout(tuple(episodes))}).write(folder)
        return folder

    found = compare(both(tmp_path / "a", PLAYED), both(tmp_path / "b", BETTER))
    assert [score.task for score in found.tasks] == ["Pick", "Reach"]
    assert [score.p for score in found.tasks] == pytest.approx([4 * 0.5**8] * 2)
    assert found.overall.p == pytest.approx(2 * 0.5**16)
    assert found.overall.episodes == (80, 80)


def test_what_is_no_report_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no report at"):
        read_report(tmp_path)
    for text, message in (
        ("{", "no report of seerkit eval"),
        ('{"schema": "else"}', r"expected schema 'seerkit\.eval\.report'"),
        ('{"schema": "seerkit.eval.report", "version": 9}', "has version 9; this seerkit reads version 1"),
    ):
        (tmp_path / "report.json").write_text(text)
        with pytest.raises(ValueError, match=message):
            read_report(tmp_path)
    with pytest.raises(ValueError, match=r"given \['Reach'\] and \['Pick'\]"):
        compare(report(tmp_path / "a", PLAYED), report(tmp_path / "b", PLAYED, task="Pick"))


def test_a_runs_report_is_found_and_the_command_says_whether_it_is_chance(tmp_path: Path) -> None:
    report(tmp_path / "run/report", PLAYED, recipe=recipe(0.1), weights={"sha256": "ab" * 32})
    report(tmp_path / "other", BETTER, recipe=recipe(0.2), weights={"sha256": "cd" * 32})
    arguments = ["eval", "--compare", str(tmp_path / "run"), str(tmp_path / "other/report.json")]
    said = CliRunner(env={"COLUMNS": "80"}).invoke(app, arguments, catch_exceptions=False).output
    assert "2 entries differ" in said
    assert "recipe.config.lr: 0.1 -> 0.2" in said
    assert f"weights.sha256: {'ab' * 6} -> {'cd' * 6}" in said
    assert "75 (60 to 86) 95 (83 to 99) +20" in said
    assert "B is better by more than chance explains (p = 0.0078, McNemar" in said
    for wrong in ([], ["checkpoint", "--compare", "a", "b"]):
        with pytest.raises(ValueError, match="one of the two"):
            CliRunner().invoke(app, ["eval", *wrong], catch_exceptions=False)


def test_reports_are_strict_json(tmp_path: Path) -> None:
    text = (report(tmp_path, PLAYED) / "report.json").read_text()
    told = json.loads(text, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert told["actors"]["trained"]["rate_bootstrap"]["value"] == 0.75
    assert 0.55 < told["actors"]["trained"]["rate_bootstrap"]["low"] < 0.65
