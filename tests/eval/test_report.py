import io
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from seerkit.eval.actors import ExpertActor, RandomActor
from seerkit.eval.curves import Series, figures, listening, read_curves, smooth
from seerkit.eval.html import render
from seerkit.eval.pictures import mp4, still
from seerkit.eval.plots import number, ticks
from seerkit.eval.published import published
from seerkit.eval.quality import CEILING, judge, psnr, ssim
from seerkit.eval.records import Episode, Recording, Rollout
from seerkit.eval.report import Report, finite, write_atomic
from seerkit.eval.rollout import rollout
from seerkit.eval.scene import Scene
from tests.eval.browser import opened
from tests.eval.fakes import FakeAgent, FakeReach

FAKE = Scene(FakeReach, horizon=26, start="fork")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    log = tmp_path_factory.mktemp("run") / "metrics.jsonl"
    lines: list[dict] = [{"step": step, "loss": 1 / step, "loss_arm": 0.5 / step, "lr": 1e-3} for step in range(1, 90)]
    lines += [
        {"step": step, "val_loss_arm": 0.5 / step, "val_loss_arm_wrong_word": 1.5 / step} for step in range(10, 90, 10)
    ]
    log.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"step": 90, "lo', encoding="utf-8")
    trained = rollout(FakeAgent(2), FAKE, episodes=8, record=2, ahead=3)
    rollouts = {
        "trained": trained,
        "expert": rollout(ExpertActor(), FAKE, episodes=4),
        "random": rollout(RandomActor(), FAKE, episodes=4),
    }
    known = {"recipe": {"name": "tiny", "hash": "ab" * 32, "config": {"a": {"b": "<script>alert(1)</script>"}}}}
    curves = read_curves(log)
    return Report("Tiny <b>on</b> Fake", rollouts, "A & B", known, curves, ("Mind this.",), benchmark="LIBERO-LONG")


def test_numbers_agree_between_page_and_json(report: Report, tmp_path: Path) -> None:
    page = report.write(tmp_path / "out")
    told = json.loads((tmp_path / "out/report.json").read_text())
    assert (told["schema"], told["version"]) == ("seerkit.eval.report", 1)
    trained = told["actors"]["trained"]
    assert trained["episodes"] == 8
    assert trained["successes"] == sum(row["success"] for row in told["episodes"] if row["actor"] == "trained")
    assert report.rate().value == trained["successes"] / 8
    assert sum(group["episodes"] for group in told["groups"]) == 16
    text = page.read_text()
    assert f"<b>{100 * trained['rate']['value']:.0f} %</b>" in text
    assert f"{trained['successes']}/8" in text
    assert not list((tmp_path / "out").glob(".*"))


def test_page_is_self_contained_and_escapes_what_it_is_told(report: Report) -> None:
    page = render(report)
    assert "<script>alert" not in page
    assert "Tiny &lt;b&gt;on&lt;/b&gt; Fake" in page
    assert not re.findall(r"""(?:src|href)=["'](?!data:)[^"']+""", page)
    fetched = re.sub(r"data:[a-z]+/[a-z0-9]+;base64,[A-Za-z0-9+/=]+", "", page)
    assert set(re.findall(r"https?://[^\s\"']+", fetched)) == {"http://www.w3.org/2000/svg"}  # a name, not an address
    assert "@import" not in page


def test_a_report_of_nothing_but_numbers_still_renders() -> None:
    bare = Report("Bare", {"trained": Rollout((Episode(0, 7, "Reach", "", False, 3),))})
    page = render(bare)
    assert "<video" not in page
    assert 'id="training"' not in page
    with pytest.raises(ValueError, match="given none"):
        bare.write_still("x.png")
    with pytest.raises(KeyError, match="'trained'"):
        bare.rate("expert")


def test_video_is_h264_that_browsers_play(report: Report) -> None:
    recording = report.recordings[0]
    with av.open(io.BytesIO(mp4(recording, fps=10, hold=1.0))) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert sum(1 for _ in container.decode(stream)) == recording.episode.steps + 1 + 10


