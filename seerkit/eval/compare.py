"""Two reports side by side: what was different, and whether the scores differ by more than chance."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from seerkit.eval.difference import difference, fisher, holm, mcnemar, paired_difference, sign_flip
from seerkit.eval.report import JSON, SCHEMA, TRAINED, VERSION
from seerkit.eval.statistics import Interval, bootstrap, wilson

SHARE, TASKS = "share", "tasks"
FISHER, MCNEMAR = "Fisher's exact test", "McNemar's exact test, layout by layout"
SIGNS = "exact sign-flip test, sequence by sequence"
LEVEL = 0.05
"""A difference is called larger than chance if it would be seen less often than this without one."""
ABSENT = "(not there)"
UNTOLD = ("created", "weights.checkpoint")
"""Entries that may differ without changing a number."""
FOLLOWS = (
    "recipe.hash",
    "recipe.overrides",
    "execution.ensemble",
    "execution.chunk",
    "execution.history_steps",
    "execution.foresight_ahead",
    "execution.actions_per_prediction",
    "execution.sampler",
    "conventions.policy",
)
"""Entries that repeat what the resolved recipe says."""
RULES = (
    "protocol.horizon",
    "protocol.steps_per_task",
    "protocol.sentences_sha256",
    "protocol.round_actions",
    "settings",
    "simulators",
    "renderer.environments",
)
"""Entries that say how an environment is played, whoever plays."""
Place = tuple[str, int]
"""Task and seed: one layout."""
Outcome = tuple[Place, bool]


@dataclass(frozen=True)
class Field:
    """An entry of the provenance that is not the same in both reports."""

    name: str
    first: Any
    second: Any


@dataclass(frozen=True)
class Score:
    """Success of the trained policy in both reports.

    Args:
        task: a task's short name, or ``"all"``.
        first: rate with Wilson's interval.
        second: the same of the other report.
        change: ``second - first`` with Newcombe's interval.
        p: how often a difference as large would be seen by chance: McNemar's exact test if paired, else Fisher's.
        episodes: how many were compared on either side.
        only_first: layouts only the first solved; None if the layouts are not the same.
        only_second: layouts only the second solved.
        test: what ``p`` comes from.
        unit: of rates and change: a share, or tasks in a row.
    """

    task: str
    first: Interval
    second: Interval
    change: Interval
    p: float
    episodes: tuple[int, int]
    only_first: int | None = None
    only_second: int | None = None
    test: str = FISHER
    unit: str = SHARE

    @property
    def paired(self) -> bool:
        """Whether both played the same layouts."""
        return self.only_first is not None


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Args:
        fields: the entries of the provenance that differ.
        overall: over all tasks both played; of sequences their average length.
        tasks: the same for every task, if there are several, or for every number of tasks in a row; their ``p`` is
            Holm's, corrected for there being several.
        notes: what a reader must not miss.
    """

    fields: tuple[Field, ...]
    overall: Score
    tasks: tuple[Score, ...]
    notes: tuple[str, ...]

    @property
    def larger_than_chance(self) -> bool:
        """Whether the difference over all tasks is larger than chance explains."""
        return self.overall.p < LEVEL


def compare(first: Path | str, second: Path | str) -> Comparison:
    """Compare two reports: ``report.json`` files, or folders that hold one.

    Sequences of tasks are compared by how many were done in a row, sequence by sequence. Where both played the same
    layouts (the smaller set lies in the larger), these are compared one by one; else the
    rates are. Either way the answer is about these weights: another training with another seed may differ by more.

    Raises:
        FileNotFoundError: if there is no report.
        ValueError: if a file is no report this version reads, or the two have no task in common.
    """
    one, two = read_report(first), read_report(second)
    if one.get("sequences") or two.get("sequences"):
        return compare_sequences(one, two)
    ours, theirs = outcomes(one, TRAINED), outcomes(two, TRAINED)
    played = [sorted({place[0] for place, _ in outcome}) for outcome in (ours, theirs)]
    common = [task for task in played[0] if task in played[1]]
    if not common:
        raise ValueError(f"expected reports with a task in common, given {played[0]} and {played[1]}")
    overall = _score("all", _of(ours, common), _of(theirs, common))
    scores = [_score(task, _of(ours, [task]), _of(theirs, [task])) for task in common]
    adjusted = holm([score.p for score in scores])
    tasks = [replace(score, p=p) for score, p in zip(scores, adjusted, strict=True)]
    return Comparison(_fields(one, two), overall, tuple(tasks) if len(tasks) > 1 else (), _notes(one, two, overall))


