"""An ablation as a table: Markdown for a file, rich for the terminal."""

from __future__ import annotations

from rich.table import Table

from seerkit.ablate.results import Outcome, RowOutcome
from seerkit.eval.statistics import Interval

NOTE = (
    "Success on the twin, per cent: mean over seeds with a 95 % interval that resamples seeds and, inside them, "
    "episodes; every run plays the same layouts, which nobody trained on. Difference: to the reference row (*), paired "
    "by seed and layout. Loss: the arm's, on held-out episodes, mean over seeds and its range. Published: the papers' "
    "own average length of five tasks in a row, with their models; only the order can be compared."
)


def columns(outcome: Outcome) -> list[str]:
    """Return the table's headings."""
    return [
        "row",
        *[f"published, {name}" for name in _benchmarks(outcome)],
        "success %",
        "per seed",
        "difference",
        "held-out loss",
    ]


def lines(outcome: Outcome) -> list[list[str]]:
    """Return the table's cells, row by row."""
    return [_line(outcome, row) for row in outcome.rows]


def markdown(outcome: Outcome) -> str:
    """Return the whole page: what was done, the table, how to read it, what failed."""
    study = outcome.study
    size = study.size
    head = columns(outcome)
    table = [head, ["---"] * len(head), *lines(outcome)]
    pretrained = any(row.row.pretrain for row in outcome.rows)
    extra = f", after {size.pretrain_updates} updates of pre-training on {size.play} episodes" if pretrained else ""
    text = [
        f"# {study.group.title}",
        "",
        f"Twin task {study.task}, preset {study.preset}: {size.updates} updates on {size.episodes} episodes{extra}; "
        f"{study.seeds} seeds, {size.trials} episodes each.",
        "" if not study.overrides else f"\nChanged for all rows: `{' '.join(study.overrides)}`\n",
        *("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |" for row in table),
        "",
        NOTE,
        "",
        *[
            f"- `{row.row.name}`: {row.row.summary} (`{' '.join(row.row.finetune)}`{_before(row)})"
            for row in outcome.rows
        ],
    ]
    if outcome.errors:
        text += ["", "Failed:", "", *[f"- {error}" for error in outcome.errors]]
    return "\n".join(text) + "\n"


def rich_table(outcome: Outcome) -> Table:
    """Return the table for a terminal."""
    table = Table(title=outcome.study.group.title, title_justify="left", header_style="bold")
    benchmarks = len(_benchmarks(outcome))
    head = columns(outcome)
    for name in (head[0], *(["published"] if benchmarks else []), *head[1 + benchmarks :]):
        table.add_column(name, justify="left" if name == "row" else "right", no_wrap=name == "row")
    for row in lines(outcome):
        published = " / ".join(row[1 : 1 + benchmarks])
        table.add_row(row[0], *([published] if benchmarks else []), *row[1 + benchmarks :])
    if benchmarks:
        table.caption = f"published on {' / '.join(_benchmarks(outcome))}"
    return table


def percent(interval: Interval | None, *, signed: bool = False) -> str:
    """Write a rate as per cent with its interval; no interval where nothing varied."""
    if interval is None:
        return "-"
    if interval.low == interval.high:
        return f"{100 * interval.value:+.0f} (all alike)"
    form = "{:+.0f}" if signed else "{:.0f}"
    value, low, high = (form.format(100 * number) for number in (interval.value, interval.low, interval.high))
    return f"{value} [{low}, {high}]"


def _before(row: RowOutcome) -> str:
    return f" after `{' '.join(row.row.pretrain)}`" if row.row.pretrain else ""


def _benchmarks(outcome: Outcome) -> list[str]:
    named = [number.benchmark for row in outcome.rows for number in row.row.published]
    return [*dict.fromkeys(named)]


def _line(outcome: Outcome, row: RowOutcome) -> list[str]:
    reference = row.row.name == outcome.study.group.reference
    published = {number.benchmark: f"{number.average_length:.2f}" for number in row.row.published}
    seeds = [f"{sum(run.success)}/{len(run.success)}" for run in row.runs]
    seeds += ["failed"] * len(row.errors)
    loss = row.loss()
    return [
        row.row.name + (" *" if reference else ""),
        *[published.get(benchmark, "-") for benchmark in _benchmarks(outcome)],
        percent(row.success),
        ", ".join(seeds) or "-",
        "" if reference else percent(row.difference, signed=True),
        "-" if loss is None else f"{loss[0]:.4f} [{loss[1]:.4f}, {loss[2]:.4f}]",
    ]