def test_still_shows_saw_foreseen_and_came(report: Report, tmp_path: Path) -> None:
    picture = Image.open(report.write_still(tmp_path / "still.png", moments=4, side=64))
    assert picture.height == 26 + 6 * (64 + 8)  # two cameras, three rows each
    green = np.asarray(picture)[..., 1]
    assert green.max() > 200  # the robot is in the picture


def test_foresight_is_compared_with_the_frame_that_came() -> None:
    frames = {"primary": np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8), np.uint8)}
    perfect = {"primary": np.concatenate([frames["primary"][3:], np.zeros((2, 3, 8, 8), np.uint8)])}
    recording = Recording(Episode(0, 0, "T", "i", True, 8), frames, perfect, 3)
    scored = judge(recording)["primary"]
    assert scored.foreseen.tolist() == [CEILING] * 6
    assert scored.repeated.max() < 15
    assert still(replace(recording, frames={"primary": frames["primary"][:2]})).width > 0  # shorter than `ahead`


def test_psnr_is_the_textbook_number() -> None:
    black = np.zeros((4, 4, 3), np.uint8)
    assert psnr(black, black + np.uint8(16)) == pytest.approx(20 * math.log10(255 / 16))
    with pytest.raises(ValueError, match=r"\(4, 4, 3\) and \(4, 4\)"):
        psnr(black, black[..., 0])


def ssim_by_the_formula(one: np.ndarray, other: np.ndarray) -> float:
    """Structural similarity place by place, as the paper writes it down."""
    reach = np.arange(11) - 5
    window = np.exp(-(reach[:, None] ** 2 + reach[None] ** 2) / 4.5)
    window /= window.sum()
    found = []
    for channel in range(one.shape[2]):
        for top in range(one.shape[0] - 10):
            for left in range(one.shape[1] - 10):
                x, y = (frame[top : top + 11, left : left + 11, channel].astype(float) for frame in (one, other))
                mx, my = (window * x).sum(), (window * y).sum()
                vx, vy = (window * (x - mx) ** 2).sum(), (window * (y - my) ** 2).sum()
                vxy = (window * (x - mx) * (y - my)).sum()
                c1, c2 = 6.5025, 58.5225
                found.append((2 * mx * my + c1) * (2 * vxy + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2)))
    return float(np.mean(found))


def test_ssim_is_the_papers_formula() -> None:
    draw = np.random.default_rng(0)
    one = draw.integers(0, 256, (16, 14, 3), dtype=np.uint8)
    other = np.clip(one.astype(int) + draw.integers(-60, 60, one.shape), 0, 255).astype(np.uint8)
    assert ssim(one, other) == pytest.approx(ssim_by_the_formula(one, other), abs=1e-9)
    assert ssim(one, one) == pytest.approx(1.0)
    assert ssim(one, other) == ssim(other, one) < 0.95
    assert ssim(one, 255 - one) < 0
    with pytest.raises(ValueError, match="11 pixels or more"):
        ssim(one[:10], one[:10])


def test_curves_survive_an_unfinished_line(report: Report) -> None:
    assert report.curves["loss"].x[-1] == 89
    assert listening(report.curves) == pytest.approx(3.0)
    titles = [figure.title for figure in figures(report.curves)]
    assert titles[:3] == ["Training loss", "Held-out loss", "Does it listen?"]
    assert read_curves(None) == {}
    assert smooth([1.0, 5.0, 1.0]) == [1.0, pytest.approx(7 / 3), 1.0]


