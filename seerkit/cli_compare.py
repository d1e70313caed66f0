"""What `seerkit eval --compare` prints."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape
from rich.table import Table

if TYPE_CHECKING:
    from seerkit.eval.compare import Comparison, Score
    from seerkit.eval.statistics import Interval

HEADS = ("success, %", "A", "B", "B - A", "p", "episodes", "alone")


def show_comparison(first: Path, second: Path, console: Console) -> None:
    """Compare two reports and print what differs, the scores, and whether their difference is larger than chance.

    Raises:
        FileNotFoundError: if there is no report.
        ValueError: if a file is no report, or the two have no task in common.
    """
    from seerkit.eval.compare import compare

    found = compare(first, second)
    console.print(f"[bold]A[/] {escape(str(first))}\n[bold]B[/] {escape(str(second))}", highlight=False, soft_wrap=True)
    count = len(found.fields)
    said = "1 entry differs" if count == 1 else f"{count or 'no'} entries differ"
    console.print(f"\n{said}, A [dim]->[/] B", highlight=False)
    for field in found.fields:
        values = f"[red]{_short(field.first)}[/] [dim]->[/] [green]{_short(field.second)}[/]"
        console.print(f"{escape(field.name)}: {values}", highlight=False, soft_wrap=True)
    console.print()
    console.print(_scores(found))
    for note in found.notes:
        console.print(f"[yellow]note[/] {escape(note)}", highlight=False, soft_wrap=True)
    console.print(f"[bold]{_verdict(found)}[/]", highlight=False, soft_wrap=True)
    console.print("[dim]Of these weights; another training of the same recipe may differ by more.[/]", highlight=False)


def _short(value: object) -> str:
    """Write a value; of a hash only the beginning."""
    text = str(value)
    return escape(text[:12] if re.fullmatch("[0-9a-f]{64}", text) else text)


def _scores(found: Comparison) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0))
    sequences = found.overall.unit != "share"
    for column in ("", "A", "B", "B - A", "p", "sequences", "further") if sequences else HEADS:
        table.add_column(column)
    for score in (found.overall, *found.tasks):
        shares = score.unit == "share"
        name = f"{score.task}, %" if sequences and shares else score.task
        first, second = (_interval(rate, shares=shares) for rate in (score.first, score.second))
        change = _interval(score.change, shares=shares, sign="+")
        table.add_row(name, first, second, change, f"{score.p:.2g}", *_how(score))
    return table


def _interval(interval: Interval, *, shares: bool, sign: str = "") -> str:
    """Write a share in per cent, and a number of tasks with two decimals."""
    scale, digits = (100, 0) if shares else (1, 2)
    value, low, high = (f"{scale * end:{sign}.{digits}f}" for end in (interval.value, interval.low, interval.high))
    return f"{value} ({low} to {high})"


def _how(score: Score) -> tuple[str, str]:
    if not score.paired:
        return f"{score.episodes[0]}, {score.episodes[1]}", "-"
    return str(score.episodes[0]), f"{score.only_first} : {score.only_second}"


def _verdict(found: Comparison) -> str:
    test = found.overall.test
    if found.larger_than_chance:
        side = "B" if found.overall.change.value > 0 else "A"
        return f"{side} is better by more than chance explains (p = {found.overall.p:.2g}, {test})."
    return f"The difference is not larger than chance explains (p = {found.overall.p:.2g}, {test})."
