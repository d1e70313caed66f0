"""Write stores: append episodes to raw files, and join what parallel workers recorded."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from seerkit import keys
from seerkit.data.conventions import Conventions
from seerkit.data.files import fresh_folder
from seerkit.data.jpeg import Encoded, JpegRows
from seerkit.data.pages import Pages
from seerkit.data.rows import Rows, take
from seerkit.data.source import Episode, Segment, Source, StoreError
from seerkit.data.store import FRAME_KINDS, FrameKind, Store

Array = Tensor | np.ndarray

BLOCK = 256
"""Steps that are copied at a time."""


class StoreWriter:
    """Append episodes to a store; memory does not grow with their number.

    A new store is written in a hidden sibling folder, which gets its name when the ``with`` block ends well. After an
    exception, or without a single episode, nothing is left. With ``append``, episodes are added in place: what is not
    committed (at the end of the block, or by `commit`) does not exist, for readers and after a crash alike.

    Args:
        path: where the store is or will be; without ``append`` it must not exist.
        conventions: what the numbers mean; every episode must fit.
        frames: ``"raw"``, or ``"jpeg"`` for an eighth of the disk (quality 95, 4:4:4; no longer exact).
        segments: whether sentences belong to spans (`mark`) and not to whole episodes.
        append: add to the store at ``path``, or begin one in place.

    Raises:
        StoreError: on entering, if ``path`` exists (without ``append``), or is another kind of store (with it).

    Example:
        ```python
        with StoreWriter("runs/reach/store", Conventions(cameras={"primary": (3, 64, 64)})) as writer:
            writer.add({"primary": frames}, state, action, instruction="reach the block")
        ```
    """

    def __init__(
        self,
        path: str | Path,
        conventions: Conventions,
        *,
        frames: FrameKind = "raw",
        segments: bool = False,
        append: bool = False,
    ) -> None:
        if frames not in FRAME_KINDS:
            raise ValueError(f"frames must be one of {FRAME_KINDS}, got {frames!r}")
        self.path = Path(path)
        self.conventions, self.segments, self.append = conventions, segments, append
        self.frames: FrameKind = frames
        self._stack = contextlib.ExitStack()
        self._pages: Pages | None = None
        self._newest: Episode | None = None

    @property
    def episodes(self) -> int:
        """How many episodes the store has, with those not yet committed."""
        return self._pages.episodes if self._pages else 0

    @property
    def steps(self) -> int:
        """How many steps the store has, with those not yet committed."""
        return self._pages.steps if self._pages else 0

    def __enter__(self) -> StoreWriter:
        if self.path.exists() and not self.append:
            raise StoreError(f"{self.path} exists already; choose another name or remove it")
        with contextlib.ExitStack() as stack:
            try:
                folder = self.path if self.append else stack.enter_context(fresh_folder(self.path))
                pages = Pages(folder, self.conventions, frames=self.frames, segments=self.segments)
                self._pages = stack.enter_context(pages)
            except OSError as error:
                raise StoreError(f"{self.path} cannot be written: {error}") from error
            stack.push(self._finish)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def add(
        self,
        images: Mapping[str, Array],
        state: Array | None,
        action: Array | None,
        *,
        instruction: str,
        success: bool = True,
        seed: int | None = None,
        task: str = "",
        depth: Mapping[str, Array] | None = None,
    ) -> Episode:
        """Append one episode and return its line of the table.

        Shape:
            images: uint8 ``(L, 3, H, W)`` per camera.
            state: ``(L, S)``; ``None`` if the conventions have none.
            action: ``(L, A)``, what the demonstrator wanted at each step; ``None`` if the conventions have none.
            depth: uint16 ``(L, 1, H, W)`` millimetres per camera (`seerkit.data.depth.to_millimetres`), if the
                conventions say so.

        Raises:
            StoreError: an array is missing, not finite or of another shape or type than the conventions say, or the
                disk is full.
        """
        arrays: dict[tuple[str, ...], Any] = {keys.under(keys.IMAGE, name): frames for name, frames in images.items()}
        arrays |= {keys.under(keys.DEPTH, name): frames for name, frames in (depth or {}).items()}
        arrays |= {} if state is None else {keys.STATE: state}
        arrays |= {} if action is None else {(keys.ACTION,): action}
        about = {"instruction": instruction, "success": success, "seed": seed, "task": task}
        return self.add_blocks([arrays], **about)

    def add_blocks(
        self,
        blocks: Iterable[Mapping[tuple[str, ...], Array | Encoded]],
        *,
        instruction: str,
        success: bool = True,
        seed: int | None = None,
        task: str = "",
    ) -> Episode:
        """Append one episode that is too long for memory, block by block.

        Args:
            blocks: arrays by key, as `Source.episode` gives them, of the steps in order.
            instruction: the sentence the robot was given.
            success: whether the episode ended in success.
            seed: seed of the reset it came from.
            task: where it was recorded.

        Raises:
            StoreError: as `add`; what was written of the episode is cut off.
        """
        if self._pages is None:
            raise StoreError("the writer is not open; use it in a with block")
        start, sums = self.steps, dict[str, int]()
        place = self._pages.place()
        try:
            for block in blocks:
                length = len(next(iter(block.values()))) if block else 0
                checked = _check_block(self.conventions, block, length, first=self.steps - start)
                checked[keys.IS_INIT,] = torch.arange(self.steps - start, self.steps - start + length)[:, None] == 0
                self._pages.write(checked, sums)
            if self.steps == start:
                raise StoreError("an episode must have at least one step, got 0")
            episode = Episode(start, self.steps - start, instruction, bool(success), seed, task, sums)
            self._pages.note(episode)
        except BaseException:
            self._pages.cut(place)
            raise
        self._newest = episode
        return episode

    def mark(self, start: int, length: int, instruction: str, *, task: str = "") -> Segment:
        """Give a span of the newest episode a sentence.

        Args:
            start: its first step, counted from the episode's beginning.
            length: number of steps.
            instruction: the sentence.
            task: the name of what is done.

        Raises:
            StoreError: the writer was opened without ``segments``, or the span does not lie inside the episode.
        """
        if self._pages is None or self._newest is None or not self.segments:
            raise StoreError("mark needs a writer opened with segments=True, and an episode")
        if start < 0 or length < 1 or start + length > self._newest.length:
            raise StoreError(f"a segment must lie in 0 .. {self._newest.length}, got {start} .. {start + length}")
        segment = Segment(self._newest.start + start, length, instruction, self.episodes - 1, task)
        self._pages.note(segment)
        return segment

    def commit(self) -> None:
        """Make what was added so far part of the store, for good (only when appending)."""
        if self._pages is not None and self.append:
            self._pages.commit()

    def _finish(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None or self._pages is None:
            return
        if not self.episodes:
            raise StoreError(f"{self.path}: no episode was added, so there is nothing to store")
        self._pages.commit()


def check_arrays(
    conventions: Conventions, arrays: Mapping[tuple[str, ...], Array], length: int, *, first: int = 0
) -> dict[tuple[str, ...], Tensor]:
    """Make sure that an episode's arrays are what its conventions say, and return them as tensors.

    Args:
        conventions: what they must be.
        arrays: of an episode, or of some steps of it, by key.
        length: how many steps.
        first: which step of the episode they begin with, for the error.

    Raises:
        StoreError: one is missing, not finite or of another shape or type.
    """
    kinds = _check_names(conventions, arrays, length)
    return {key: _check_one(key, array, *kinds[key], length=length, first=first) for key, array in arrays.items()}


def _check_block(
    conventions: Conventions, arrays: Mapping[tuple[str, ...], Array | Encoded], length: int, *, first: int
) -> dict[tuple[str, ...], Tensor | Encoded]:
    """Do the same with arrays of which some are compressed frames."""
    kinds = _check_names(conventions, arrays, length)
    checked: dict[tuple[str, ...], Tensor | Encoded] = {}
    for key, array in arrays.items():
        dtype, shape = kinds[key]
        if not isinstance(array, Encoded):
            checked[key] = _check_one(key, array, dtype, shape, length=length, first=first)
        elif array.shape != (length, *shape):
            raise StoreError(f"{key} must be {(length, *shape)}, got {array.shape}")
        else:
            checked[key] = array
    return checked


def _check_names(
    conventions: Conventions, arrays: Mapping[tuple[str, ...], object], length: int
) -> dict[tuple[str, ...], tuple[torch.dtype, tuple[int, ...]]]:
    kinds = conventions.arrays()
    expected = sorted(key for key in kinds if key != (keys.IS_INIT,))
    if sorted(arrays) != expected:
        raise StoreError(f"an episode must have the arrays {expected}, got {sorted(arrays)}")
    if length < 1:
        raise StoreError("an episode must have at least one step, got 0")
    return kinds


def _check_one(
    key: tuple[str, ...], array: Array, dtype: torch.dtype, shape: tuple[int, ...], *, length: int, first: int
) -> Tensor:
    tensor = torch.as_tensor(array)
    if tensor.is_floating_point() and dtype == torch.float32:
        tensor = tensor.float()
    if tensor.shape != (length, *shape) or tensor.dtype != dtype:
        given = f"{tuple(tensor.shape)} {tensor.dtype}"
        raise StoreError(f"{key} must be {(length, *shape)} {dtype}, got {given}")
    if tensor.is_floating_point() and not tensor.isfinite().all():
        row = int((~tensor.isfinite()).any(-1).nonzero()[0])
        raise StoreError(f"{key} must be finite, got {tensor[row].tolist()} at step {first + row}")
    return tensor


def copy_episode(
    writer: StoreWriter, source: Source, index: int, *, progress: Callable[[int], None] | None = None
) -> Episode:
    """Append one episode of a source, with its segments; at most `BLOCK` steps are in memory at a time.

    Frames that are JPEG and stay so are copied as they are. ``progress`` is told how many of its steps are written.

    Raises:
        StoreError: what is read has not the checksum that a store recorded, or the writer does not take it.
    """
    facts = source.episodes[index]
    about = {name: getattr(facts, name) for name in ("instruction", "success", "seed", "task")}
    rows = torch.arange(facts.start, facts.end).split(BLOCK)
    arrays = source.arrays()

    def read(array: Tensor | Rows, part: Tensor) -> Tensor | Encoded:
        return array.encoded(part) if writer.frames == "jpeg" and isinstance(array, JpegRows) else take(array, part)

    def blocks() -> Iterator[dict[tuple[str, ...], Tensor | Encoded]]:
        for part in rows:
            yield {key: read(array, part) for key, array in arrays.items()}
            if progress is not None:
                progress(int(part[-1]) + 1 - facts.start)

    episode = writer.add_blocks(blocks(), **about)
    for name in facts.checksums.keys() & episode.checksums.keys():
        alike = not name.startswith("/".join(keys.IMAGE)) or getattr(source, "kind", None) == writer.frames
        if alike and facts.checksums[name] != episode.checksums[name]:
            raise StoreError(f"{source.path}: episode {index}: {name} has not the checksum that was recorded: damaged")
    for segment in source.segments_of.get(index, ()):
        writer.mark(segment.start - facts.start, segment.length, segment.instruction, task=segment.task)
    return episode


def merge(stores: Sequence[Store], out: str | Path, *, order: Sequence[tuple[int, int]] | None = None) -> Store:
    """Copy the episodes of several stores into a new one.

    Args:
        stores: what to join; their conventions must be equal, and all of them or none have segments.
        out: where the new store will be; must not exist.
        order: which episodes, in which order, as ``(store, episode)``; all of them, store by store, if not given.

    Raises:
        StoreError: there is no store, or two differ in their conventions.
    """
    if not stores:
        raise StoreError("merge needs at least one store, got none")
    first = stores[0]
    for other in stores[1:]:
        if other.conventions != first.conventions:
            names = [field.name for field in dataclasses.fields(first.conventions)]
            pairs = {name: (getattr(other.conventions, name), getattr(first.conventions, name)) for name in names}
            differ = [f"\n  {name}: {one!r} and {two!r}" for name, (one, two) in pairs.items() if one != two]
            raise StoreError(f"{other.path} and {first.path} differ in their conventions:{''.join(differ)}")
        if (other.segments is None) != (first.segments is None) or other.kind != first.kind:
            raise StoreError(f"{other.path} and {first.path} must both have segments, and both keep raw frames or JPEG")
    if order is None:
        order = [(place, index) for place, store in enumerate(stores) for index in range(len(store.episodes))]
    kind, spans = first.kind, first.segments is not None
    with StoreWriter(out, first.conventions, frames=kind, segments=spans) as writer:
        for place, index in order:
            copy_episode(writer, stores[place], index)
    return Store(out)
