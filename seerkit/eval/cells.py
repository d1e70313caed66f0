"""Pieces of the report page that several of its sections use."""

import html
from collections.abc import Sequence

from seerkit.eval.statistics import Interval


def text(value: object) -> str:
    """Write anything so that it is text in HTML."""
    return html.escape(str(value))


def percent(interval: Interval) -> str:
    """Write a rate in whole per cent."""
    return "-" if interval.value != interval.value else f"{100 * interval.value:.0f} %"


def ends(interval: Interval) -> str:
    """Write the ends of a rate's interval."""
    return f"{100 * interval.low:.0f} to {100 * interval.high:.0f} %"


def table(heads: Sequence[str], rows: Sequence[str], *, numeric: set[int]) -> str:
    """Draw a table that a click on a heading sorts; ``numeric`` columns stand on the right."""
    titles = "".join(
        f'<th scope="col"{" class=num" if place in numeric else ""}><button type="button">{text(head)}</button></th>'
        for place, head in enumerate(heads)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    return f'<table class="sortable"><thead><tr>{titles}</tr></thead><tbody>{body}</tbody></table>'


def cell(shown: object, value: float | None = None, *, extra: str = "", kind: str = "") -> str:
    """Draw one cell; ``value`` is what it is sorted by."""
    sort = f' data-value="{value}"' if value is not None else ""
    classes = f' class="{kind or "num"}"' if value is not None else ""
    return f"<td{sort}{classes}>{extra}<span>{text(shown)}</span></td>"


def bar(who: str, kind: str, rate: Interval, successes: int, trials: int) -> str:
    """Draw a rate with its interval, out of how many."""
    low, high = 100 * rate.low, 100 * rate.high
    value = 0.0 if rate.value != rate.value else 100 * rate.value
    said = f"{successes} of {trials}, 95 % interval {low:.0f} to {high:.0f} %"
    return (
        f'<div class="bar {text(kind)}" role="listitem" title="{said}"><span class="who">{text(who)}'
        f'</span><span class="track"><span class="fill" style="width:{value:.2f}%"></span><span class="whisker" '
        f'style="left:{low:.2f}%;width:{high - low:.2f}%"></span></span><span class="rate"><b>{percent(rate)}</b> '
        f"<small>{successes}/{trials} · {low:.0f}–{high:.0f}</small></span></div>"  # noqa: RUF001
    )
