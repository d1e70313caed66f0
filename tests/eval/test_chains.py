"""Scores of sequences of tasks, in reports and side by side."""

import io
import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from seerkit.cli_eval import Bars, sum_up
from seerkit.eval.chains import Chains
from seerkit.eval.compare import compare
from seerkit.eval.difference import mcnemar, sign_flip
from seerkit.eval.html import render
from seerkit.eval.records import Episode, Rollout
from seerkit.eval.report import Report
from tests.eval.browser import opened
from tests.eval.in_a_row import sequence_of

LENGTHS = (0, 0, 1, 5, 2, 3, 3, 1, 5, 0)


def test_scores_are_those_of_the_benchmark() -> None:
    chains = Chains([sequence_of(index, done) for index, done in enumerate(LENGTHS)])
    assert chains.length.value == pytest.approx(np.mean(LENGTHS))
    assert chains.length.low < chains.length.value < chains.length.high
    rates = [rate.value for rate in chains.in_a_row]
    assert rates == [np.mean(np.array(LENGTHS) >= wanted) for wanted in (1, 2, 3, 4, 5)]
    assert sum(rates) == pytest.approx(chains.length.value)  # the average length is their sum
    told = {score.task: (score.attempts, score.successes, score.steps) for score in chains.tasks}
    assert told["open_drawer"] == (10, 7, 10)
    assert told["stack_block"] == (4, 2, 13)
    assert told["close_drawer"] == (2, 2, 14)


def test_an_interval_without_width_is_not_given_for_certainty() -> None:
    alike = Report("Mine", {"trained": Rollout(tuple(sequence_of(index, 0) for index in range(3)))})
    console = Console(file=io.StringIO(), width=200)
    sum_up(alike, Path(), console)
    assert "average length 0.00   (no interval: all sequences went alike)" in console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
    page = render(alike)
    assert "0.00 to 0.00" not in page
    assert "no interval: all sequences went alike" in page


