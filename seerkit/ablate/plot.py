"""An ablation as a picture: every seed as a point, every row's mean with its interval."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from seerkit.ablate.results import ACTION_LOSS, Outcome
from seerkit.ablate.table import percent

INK, SEED, MEAN = "#333333", "#72b7b2", "#4c78a8"


def draw(outcome: Outcome, path: Path) -> Path:
    """Draw success and held-out action loss of every row; published numbers stand beside the row's name.

    Args:
        outcome: what to draw.
        path: the PNG to write; replaced only when the drawing is done.

    Returns:
        ``path``.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    losses = any(row.loss() for row in outcome.rows)
    height = 1.6 + 0.62 * len(outcome.rows)
    figure = Figure(figsize=(10.5 if losses else 7.0, height), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    axes: Any = figure.subplots(1, 2 if losses else 1, sharey=True, squeeze=False)[0]
    _successes(axes[0], outcome)
    if losses:
        _losses(axes[1], outcome)
    labels = [_label(outcome, place) for place in range(len(outcome.rows))]
    axes[0].set_yticks(range(len(outcome.rows)), labels, fontsize=8)
    axes[0].set_ylim(len(outcome.rows) - 0.5, -0.5)
    study = outcome.study
    figure.suptitle(f"{study.group.title}: {study.task} on the twin, {study.seeds} seeds", fontsize=11, color=INK)
    partial = path.with_name(f".{path.name}.partial")
    figure.savefig(partial, format="png")
    partial.replace(path)
    return path


def _successes(axes: Any, outcome: Outcome) -> None:  # noqa: ANN401 - matplotlib's axes
    for place, row in enumerate(outcome.rows):
        for shift, run in zip(_spread(len(row.runs)), row.runs, strict=True):
            bounds = [[100 * (run.rate.value - run.rate.low)], [100 * (run.rate.high - run.rate.value)]]
            axes.errorbar(
                100 * run.rate.value, place + 0.16 + shift, xerr=bounds, fmt="o", ms=4, lw=0.8, color=SEED, alpha=0.9
            )
        mean = row.success
        if mean is not None:
            bounds = [[100 * (mean.value - mean.low)], [100 * (mean.high - mean.value)]]
            axes.errorbar(100 * mean.value, place - 0.16, xerr=bounds, fmt="D", ms=6, lw=2.2, capsize=4, color=MEAN)
            axes.annotate(
                percent(mean), (100 * mean.value, place - 0.16), xytext=(0, 7), textcoords="offset points",
                ha="center", fontsize=7, color=INK,
            )  # fmt: skip
    axes.set_xlim(-3, 103)
    axes.set_xlabel("success, per cent: seeds (Wilson) and mean, 95 %", fontsize=8)
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)


def _losses(axes: Any, outcome: Outcome) -> None:  # noqa: ANN401 - matplotlib's axes
    for place, row in enumerate(outcome.rows):
        values = [run.losses[ACTION_LOSS] for run in row.runs if ACTION_LOSS in run.losses]
        axes.plot(values, [place + 0.16 + shift for shift in _spread(len(values))], "o", ms=4, color=SEED)
        if values:
            axes.plot([sum(values) / len(values)], [place - 0.16], "D", ms=6, color=MEAN)
    axes.set_xlabel("held-out arm loss: seeds and mean", fontsize=8)
    axes.margins(x=0.15)
    axes.grid(axis="x", color="#dddddd", lw=0.6)
    axes.set_axisbelow(True)


def _spread(count: int) -> list[float]:
    """Return small shifts that keep the points of a row apart."""
    return [0.09 * (k - (count - 1) / 2) for k in range(count)]


def _label(outcome: Outcome, place: int) -> str:
    row = outcome.rows[place].row
    star = " *" if row.name == outcome.study.group.reference else ""
    printed = " / ".join(f"{number.average_length:.2f}" for number in row.published)
    return row.name + star + (f"\npublished {printed}" if printed else "")