@pytest.mark.parametrize(
    ("metric", "title"),
    [
        ("psnr", "Foresight on held-out episodes, dB"),
        ("cosine", "Foresight on held-out episodes: cosine"),
        ("depth_error", "Foresight on held-out episodes, metres"),
    ],
)
def test_whatever_is_foreseen_has_a_chart_beside_repeating_the_present(metric: str, title: str) -> None:
    values = {"primary": 0.75, "copy_primary": 0.5, "wrist": 0.625, "copy_wrist": 0.25}
    curves = {f"val_{metric}_{name}": Series(f"val_{metric}_{name}", (5, 9), (0, y)) for name, y in values.items()}
    (drawn,) = figures(curves)
    assert drawn.title == title
    labels = ["primary, foreseen", "primary, repeated", "wrist, foreseen", "wrist, repeated"]
    assert [(series.name, series.last) for series in drawn.series] == list(zip(labels, values.values(), strict=True))
    page = render(Report("Bare", {"trained": Rollout((Episode(0, 7, "Reach", "", False, 3),))}, curves=curves))
    chart = page.split('id="training"')[1].split("<details>")[0]
    assert f"<figcaption>{title}</figcaption>" in chart
    assert all(f"{label} <b>{value:.3g}</b>" in chart for label, value in zip(labels, values.values(), strict=True))


def test_axes_choose_round_numbers() -> None:
    assert ticks(0, 2000, count=5) == [0, 500, 1000, 1500, 2000]
    assert [number(value) for value in (0.0299, 12.345, 2000.0, 45_000.0, 3e-5)] == [
        "0.0299", "12.3", "2000", "45k", "3.0e-05",
    ]  # fmt: skip


def test_json_holds_no_nan_and_files_are_whole_or_absent(tmp_path: Path) -> None:
    assert finite({"a": (math.nan, np.float32(1), np.int64(2), True)}) == {"a": [None, 1.0, 2, True]}
    with pytest.raises(TypeError):
        write_atomic(tmp_path / "x", "not bytes")  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.browser
@pytest.mark.slow
def test_page_works_in_a_browser(report: Report, browser: str, tmp_path: Path) -> None:
    with opened(browser, report.write(tmp_path)) as page:
        assert page.evaluate("document.querySelectorAll('.bar').length") == 3
        page.until("[...document.querySelectorAll('video')].every(video => video.readyState >= 2)")
        page.evaluate("document.querySelector('video').scrollIntoView({block: 'center'})")
        page.until("document.querySelector('video').currentTime > 0.3")
        page.until("document.querySelector('.score').textContent.includes(', t = ')")
        assert page.evaluate("document.querySelector('video').videoWidth") > 300

        column = "[...document.querySelectorAll('#episodes tbody tr')].map(row => Number(row.cells[6].textContent))"
        click = "document.querySelectorAll('#episodes th button')[6].click()"
        given = page.evaluate(column)
        page.evaluate(click)
        assert page.evaluate(column) == sorted(given)
        page.evaluate(click)
        assert page.evaluate(column) == sorted(given, reverse=True)
        page.evaluate("document.querySelectorAll('#tasks th button')[0].click()")
        actors = page.evaluate("[...document.querySelectorAll('#tasks tbody tr')].map(row => row.cells[0].textContent)")
        assert actors == sorted(actors)
        page.evaluate("document.querySelectorAll('#published th button')[2].click()")
        rates = "[...document.querySelectorAll('#published tbody tr')].map(row => Number(row.cells[2].dataset.value))"
        assert page.evaluate(rates) == sorted(page.evaluate(rates))
        assert (
            page.evaluate("document.querySelectorAll('#published tbody tr').length")
            == len(published("LIBERO-LONG")) + 1
        )

        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.evaluate("document.getElementById('theme').click()")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before

        page.evaluate("document.querySelector('#training').scrollIntoView()")
        box = page.evaluate("JSON.stringify(document.querySelector('.chart svg').getBoundingClientRect())")
        place = json.loads(box)
        middle = {"x": place["x"] + place["width"] / 2, "y": place["y"] + place["height"] / 2}
        page.send("Input.dispatchMouseEvent", type="mouseMoved", **middle)
        assert "loss_arm" in page.until("document.getElementById('hover').textContent")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # nothing sticks out sideways
        assert page.complaints == []
        assert [url for url in page.requests if not url.startswith(("data:", "file:", "about:"))] == []