def compare_sequences(one: Mapping[str, Any], two: Mapping[str, Any]) -> Comparison:
    """Compare reports of sequences of tasks, over the sequences both played.

    Raises:
        ValueError: if only one report is of sequences, or they have none in common.
    """
    ours, theirs = ({_place(row): row.get("completed") for row in _rows(report, TRAINED)} for report in (one, two))
    shared = sorted(ours.keys() & theirs.keys())
    if not shared or any(played[place] is None for played in (ours, theirs) for place in shared):
        tasks = [sorted({place[0] for place in played}) for played in (ours, theirs)]
        raise ValueError(
            f"expected two reports of sequences of tasks with some in common, given {tasks[0]} and {tasks[1]}"
        )
    pairs = [(int(ours[place] or 0), int(theirs[place] or 0)) for place in shared]
    overall = _lengths(pairs)
    asked = max(int(row["asked"]) for row in _rows(one, TRAINED))
    scores = [
        _paired(f"{wanted} in a row", [(left >= wanted, right >= wanted) for left, right in pairs])
        for wanted in range(1, asked + 1)
    ]
    adjusted = holm([score.p for score in scores])
    tasks = tuple(replace(score, p=p) for score, p in zip(scores, adjusted, strict=True))
    return Comparison(_fields(one, two), overall, tasks, _notes(one, two, overall))


def _fields(one: Mapping[str, Any], two: Mapping[str, Any]) -> tuple[Field, ...]:
    return tuple(differing(one.get("provenance") or {}, two.get("provenance") or {}))


def _lengths(pairs: Sequence[tuple[int, int]]) -> Score:
    sides = [bootstrap([float(pair[side]) for pair in pairs]) for side in (0, 1)]
    changes = [second - first for first, second in pairs]
    alone = sum(change < 0 for change in changes), sum(change > 0 for change in changes)
    change, count = bootstrap([float(value) for value in changes]), len(pairs)
    told = {"only_first": alone[0], "only_second": alone[1], "test": SIGNS, "unit": TASKS}
    return Score("average length", sides[0], sides[1], change, sign_flip(changes), (count, count), **told)


def read_report(path: Path | str) -> dict[str, Any]:
    """Read a ``report.json``, given as a file or as the folder of the report, the run or the checkpoint.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is something else, or of another version.
    """
    given = Path(path)
    places = [given / JSON, given / "report" / JSON] if given.is_dir() else [given]
    file = next((place for place in places if place.is_file()), None)
    if file is None:
        raise FileNotFoundError(f"no report at {given}; expected a {JSON}, or a folder that holds one")
    try:
        report = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no report of seerkit eval: {error}") from error
    if not isinstance(report, dict) or report.get("schema") != SCHEMA:
        raise ValueError(f"{file} is no report of seerkit eval: expected schema {SCHEMA!r}")
    if report.get("version") != VERSION:
        raise ValueError(f"{file} has version {report.get('version')!r}; this seerkit reads version {VERSION}")
    return report


def outcomes(report: Mapping[str, Any], actor: str) -> list[Outcome]:
    """Give task, seed and success of every episode of an actor."""
    return [(_place(row), bool(row["success"])) for row in _rows(report, actor)]


