"""What the report page shows of sequences of tasks."""

from collections.abc import Mapping

from seerkit.eval.cells import bar, cell, ends, percent, table
from seerkit.eval.chains import Chains
from seerkit.eval.records import Episode

NOTE = "Every task whenever a sequence came to it, with Wilson's 95 % interval. Click a heading to sort."


def bars(actor: str, chains: Chains) -> str:
    """Draw the shares of sequences with at least 1, 2, ... tasks done in a row."""
    count = len(chains.episodes)
    drawn = []
    for place, rate in enumerate(chains.in_a_row, start=1):
        done = sum(episode.completed >= place for episode in chains.episodes)
        drawn.append(bar(f"{place} in a row", actor, rate, done, count))
    return "".join(drawn)


def tile(chains: Chains) -> tuple[str, str, str]:
    """Say the average length."""
    told = f"of {chains.asked} tasks; {chains.length_told}, bootstrap over sequences"
    return "Average length", f"{chains.length.value:.2f}", told


def tasks(chains: Mapping[str, Chains]) -> str:
    """Draw a table of every actor's tasks."""
    rows = []
    for actor, played in chains.items():
        for score in played.tasks:
            rate, steps = score.rate, score.steps
            meter = f'<span class="meter {actor}"><i style="width:{100 * rate.value:.1f}%"></i></span>'
            cells = [
                cell(score.task),
                cell(percent(rate), rate.value, extra=meter),
                cell(ends(rate), rate.low),
                cell(score.successes, score.successes),
                cell(score.attempts, score.attempts),
                cell(f"{steps:.1f}" if steps is not None else "-", 1e9 if steps is None else steps),
            ]
            rows.append("".join(cells))
    heads = ("Task", "Success", "95 % interval", "Done", "Asked for", "Steps to success")
    return table(heads, rows, numeric={1, 2, 3, 4, 5})


def sequences(chains: Mapping[str, Chains]) -> str:
    """Draw a table of every actor's sequences."""
    rows = [_sequence(episode) for played in chains.values() for episode in played.episodes]
    heads = ("Sequence", "In a row", "Done", "Failed at", "Steps")
    return f'<div class="scroll">{table(heads, rows, numeric={0, 1, 4})}</div>'


def own_row(title: str, chains: Chains) -> str:
    """Draw one's own result beside published ones."""
    length = chains.length
    shares = " / ".join(f"{100 * rate.value:.1f}" for rate in chains.in_a_row)
    told = f"{length.value:.2f} ({chains.length_told.removeprefix('95 % interval ')})"
    count = f"this evaluation, {len(chains.episodes)} sequences"
    return "".join([cell(title), cell("here"), cell(told, length.value), cell(shares), cell(count)])


def _sequence(episode: Episode) -> str:
    done = ", ".join(attempt.task for attempt in episode.attempts if attempt.success)
    failed = next((attempt.task for attempt in episode.attempts if not attempt.success), "-")
    cells = [cell(episode.index, episode.index), cell(episode.completed, episode.completed), cell(done or "-")]
    return "".join([*cells, cell(failed), cell(episode.steps, episode.steps)])
