"""Choose what to train on: which spans carry a sentence, which are held out, and how small a share is kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch

from seerkit.data.sampler import permute
from seerkit.data.source import Episode, Segment, Source, StoreError

Spans = Sequence[Episode | Segment]
Which = Literal["labelled", "unlabelled", "all"]
WHICH: tuple[Which, ...] = ("labelled", "unlabelled", "all")


def spans(source: Source, which: Which = "labelled") -> list[Episode | Segment]:
    """List the spans from which windows are cut.

    Args:
        source: the recorded episodes.
        which: ``"labelled"``: the segments with a sentence, or the episodes if sentences belong to whole episodes.
            ``"unlabelled"``: the segments without a sentence if the data lists some, else what lies between the
            segments, as CALVIN's play without language; of whole episodes, those without a sentence. ``"all"``: every
            episode from beginning to end.

    Raises:
        StoreError: there is none.
        ValueError: ``which`` is unknown.
    """
    if which not in WHICH:
        raise ValueError(f"segments must be one of {WHICH}, got {which!r}")
    chosen: list[Episode | Segment]
    if which == "all" or (source.segments is None and which == "labelled"):
        chosen = [*source.episodes]
    elif source.segments is None:
        chosen = [episode for episode in source.episodes if not episode.instruction]
    elif which == "labelled":
        chosen = [segment for segment in source.segments if segment.instruction]
    else:
        chosen = [segment for segment in source.segments if not segment.instruction] or _between(source)
    if not chosen:
        told = sum(bool(segment.instruction) for segment in source.segments or ())
        counts = f"{len(source.episodes)} episodes, {told} segments with a sentence"
        raise StoreError(f"{source.path} has no {which} steps ({counts}); choose others: data.segments=all")
    return chosen


def _between(source: Source) -> list[Episode | Segment]:
    """Return the longest spans that no segment touches, episode by episode."""
    covered = torch.zeros(len(source) + 1, dtype=torch.int64)
    for segment in source.segments or ():
        covered[segment.start] += 1
        covered[segment.end] -= 1
    free = covered.cumsum(0)[:-1] == 0
    found: list[Episode | Segment] = []
    for number, episode in enumerate(source.episodes):
        edges = torch.nn.functional.pad(free[episode.start : episode.end].int(), (1, 1)).diff()
        starts, ends = (edges == 1).nonzero().flatten(), (edges == -1).nonzero().flatten()
        found += [
            Segment(episode.start + start, end - start, "", number)
            for start, end in zip(starts.tolist(), ends.tolist(), strict=True)
        ]
    return found


def split_spans(
    source: Source, chosen: Spans, *, holdout: float, seed: int = 0, fraction: float = 1.0
) -> tuple[list[Episode | Segment], list[Episode | Segment]]:
    """Divide spans into those to train on and those held out.

    Episodes of one task and reset seed show the same layout (a change of goal in mid-episode begins a new one), so they
    always stay together; and so do the segments of one episode, which may overlap.

    Args:
        source: the recorded episodes.
        chosen: `spans` of it.
        holdout: share of the layouts (of the episodes, for segments) to hold out, 0 for none; otherwise at least one is
            held out and one kept.
        seed: another seed, another choice.
        fraction: share of the other layouts (of the segments) to train on, at least one. What a smaller share trains on
            is part of what a larger one does, and what is held out is the same for all.

    Raises:
        StoreError: nothing would be left on one side.
        ValueError: ``holdout`` is not in ``[0, 1)`` or ``fraction`` not in ``(0, 1]``.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction must be a share in (0, 1], got {fraction}")
    if not 0 <= holdout < 1:
        raise ValueError(f"holdout must be a share in [0, 1), got {holdout}")
    groups: dict[tuple[str, int], list[int]] = {}
    for place, span in enumerate(chosen):
        groups.setdefault(_layout(place, span), []).append(place)
    members = list(groups.values())
    if holdout and len(members) < 2:
        raise StoreError(f"{source.path}: holding out episodes needs at least 2 layouts, it has {len(members)}")
    count = min(max(1, round(holdout * len(members))), len(members) - 1) if holdout else 0
    order = _shuffled(len(members), seed)
    kept = order[count:]
    if not isinstance(chosen[0], Segment):
        kept = kept[: max(1, round(fraction * len(kept)))]
    train = sorted(place for group in kept for place in members[group])
    if isinstance(chosen[0], Segment):
        train = sorted(train[place] for place in _shuffled(len(train), seed)[: max(1, round(fraction * len(train)))])
    held = sorted(place for group in order[:count] for place in members[group])
    return [chosen[place] for place in train], [chosen[place] for place in held]


def split_episodes(
    store: Source, *, holdout: float, seed: int = 0, fraction: float = 1.0
) -> tuple[list[int], list[int]]:
    """Do the same with all episodes of a store, by number; see `split_spans`."""
    number = {episode.start: index for index, episode in enumerate(store.episodes)}
    sides = split_spans(store, store.episodes, holdout=holdout, seed=seed, fraction=fraction)
    train, held = ([number[span.start] for span in side] for side in sides)
    return train, held


def _layout(place: int, span: Episode | Segment) -> tuple[str, int]:
    if isinstance(span, Segment):
        return "", span.episode
    return span.task, -1 - place if span.seed is None else span.seed


def _shuffled(count: int, seed: int) -> list[int]:
    return permute(torch.arange(count), count, torch.full((count,), seed)).tolist()