def differing(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Field]:
    """Yield every entry that is not the same in two provenances, by dotted name.

    What only repeats an entry of the recipe is left out: the ensembler, say, is part of ``execution``, too.
    """
    one, two = dict(_leaves(first)), dict(_leaves(second))
    for name in sorted(one.keys() | two.keys()):
        left, right = one.get(name, ABSENT), two.get(name, ABSENT)
        if left != right and name not in UNTOLD and not _follows(name):
            yield Field(name, left, right)


def _follows(name: str) -> bool:
    """Tell whether an entry repeats the recipe; of the image pipeline only the size of the frames does not."""
    if name.startswith("image_pipeline."):
        return not name.startswith("image_pipeline.frames.")
    return _within(name, FOLLOWS)


def _within(name: str, known: Sequence[str]) -> bool:
    return any(name == one or name.startswith(f"{one}.") for one in known)


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _of(played: Sequence[Outcome], tasks: Sequence[str]) -> list[Outcome]:
    return [(place, success) for place, success in played if place[0] in tasks]


def _score(task: str, first: Sequence[Outcome], second: Sequence[Outcome]) -> Score:
    one, two = dict(first), dict(second)
    unique = len(one) == len(first) and len(two) == len(second)
    shared = sorted(one.keys() & two.keys())
    if unique and len(shared) == min(len(one), len(two)):
        pairs = [(one[place], two[place]) for place in shared]
        return _paired(task, pairs)
    counts = [(sum(success for _, success in played), len(played)) for played in (first, second)]
    rates, change = [wilson(*count) for count in counts], difference(counts[0], counts[1])
    return Score(task, rates[0], rates[1], change, fisher(counts[0], counts[1]), (counts[0][1], counts[1][1]))


def _paired(task: str, pairs: Sequence[tuple[bool, bool]]) -> Score:
    count = len(pairs)
    rates = [wilson(sum(pair[side] for pair in pairs), count) for side in (0, 1)]
    alone = sum(one and not two for one, two in pairs), sum(two and not one for one, two in pairs)
    change = paired_difference(pairs)
    return Score(task, rates[0], rates[1], change, mcnemar(*alone), (count, count), *alone, MCNEMAR)


def _notes(first: Mapping[str, Any], second: Mapping[str, Any], overall: Score) -> tuple[str, ...]:
    return tuple(_cautions(first, second, overall))


def _cautions(first: Mapping[str, Any], second: Mapping[str, Any], overall: Score) -> Iterator[str]:
    """Say what weakens a comparison: other rules, episodes left out, changed environments, the same weights."""
    ruled = [field for field in _fields(first, second) if _within(field.name, RULES)]
    if others := [field.name for field in ruled if ABSENT not in (field.first, field.second)]:
        yield f"They were not played by the same rules ({', '.join(others)}): the difference may come from there."
    if overall.paired:
        for side, report in enumerate((first, second)):
            extra = len(outcomes(report, TRAINED)) - overall.episodes[side]
            if extra:
                yield f"{extra} episodes of the {('first', 'second')[side]} report have no partner and are left out."
    for actor in sorted(first["actors"].keys() & second["actors"].keys() - {TRAINED}):
        one, two = ({_place(row): _course(row) for row in _rows(report, actor)} for report in (first, second))
        shared = one.keys() & two.keys()
        changed = sum(one[place] != two[place] for place in shared)
        if changed:
            yield (
                f"The baseline {actor!r} went another way on {changed} of {len(shared)} common layouts: "
                "the environment itself is not the same."
            )
    hashes = [((report.get("provenance") or {}).get("weights") or {}).get("sha256") for report in (first, second)]
    if hashes[0] and hashes[0] == hashes[1]:
        yield "Both reports are of the same weights."


def _rows(report: Mapping[str, Any], actor: str) -> list[Mapping[str, Any]]:
    return [row for row in report["episodes"] if row["actor"] == actor]


def _place(row: Mapping[str, Any]) -> Place:
    return row["task"], row["seed"]


def _course(row: Mapping[str, Any]) -> tuple[bool, int]:
    return bool(row["success"]), row["steps"]
