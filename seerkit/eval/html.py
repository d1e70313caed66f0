"""The report as one HTML file: styles, script, charts and videos inside, nothing fetched from anywhere."""

import base64
import html
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from string import Template
from typing import TYPE_CHECKING, Any

import numpy as np

from seerkit.eval import chain_page
from seerkit.eval.cells import bar, cell, ends, percent, table, text
from seerkit.eval.chains import Chains
from seerkit.eval.curves import figures, listening, told_by
from seerkit.eval.pictures import mp4, png, still
from seerkit.eval.plots import chart, number
from seerkit.eval.published import METRICS, RATE, published
from seerkit.eval.quality import judge
from seerkit.eval.records import Recording, Rollout

if TYPE_CHECKING:
    from seerkit.eval.report import Report

FPS = 10
"""Control steps per second in the videos."""
NAMES = {"trained": "Trained policy", "expert": "Scripted expert", "random": "Random actions"}


def render(report: "Report") -> str:
    """Draw the whole page."""
    sections = [
        _header(report),
        _warnings(report.warnings),
        _section("foresight", "What it saw, foresaw, and what came", _films(report), _FORESIGHT),
        _section("training", "Training", _charts(report)),
        *_chains(report),
        _section("tasks", "Tasks", _tasks(report), _TASKS),
        _section("published", f"Published on {report.benchmark}", _published(report), _PUBLISHED),
        _section("episodes", "Episodes", _episodes(report), "Every episode is a function of its seed."),
        _section("provenance", "Provenance", _provenance(report), "What can change these numbers."),
    ]
    page = Template(_asset("page.html"))
    return page.substitute(
        title=text(report.title), style=_asset("page.css"), script=_asset("page.js"), body="\n".join(sections)
    )


_FORESIGHT = (
    "Left: what the cameras saw. Middle: the frame the policy drew, before acting, for a few steps later. Right: the "
    "frame that then came. At ten steps per second."
)


_TASKS = (
    "Wilson's 95 % interval, and the bootstrap's, which has no width where all episodes went alike. Click a heading to "
    "sort."
)
_PUBLISHED = (
    "Published by others, with their checkpoints, simulators and protocols: nobody measured these numbers here. Only "
    "what is marked as measured here comes from this evaluation."
)


def _asset(name: str) -> str:
    return resources.files("seerkit.eval").joinpath(name).read_text(encoding="utf-8")


def _section(name: str, title: str, body: str, note: str = "") -> str:
    if not body:
        return ""
    told = f'<p class="note">{text(note)}</p>' if note else ""
    return f'<section id="{name}"><h2>{text(title)}</h2>{told}{body}</section>'


def _header(report: "Report") -> str:
    bars = "".join(_bar(actor, rollout) for actor, rollout in report.rollouts.items())
    chips = "".join(f"<li><span>{text(name)}</span> {text(value)}</li>" for name, value in _chips(report))
    summary = f'<p class="summary">{text(report.summary)}</p>' if report.summary else ""
    return (
        f'<header><p class="brand">seerkit evaluation</p><h1>{text(report.title)}</h1>{summary}'
        f'<div class="hero"><div class="bars" role="list">{bars}'
        '<div class="axis" aria-hidden="true"><span></span><span class="ticks"><i>0</i><i>25</i><i>50</i><i>75</i>'
        f'<i>100 %</i></span><span></span></div></div>{_tiles(report)}</div><ul class="chips">{chips}</ul></header>'
    )


def _bar(actor: str, rollout: Rollout) -> str:
    if rollout.in_a_row:
        return chain_page.bars(actor, Chains(rollout.episodes))
    return bar(NAMES.get(actor, actor), actor, rollout.rate, rollout.successes, len(rollout.episodes))