def test_without_a_terminal_lines_tell_how_long_it_still_takes(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter((0.0, 10.0, 70.0, 75.0, 100.0))
    monkeypatch.setattr("seerkit.cli_eval.time.monotonic", lambda: next(now))
    with Bars(unit="tasks in a row", every=60.0) as bars:
        for done, tasks in ((4, 8), (5, 8), (6, 9), (7, 14), (8, 15)):  # it was resumed after four
            bars.told("trained", done, 8, tasks)
    assert capfd.readouterr().err.splitlines() == [
        "trained 4/8, 2.00 tasks in a row",
        "trained 6/8, 1.50 tasks in a row, about 0:01:10 left",
        "trained 8/8, 1.88 tasks in a row",
    ]


def report(folder: Path, lengths: tuple[int, ...], **known: object) -> Path:
    played = Rollout(tuple(sequence_of(index, done) for index, done in enumerate(lengths)))
    Report("Mine", {"trained": played}, provenance=known, benchmark="CALVIN ABC->D").write(folder)
    return folder


def test_a_report_of_sequences(tmp_path: Path) -> None:
    told = json.loads((report(tmp_path, LENGTHS) / "report.json").read_text())
    scores = told["sequences"]["trained"]
    assert (scores["sequences"], scores["average_length"]["value"]) == (10, 2.0)
    assert [rate["value"] for rate in scores["in_a_row"]] == [0.7, 0.5, 0.4, 0.2, 0.2]
    assert told["groups"] == []
    assert told["episodes"][3]["completed"] == 5
    assert told["episodes"][3]["attempts"][0]["task"] == "open_drawer"
    page = (tmp_path / "report.html").read_text()
    for text in ("<b>70 %</b>", "5 in a row", "<dd>2.00<small>of 5 tasks", "<span>close_drawer</span>"):
        assert text in page
    assert page.count('class="sortable"') == 3  # tasks, sequences, published
    published = page.split('id="published"')[1].split("<section")[0]
    assert "<span>here</span>" in published
    assert "<span>4.30</span>" in published  # as its source prints it
    assert "70.0 / 50.0 / 40.0 / 20.0 / 20.0" in published
    assert "<video" not in render(Report("Bare", {"trained": Rollout((sequence_of(0, 2),))}))


@pytest.mark.parametrize("values", [(3, -1, 2, 2), (0, 0), (5, 5, -5, 1, -2, 4, 4), (1, 1, -1, 1)])
def test_sign_flips_are_counted_one_by_one(values: tuple[int, ...]) -> None:
    far = abs(sum(values))
    every = [
        abs(sum(s * v for s, v in zip(signs, values, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    assert sign_flip(values) == pytest.approx(np.mean(np.array(every) >= far))
    if set(values) <= {-1, 0, 1}:
        assert sign_flip(values) == mcnemar(values.count(-1), values.count(1))


def test_reports_of_sequences_are_compared_by_length(tmp_path: Path) -> None:
    better = tuple(min(5, done + 1) for done in LENGTHS)
    found = compare(report(tmp_path / "a", LENGTHS), report(tmp_path / "b", better[:8]))
    assert (found.overall.task, found.overall.unit, found.overall.episodes) == ("average length", "tasks", (8, 8))
    assert found.overall.change.value == pytest.approx(7 / 8)
    assert (found.overall.only_first, found.overall.only_second) == (0, 7)
    assert found.overall.p == pytest.approx(2 / 2**7)
    assert [score.task for score in found.tasks] == [f"{n} in a row" for n in (1, 2, 3, 4, 5)]
    assert found.tasks[0].change.value == pytest.approx(2 / 8)
    assert found.notes == ("2 episodes of the first report have no partner and are left out.",)
    Report("Twin", {"trained": Rollout((Episode(0, 0, "Reach", "", True, 9),))}).write(tmp_path / "c")
    with pytest.raises(ValueError, match=r"two reports of sequences .*\['Calvin-D'\] and \['Reach'\]"):
        compare(tmp_path / "a", tmp_path / "c")


def test_other_rules_are_said_beside_the_verdict(tmp_path: Path) -> None:
    def known(steps: int, button: str, renderer: str) -> dict:
        drawn = {"environments": {"Calvin-D": renderer}}
        return {"protocol": {"steps_per_task": steps, "workers": steps}, "renderer": drawn} | (
            {"settings": {"Calvin-D": {"button": button}}} if button else {}
        )

    one = report(tmp_path / "a", LENGTHS, **known(360, "head", "egl"))
    other = report(tmp_path / "b", LENGTHS, **known(20, "1431a46", "tiny"))
    (note,) = compare(one, other).notes
    for name in ("protocol.steps_per_task", "settings.Calvin-D.button", "renderer.environments.Calvin-D"):
        assert name in note
    assert "workers" not in note
    assert compare(one, report(tmp_path / "c", LENGTHS, **known(360, "", "egl"))).notes == ()


@pytest.mark.browser
@pytest.mark.slow
def test_a_page_of_the_whole_benchmark_opens_and_sorts(browser: str, tmp_path: Path) -> None:
    page_of = report(tmp_path, tuple(index * 7 % 6 for index in range(1000))) / "report.html"
    assert page_of.stat().st_size < 2**20
    with opened(browser, page_of) as page:
        assert page.evaluate("document.querySelectorAll('.bar').length") == 5
        column = "[...document.querySelectorAll('#sequences tbody tr')].map(row => Number(row.cells[1].textContent))"
        page.evaluate("document.querySelectorAll('#sequences th button')[1].click()")
        found = page.evaluate(column)
        assert (len(found), found) == (1000, sorted(found))
        page.evaluate("document.querySelectorAll('#tasks th button')[1].click()")
        shares = "[...document.querySelectorAll('#tasks tbody tr')].map(row => Number(row.cells[1].dataset.value))"
        assert page.evaluate(shares) == sorted(page.evaluate(shares))
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(("data:", "file:", "about:"))] == []
