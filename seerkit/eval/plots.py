"""Line charts as inline SVG; colours come from the page, so that they follow its light or dark theme."""

import html
import json
import math
from collections.abc import Sequence

from seerkit.eval.curves import Figure, Series, smooth

WIDTH, HEIGHT = 520.0, 230.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 12.0, 12.0, 26.0
POINTS = 300
"""More points than this are thinned out: a chart has no more pixels for them."""
NOISY = 60
"""With more points than this, a smoothed line is drawn over the raw one."""
COLOURS = 6


def chart(figure: Figure) -> str:
    """Draw a figure as an HTML ``<figure>``: SVG, legend with newest values, and data for the page's hover."""
    series = [_thin(one) for one in figure.series]
    log = figure.log and all(value > 0 for one in series for value in one.y)
    scale = _Scale(series, log=log)
    lines = "".join(_line(one, scale, place) for place, one in enumerate(series))
    keys = "".join(
        f'<li class="s{place % COLOURS}"><i></i>{html.escape(one.name)} <b>{number(one.last)}</b></li>'
        for place, one in enumerate(figure.series)
    )
    label = html.escape(f"{figure.title}: " + ", ".join(f"{one.name} {number(one.last)}" for one in figure.series))
    data = html.escape(json.dumps(scale.describe(series)), quote=True)
    note = f'<p class="note">{html.escape(figure.note)}</p>' if figure.note else ""
    return (
        f'<figure class="chart" data-chart="{data}"><figcaption>{html.escape(figure.title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}">{scale.grid()}{lines}</svg>'
        f'<ul class="legend">{keys}</ul>{note}</figure>'
    )


def number(value: float) -> str:
    """Write a number with about three significant digits, as people do."""
    if not math.isfinite(value):
        return "-"
    size = abs(value)
    if value == 0 or 0.001 <= size < 10_000:
        return f"{value:.3g}" if size < 100 else f"{value:.0f}"
    if 10_000 <= size < 1_000_000:
        return f"{value / 1000:.0f}k"
    return f"{value:.1e}"


def ticks(low: float, high: float, *, count: int = 4) -> list[float]:
    """Choose about ``count`` round numbers inside ``[low, high]``: steps of 1, 2 or 5 times a power of ten."""
    rough = (high - low) / max(1, count)
    if rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.7)
    first = math.ceil(low / step - 1e-9)
    return [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]


class _Scale:
    """From numbers to places on the drawing."""

    def __init__(self, series: Sequence[Series], *, log: bool) -> None:
        xs = [value for one in series for value in one.x]
        ys = [math.log10(value) if log else value for one in series for value in one.y]
        self.log, self.x0, self.x1 = log, min(xs), max(xs)
        self.y0, self.y1 = min(ys), max(ys)
        margin = (self.y1 - self.y0) * 0.06 or abs(self.y1) * 0.1 or 1.0
        self.y0, self.y1 = self.y0 - margin, self.y1 + margin

    def x(self, value: float) -> float:
        return LEFT + (value - self.x0) / ((self.x1 - self.x0) or 1.0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        value = math.log10(value) if self.log else value
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)

    def levels(self) -> list[float]:
        if not self.log:
            return ticks(self.y0, self.y1)
        decades = range(math.floor(self.y0), math.ceil(self.y1) + 1)
        for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
            found = [10.0**d * f for d in decades for f in factors if self.y0 <= math.log10(10.0**d * f) <= self.y1]
            if len(found) >= 3:
                return found
        return [10**level for level in ticks(self.y0, self.y1, count=3)]

    def grid(self) -> str:
        rows = "".join(
            f'<line x1="{LEFT:g}" x2="{WIDTH - RIGHT:g}" y1="{self.y(level):.1f}" y2="{self.y(level):.1f}"/>'
            f'<text x="{LEFT - 6:g}" y="{self.y(level) + 3.5:.1f}" text-anchor="end">{number(level)}</text>'
            for level in self.levels()
        )
        columns = "".join(
            f'<text x="{self.x(value):.1f}" y="{HEIGHT - 8:g}" text-anchor="middle">{number(value)}</text>'
            for value in ticks(self.x0, self.x1, count=5)
        )
        return f'<g class="grid">{rows}{columns}</g>'

    def describe(self, series: Sequence[Series]) -> dict:
        rounded = [{"name": one.name, "x": one.x, "y": [float(f"{value:.4g}") for value in one.y]} for one in series]
        return {"x": [self.x0, self.x1], "left": LEFT, "right": WIDTH - RIGHT, "width": WIDTH, "series": rounded}


def _line(one: Series, scale: _Scale, place: int) -> str:
    colour = f"s{place % COLOURS}"
    if len(one.y) == 1:
        return f'<circle class="{colour}" cx="{scale.x(one.x[0]):.1f}" cy="{scale.y(one.y[0]):.1f}" r="3"/>'
    if len(one.y) <= NOISY:
        return _path(one.x, one.y, scale, colour)
    return _path(one.x, one.y, scale, f"{colour} raw") + _path(one.x, smooth(one.y), scale, colour)


def _path(x: Sequence[float], y: Sequence[float], scale: _Scale, name: str) -> str:
    places = " ".join(f"{scale.x(a):.1f},{scale.y(b):.1f}" for a, b in zip(x, y, strict=True))
    return f'<polyline class="{name}" points="{places}"/>'


def _thin(one: Series) -> Series:
    if len(one.x) <= POINTS:
        return one
    keep = sorted({round(k * (len(one.x) - 1) / (POINTS - 1)) for k in range(POINTS)})
    return Series(one.name, tuple(one.x[k] for k in keep), tuple(one.y[k] for k in keep))