def _tiles(report: "Report") -> str:
    tiles: list[tuple[str, str, str]] = []
    trained = report.rollouts.get("trained")
    if trained and trained.in_a_row:
        tiles.append(chain_page.tile(Chains(trained.episodes)))
    if trained and trained.latency:
        spent = trained.latency
        detail = f"p50 for {spent.rows} at once; p95 {number(spent.p95)} ms; first answer {number(spent.warm_up)} ms"
        tiles.append(("Time to act", f"{number(spent.p50)} ms", detail))
    done = trained.episodes if trained and not trained.in_a_row else ()
    steps = [episode.steps for episode in done if episode.success]
    if steps:
        tiles.append(
            ("Steps to success", f"{np.median(steps):.0f}", f"median of {len(steps)}; {min(steps)} to {max(steps)}")
        )
    for camera, scores in report.foresight().items():
        gain = f"repeating the present: {scores['repeated'].value:.1f} dB"
        tiles.append((f"Foresight, {camera}", f"{scores['foreseen'].value:.1f} dB", gain))
    ratio = listening(report.curves)
    if ratio is not None:
        tiles.append(
            (f"Misled by a wrong {told_by(report.curves)}", f"{ratio:.1f} x", "held-out action loss, wrong / right")
        )
    cells = "".join(
        f"<div><dt>{text(name)}</dt><dd>{text(value)}<small>{text(detail)}</small></dd></div>"
        for name, value, detail in tiles
    )
    return f'<dl class="tiles">{cells}</dl>' if cells else ""


def _chips(report: "Report") -> Iterable[tuple[str, str]]:
    known = report.provenance
    if "recipe" in known:
        yield "recipe", f"{known['recipe']['name']} {known['recipe']['hash'][:10]}"
    if "weights" in known:
        yield "weights", known["weights"]["sha256"][:10]
    seeds = sorted({episode.seed for rollout in report.rollouts.values() for episode in rollout.episodes})
    if seeds:
        yield "sequences" if report.chains() else "seeds", f"{seeds[0]} to {seeds[-1]}"
    if "execution" in known:
        yield "device", known["execution"]["device"]
    if "created" in known:
        yield "made", known["created"].replace("T", " ").replace("+00:00", " UTC")


def _warnings(warnings: Sequence[str]) -> str:
    items = "".join(f"<li>{text(warning)}</li>" for warning in warnings)
    return f'<aside class="warnings" role="note"><h2>Please note</h2><ul>{items}</ul></aside>' if items else ""


def _films(report: "Report") -> str:
    cards = "".join(_film(recording) for recording in report.recordings)
    return f'<div class="films">{cards}</div>' if cards else ""


def _film(recording: Recording) -> str:
    episode, judged = recording.episode, judge(recording)
    video = base64.b64encode(mp4(recording, fps=FPS)).decode()
    picture = base64.b64encode(png(still(recording, side=96))).decode()
    scores = {
        camera: {"foreseen": scored.foreseen.round(1).tolist(), "repeated": scored.repeated.round(1).tolist()}
        for camera, scored in judged.items()
    }
    data = html.escape(json.dumps({"fps": FPS, "psnr": scores}), quote=True)
    mark = '<span class="yes">success</span>' if episode.success else '<span class="no">failed</span>'
    alt = f"Film strip of episode {episode.index}: frames seen, foreseen and come"
    average = "\n".join(
        f"{camera}: {scored.foreseen.mean():.1f} dB, repeating the present {scored.repeated.mean():.1f} dB"
        for camera, scored in judged.items()
        if len(scored.foreseen)
    )
    facts = f"{episode.task} · episode {episode.index} · seed {episode.seed} · {episode.steps} steps"
    return (
        f'<article class="film" data-film="{data}"><h3>{mark} {text(episode.instruction or episode.task)}</h3>'
        f'<p class="note">{text(facts)}</p>'
        f'<video controls muted loop playsinline preload="auto" src="data:video/mp4;base64,{video}"></video>'
        f'<p class="score" data-average="{text(average)}">{text(average)}</p>'
        f'<details><summary>Film strip</summary><img loading="lazy" alt="{text(alt)}" '
        f'src="data:image/png;base64,{picture}"></details></article>'
    )


def _charts(report: "Report") -> str:
    drawn = figures(report.curves)
    main = "".join(chart(figure) for figure in drawn if len(figure.series) > 1)
    rest = "".join(chart(figure) for figure in drawn if len(figure.series) == 1)
    more = f'<details><summary>More curves</summary><div class="charts">{rest}</div></details>' if rest else ""
    return f'<div class="charts">{main}</div>{more}' if main or rest else ""


def _chains(report: "Report") -> list[str]:
    chains = report.chains()
    if not chains:
        return []
    told = "A sequence ends at its first failure; its number fixes where it begins and what is asked for."
    return [
        _section("tasks", "Tasks", chain_page.tasks(chains), chain_page.NOTE),
        _section("sequences", "Sequences", chain_page.sequences(chains), told),
    ]


