"""Recorded episodes, whatever their format: a table, and arrays of which rows are read as they are needed."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from seerkit import keys
from seerkit.data.conventions import Conventions
from seerkit.data.rows import Picked, Rows, take


class StoreError(RuntimeError):
    """Data that is missing, truncated or inconsistent, or that does not fit where it should go."""


@dataclasses.dataclass(frozen=True)
class Episode:
    """Locate one episode in the arrays and say what it shows.

    Args:
        start: row of its first step.
        length: number of steps.
        instruction: the sentence the robot was given; empty if nobody said one.
        success: whether the episode ended in success (one cut short by a change of goal did not).
        seed: seed of the reset it came from; episodes with one seed share their layout.
        task: where it was recorded, for example a gymnasium id.
        checksums: CRC-32 of the episode's bytes in each array, by the array's name.
    """

    start: int
    length: int
    instruction: str
    success: bool = True
    seed: int | None = None
    task: str = ""
    checksums: Mapping[str, int] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @property
    def end(self) -> int:
        """Row after its last step."""
        return self.start + self.length


@dataclasses.dataclass(frozen=True)
class Segment:
    """A span of steps inside one episode to which somebody gave a sentence afterwards (CALVIN); spans may overlap.

    Args:
        start: row of its first step.
        length: number of steps.
        instruction: the sentence; empty for a span that is listed because it has none.
        episode: number of the episode it lies in.
        task: the name of what is done.
    """

    start: int
    length: int
    instruction: str
    episode: int
    task: str = ""

    @property
    def end(self) -> int:
        """Row after its last step."""
        return self.start + self.length


@dataclasses.dataclass(frozen=True, eq=False)
class Source:
    """Hold episodes of any format; a `seerkit.data.store.Store` has the same attributes.

    Args:
        path: where they are.
        format: ``"store"``, ``"calvin"``, ``"libero"``, ...
        conventions: what the numbers mean.
        episodes: the table; episodes follow one another without a gap.
        frames: uint8 ``(N, 3, H, W)`` per camera.
        state: float32 ``(N, S)``; ``None`` if none was recorded.
        action: float32 ``(N, A)``; ``None`` if none was recorded.
        depth: uint16 ``(N, 1, H, W)`` millimetres per camera, if recorded.
        segments: spans with a sentence of their own; ``None`` if sentences belong to whole episodes.
        in_place: whether single windows can be read quickly enough to train from; if not, convert first.

    Raises:
        StoreError: the table has a gap, or an array has another number of rows or another kind of row than it says.
    """

    path: Path
    format: str
    conventions: Conventions
    episodes: Sequence[Episode]
    frames: Mapping[str, Tensor | Rows]
    state: Tensor | Rows | None
    action: Tensor | Rows | None
    depth: Mapping[str, Tensor | Rows] = dataclasses.field(default_factory=dict)
    segments: Sequence[Segment] | None = None
    in_place: bool = True

    def __post_init__(self) -> None:
        check_table(self.episodes, self.segments, where=str(self.path))
        arrays, steps = self.arrays(), len(self)
        kinds = {key: kind for key, kind in self.conventions.arrays().items() if key != (keys.IS_INIT,)}
        if arrays.keys() != kinds.keys():
            raise StoreError(f"{self.path}: expected the arrays {sorted(kinds)}, got {sorted(arrays)}")
        for key, (dtype, shape) in kinds.items():
            given = tuple(arrays[key].shape), arrays[key].dtype
            if given != ((steps, *shape), dtype):
                raise StoreError(f"{self.path}: {'/'.join(key)} must be {(steps, *shape)} {dtype}, got {given}")

    def __len__(self) -> int:
        return self.episodes[-1].end if self.episodes else 0

    def __repr__(self) -> str:
        return describe(self)

    @property
    def instructions(self) -> list[str]:
        """The distinct sentences, sorted."""
        return instructions(self.episodes, self.segments)

    def arrays(self) -> dict[tuple[str, ...], Tensor | Rows]:
        """Return every array by key."""
        arrays: dict[tuple[str, ...], Tensor | Rows] = {
            keys.under(keys.IMAGE, name): frames for name, frames in self.frames.items()
        }
        arrays |= {keys.under(keys.DEPTH, name): frames for name, frames in self.depth.items()}
        arrays |= {} if self.state is None else {keys.STATE: self.state}
        return arrays | ({} if self.action is None else {(keys.ACTION,): self.action})

    @functools.cached_property
    def segments_of(self) -> Mapping[int, Sequence[Segment]]:
        """The segments of every episode that has some, by its number."""
        found: dict[int, list[Segment]] = {}
        for segment in self.segments or ():
            found.setdefault(segment.episode, []).append(segment)
        return found

    def episode(self, index: int) -> dict[tuple[str, ...], Tensor]:
        """Read one episode, by key."""
        chosen = self.episodes[index]
        rows = torch.arange(chosen.start, chosen.end)
        return {key: take(array, rows) for key, array in self.arrays().items()}

    def only(self, kept: Tensor) -> Source:
        """Leave steps out: pauses, for instance. Nothing is copied.

        Segments keep the steps that are left of them; episodes and segments without any go.

        Shape:
            kept: bool ``(N,)``.

        Raises:
            StoreError: no step is left.
        """
        if not bool(kept.any()):
            raise StoreError(f"{self.path}: no step would be left of {len(self)}")
        rows = kept.nonzero().flatten()
        before = torch.cat([torch.zeros(1, dtype=torch.int64), kept.cumsum(0)])

        def moved(span: Episode | Segment) -> dict[str, Any]:
            start, end = int(before[span.start]), int(before[span.end])
            return {"start": start, "length": end - start}

        shrunk = [dataclasses.replace(episode, **moved(episode), checksums={}) for episode in self.episodes]
        place = list(itertools.accumulate((one.length > 0 for one in shrunk), initial=0))
        segments = None
        if self.segments is not None:
            spans = [dataclasses.replace(one, **moved(one), episode=place[one.episode]) for one in self.segments]
            segments = [span for span in spans if span.length]
        picked = {key: Picked(array, rows) for key, array in self.arrays().items()}
        return Source(
            path=self.path,
            format=self.format,
            conventions=self.conventions,
            in_place=self.in_place,
            episodes=[episode for episode in shrunk if episode.length],
            segments=segments,
            frames={name: picked[keys.under(keys.IMAGE, name)] for name in self.frames},
            depth={name: picked[keys.under(keys.DEPTH, name)] for name in self.depth},
            state=picked.get(keys.STATE),
            action=picked.get((keys.ACTION,)),
        )


def check_table(episodes: Sequence[Episode], segments: Sequence[Segment] | None, *, where: str) -> None:
    """Make sure that episodes follow each other without a gap, and that every segment lies inside its episode.

    Raises:
        StoreError: otherwise.
    """
    expected = 0
    for index, episode in enumerate(episodes):
        if episode.start != expected or episode.length < 1:
            raise StoreError(f"{where}: episode {index} must start at step {expected} and have steps, got {episode}")
        expected = episode.end
    for index, segment in enumerate(segments or ()):
        if not 0 <= segment.episode < len(episodes):
            raise StoreError(f"{where}: segment {index} lies in episode {segment.episode} of {len(episodes)}")
        around = episodes[segment.episode]
        if segment.length < 1 or segment.start < around.start or segment.end > around.end:
            raise StoreError(f"{where}: segment {index} must lie inside its episode {around}, got {segment}")


def instructions(episodes: Sequence[Episode], segments: Sequence[Segment] | None) -> list[str]:
    """Return the distinct sentences of a table, sorted."""
    return sorted({span.instruction for span in (episodes if segments is None else segments)} - {""})


def describe(source: Source) -> str:
    """Say in one line what a source holds."""
    cameras = ", ".join(f"{name} {size[1]}x{size[2]}" for name, size in source.conventions.cameras.items())
    labelled = sum(bool(segment.instruction) for segment in source.segments or ())
    spans = "" if source.segments is None else f"{labelled} segments, "
    kind = source.format.capitalize()
    return f"{kind}({str(source.path)!r}: {len(source.episodes)} episodes, {spans}{len(source)} steps, {cameras})"


def fingerprint(source: Source) -> str:
    """Return a short digest of a source's table, its conventions, and its first and last step."""
    spans: Sequence[object] = [*source.episodes, *(source.segments or ())]
    digest = hashlib.sha256(f"{source.conventions}{spans}".encode())
    for key, array in sorted(source.arrays().items()):
        digest.update("/".join(key).encode())
        digest.update(take(array, torch.tensor([0, len(source) - 1])).numpy().tobytes())
    return digest.hexdigest()[:16]
