"""Training curves, read back from a run's ``metrics.jsonl``."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

ARM = ("val_loss_arm", "val_loss_bins", "val_loss_denoise")
"""Held-out loss of the arm's motion, as the action heads call it."""

FORESEEN = {
    "val_psnr_": (
        "Foresight on held-out episodes, dB",
        "Peak signal-to-noise ratio against the frame that came, of foresight and of repeating the present.",
    ),
    "val_cosine_": (
        "Foresight on held-out episodes: cosine",
        "Cosine with the features of the frame that came, of foresight and of repeating the present; 1 is perfect.",
    ),
    "val_depth_error_": (
        "Foresight on held-out episodes, metres",
        "Mean error against the depth that came, of foresight and of repeating the present; 0 is perfect.",
    ),
}
"""How the names of what measures foresight begin, with the title and the note of their chart."""

MISLED = {"instruction": "_wrong_word", "goal": "_wrong_goal"}
"""Ends the name of a loss measured with another instruction or goal in place of the right one."""


@dataclass(frozen=True)
class Series:
    """One measurement over training: ``y[i]`` was taken after ``x[i]`` updates."""

    name: str
    x: tuple[float, ...]
    y: tuple[float, ...]

    @property
    def last(self) -> float:
        """Give the newest value."""
        return self.y[-1]


@dataclass(frozen=True)
class Figure:
    """Series that belong in one chart.

    Args:
        title: what it shows, as a heading.
        series: what to draw.
        log: whether the vertical axis is logarithmic.
        note: one sentence on how to read it.
    """

    title: str
    series: tuple[Series, ...]
    log: bool = False
    note: str = ""


Curves = Mapping[str, Series]


def read_curves(path: Path | str | None) -> dict[str, Series]:
    """Read every series of a ``metrics.jsonl``; none if the file is not there.

    Each line is one JSON object with ``step`` and numbers. A last line that a killed run left unfinished is ignored.
    """
    if path is None or not Path(path).is_file():
        return {}
    columns: dict[str, tuple[list[float], list[float]]] = {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            values = json.loads(line)
        except json.JSONDecodeError:
            break
        step = values.pop("step")
        for name, value in values.items():
            if isinstance(value, int | float) and math.isfinite(value):
                x, y = columns.setdefault(name, ([], []))
                x.append(float(step))
                y.append(float(value))
    return {name: Series(name, tuple(x), tuple(y)) for name, (x, y) in columns.items()}


def figures(curves: Curves) -> list[Figure]:
    """Sort series into charts: training loss, held-out loss, listening, foresight, and the rest of the run."""
    held = [name for name in curves if name.startswith("val_loss") and "_wrong_" not in name]
    training = [name for name in curves if name == "loss" or name.startswith("loss_")]
    drawn = {*held, *training}
    told, right, wrong = _listens(curves) or ("", "", "")
    charts = [
        _figure(curves, "Training loss", training, log=True, note="Each term already carries its weight; they add up."),
        _figure(curves, "Held-out loss", held, log=True, note="On episodes the training never saw."),
        _figure(
            curves,
            "Does it listen?",
            {right: f"right {told}", wrong: f"wrong {told}"} if told else {},
            log=True,
            note=f"Held-out action loss with the right {told} and with a wrong one. A policy that listens does clearly "
            "worse when misled.",
        ),
        *(_quality(curves, begins) for begins in FORESEEN),
    ]
    rest = [name for name in curves if name not in drawn and not name.startswith("val_")]
    charts += [_figure(curves, name.replace("_", " ").capitalize(), [name]) for name in rest]
    return [chart for chart in charts if chart.series]


def told_by(curves: Curves) -> str | None:
    """Say what the policy was misled by: an ``"instruction"`` or a ``"goal"``; None if never measured."""
    found = _listens(curves)
    return found[0] if found else None


def listening(curves: Curves) -> float | None:
    """Say how many times larger the held-out action loss gets when the policy is misled; None if never measured."""
    found = _listens(curves)
    if found is None or curves[found[1]].last <= 0:
        return None
    return curves[found[2]].last / curves[found[1]].last


def _listens(curves: Curves) -> tuple[str, str, str] | None:
    """Return what the policy is told by and the names of its loss when told right and wrong; None if never measured."""
    return next(
        (
            (told, right, right + suffix)
            for told, suffix in MISLED.items()
            for right in ARM
            if right in curves and right + suffix in curves
        ),
        None,
    )


def smooth(values: Sequence[float], *, reach: int = 8) -> list[float]:
    """Average every value with up to ``reach`` neighbours on either side, equally many, so that nothing lags."""
    out = []
    for place in range(len(values)):
        near = min(reach, place, len(values) - 1 - place)
        out.append(sum(values[place - near : place + near + 1]) / (2 * near + 1))
    return out


def _figure(
    curves: Curves, title: str, names: Sequence[str] | Mapping[str, str], *, log: bool = False, note: str = ""
) -> Figure:
    shown = names if isinstance(names, Mapping) else {name: name.removeprefix("val_") for name in names}
    series = (replace(curves[name], name=label) for name, label in shown.items() if name in curves)
    return Figure(title, tuple(series), log, note)


def _quality(curves: Curves, begins: str) -> Figure:
    """Draw one measure of foresight for every camera, beside that of repeating the present."""
    title, note = FORESEEN[begins]
    named = {name: _camera(name.removeprefix(begins)) for name in curves if name.startswith(begins)}
    return _figure(curves, title, named, note=note)


def _camera(short: str) -> str:
    return f"{short.removeprefix('copy_')}, repeated" if short.startswith("copy_") else f"{short}, foreseen"