def _tasks(report: "Report") -> str:
    heads = ("Actor", "Task", "Instruction", "Success", "95 % interval", "Bootstrap", "Episodes", "Steps to success")
    rows = []
    for group in report.groups():
        rate, drawn, steps = group.rate, group.resampled, group.steps
        meter = f'<span class="meter {text(group.actor)}"><i style="width:{100 * rate.value:.1f}%"></i></span>'
        cells = [
            cell(NAMES.get(group.actor, group.actor)),
            cell(group.task),
            cell(group.instruction),
            cell(percent(rate), rate.value, extra=meter),
            cell(ends(rate), rate.low),
            cell(ends(drawn), drawn.low),
            cell(len(group.episodes), len(group.episodes)),
            cell(f"{steps.value:.1f}" if steps else "-", steps.value if steps else 1e9),
        ]
        rows.append("".join(cells))
    return table(heads, rows, numeric={3, 4, 5, 6, 7}) if rows else ""


def _published(report: "Report") -> str:
    numbers = published(report.benchmark)
    if not numbers or report.benchmark is None:
        return ""
    metric = METRICS[report.benchmark]
    shown = "{:.1f} %" if metric == RATE else "{:.2f}"
    played = report.rollouts.get("trained")
    rows = [_own(report)] if played and played.in_a_row == (metric != RATE) else []
    for one in numbers:
        chain = " / ".join(f"{share:.1f}" for share in one.in_a_row) or "-"
        cells = [cell(one.policy), cell("published"), cell(shown.format(one.value), one.value), cell(chain)]
        rows.append("".join([*cells, cell(one.source)]))
    heads = ("Policy", "Measured", metric.capitalize(), "1 to 5 in a row, %", "Source")
    return table(heads, rows, numeric={2})


def _own(report: "Report") -> str:
    chains = report.chains().get("trained")
    if chains is not None:
        return chain_page.own_row(report.title, chains)
    rate = report.rate()
    told = f"{100 * rate.value:.1f} % ({ends(rate)})"
    cells = [cell(report.title), cell("here"), cell(told, 100 * rate.value), cell("-"), cell("this evaluation")]
    return "".join(cells)


def _episodes(report: "Report") -> str:
    heads = ("Actor", "Episode", "Seed", "Task", "Instruction", "Outcome", "Steps")
    rows = [
        cell(NAMES.get(actor, actor))
        + cell(episode.index, episode.index)
        + cell(episode.seed, episode.seed)
        + cell(episode.task)
        + cell(episode.instruction)
        + cell(
            "success" if episode.success else "failed", int(episode.success), kind="yes" if episode.success else "no"
        )
        + cell(episode.steps, episode.steps)
        for actor, rollout in report.rollouts.items()
        for episode in (() if rollout.in_a_row else rollout.episodes)
    ]
    if not rows:
        return ""
    return f'<div class="scroll">{table(heads, rows, numeric={1, 2, 6})}</div>'


def _provenance(report: "Report") -> str:
    parts = [_details(name, value) for name, value in report.provenance.items() if isinstance(value, dict)]
    return "".join(parts)


def _details(name: str, value: dict[str, Any]) -> str:
    rows = "".join(f"<tr><th>{text(key)}</th><td>{_value(item)}</td></tr>" for key, item in value.items())
    return f"<details><summary>{text(name.replace('_', ' '))}</summary><table class=facts>{rows}</table></details>"


def _value(item: Any) -> str:  # noqa: ANN401 - any JSON value
    if isinstance(item, dict):
        return f"<pre>{text(_plain(item))}</pre>"
    if isinstance(item, list | tuple):
        return text(", ".join(map(str, item))) or "-"
    return "-" if item is None else text(item)


def _plain(tree: dict[str, Any], indent: int = 0) -> str:
    """Write a tree the way YAML does; enough to be read, not to be parsed."""
    lines = []
    for key, item in tree.items():
        below = (
            f"\n{_plain(item, indent + 1)}"
            if isinstance(item, dict) and item
            else f" {'none' if item in ({}, [], None) else item}"
        )
        lines.append(f"{'  ' * indent}{key}:{below}")
    return "\n".join(lines)
