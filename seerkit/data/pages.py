"""The files of a store that is being written: everything is appended, and one small file says how much of it counts."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import zlib
from collections.abc import Mapping
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from seerkit import keys
from seerkit.data.conventions import Conventions
from seerkit.data.files import write_text
from seerkit.data.jpeg import Encoded, encode
from seerkit.data.source import Episode, Segment, StoreError
from seerkit.data.store import (
    FORMAT,
    META,
    SEGMENTS,
    STEPS,
    TABLE,
    VERSION,
    FrameKind,
    Store,
    array_file,
    blob_file,
    ends_file,
)


class Pages:
    """Hold a store's files open for appending.

    Entering an existing store cuts off what a crashed writer left behind its last commit; leaving by an exception does
    the same for this one. Only one process can append at a time.

    Args:
        folder: the store; made if it is missing.
        conventions: what the numbers mean.
        frames: ``"raw"`` or ``"jpeg"``.
        segments: whether spans have sentences of their own.

    Raises:
        StoreError: on entering, if the folder holds another kind of store, something else, or is being written.
    """

    def __init__(self, folder: Path, conventions: Conventions, *, frames: FrameKind, segments: bool) -> None:
        self.folder, self.conventions, self.segmented = folder, conventions, segments
        self.kind: FrameKind = frames
        self.steps = self.episodes = self.segments = 0
        self._stack = contextlib.ExitStack()
        self._files: dict[Path, FileIO] = {}
        self._committed: dict[Path, int] = {}
        self._sizes: dict[Path, int] = {}
        self._sums: dict[str, int] = {}

    def __enter__(self) -> Pages:
        with contextlib.ExitStack() as stack:
            self.folder.mkdir(parents=True, exist_ok=True)
            stack.callback(os.close, self._lock())
            self._resume()
            for file in self._names():
                file.parent.mkdir(parents=True, exist_ok=True)
                self._files[file] = stack.enter_context(file.open("ab", buffering=0))
                self._sizes[file] = self._committed.get(file, 0)
                self._files[file].truncate(self._sizes[file])
            stack.push(self._leave)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._stack.__exit__(kind, error, trace)

    def write(self, arrays: Mapping[tuple[str, ...], Tensor | Encoded], sums: dict[str, int]) -> None:
        """Append steps to every array.

        Args:
            arrays: by key; frames that are compressed already only to a store that keeps them so.
            sums: CRC-32 of the episode in each array so far; updated.

        Raises:
            StoreError: the disk does not take it.
        """
        for key, array in arrays.items():
            name = "/".join(key)
            if isinstance(array, Encoded) or (self.kind == "jpeg" and key[:-1] == keys.IMAGE):
                sums[name] = self._write_blobs(key, array, sums.get(name, 0))
                continue
            content = array.contiguous().numpy().data
            self._append(array_file(self.folder, key), content)
            sums[name] = zlib.crc32(content, sums.get(name, 0))
        self.steps += len(next(iter(arrays.values())))

    def note(self, line: Episode | Segment) -> None:
        """Append a line to its table."""
        name = TABLE if isinstance(line, Episode) else SEGMENTS
        text = json.dumps(dataclasses.asdict(line), ensure_ascii=False).encode() + b"\n"
        self._append(self.folder / name, text)
        self._sums[name] = zlib.crc32(text, self._sums.get(name, 0))
        if isinstance(line, Episode):
            self.episodes += 1
        else:
            self.segments += 1

    def commit(self) -> None:
        """Make everything appended so far part of the store.

        Raises:
            StoreError: the disk does not take it.
        """
        meta: dict[str, Any] = {"format": FORMAT, "version": VERSION, "steps": self.steps, "episodes": self.episodes}
        meta |= {"segments": self.segments} if self.segmented else {}
        meta |= {"tables": self._sums, "frames": self.kind, "conventions": dataclasses.asdict(self.conventions)}
        try:
            for file in self._files.values():
                os.fsync(file.fileno())
            describe(self.folder / STEPS, self.conventions, self.steps, kind=self.kind)
            write_text(self.folder / META, json.dumps(meta, indent=1, ensure_ascii=False) + "\n")
        except OSError as error:
            raise StoreError(f"{self.folder}: cannot be written: {error}") from error
        self._committed = dict(self._sizes)

    def place(self) -> tuple[dict[Path, int], int]:
        """Return where the next step goes, for `cut`."""
        return dict(self._sizes), self.steps

    def cut(self, place: tuple[dict[Path, int], int]) -> None:
        """Take back the steps written since ``place``."""
        sizes, self.steps = place
        for path, size in sizes.items():
            with contextlib.suppress(OSError):  # what hinders it must not hide the error that led here
                os.truncate(path, size)
        self._sizes = sizes

    def _write_blobs(self, key: tuple[str, ...], frames: Tensor | Encoded, total: int) -> int:
        file = blob_file(self.folder, key)
        blobs = frames.blobs if isinstance(frames, Encoded) else [encode(frame) for frame in frames]
        place = self._sizes[file]
        ends = torch.tensor([len(blob) for blob in blobs]).cumsum(0) + place
        for blob in blobs:
            self._append(file, blob)
            total = zlib.crc32(blob, total)
        self._append(ends_file(self.folder, key), ends.numpy().data)
        return total

    def _append(self, path: Path, content: bytes | memoryview) -> None:
        left, before = memoryview(content).cast("B"), self._sizes[path]
        try:
            while left:
                written = self._files[path].write(left)
                self._sizes[path] += written
                left = left[written:]
        except OSError as error:
            with contextlib.suppress(OSError):  # what hinders it must not hide the first error
                os.truncate(path, before)
            self._sizes[path] = before
            raise StoreError(f"{path}: cannot be written: {error}") from error

    def _names(self) -> list[Path]:
        names = [self.folder / TABLE, *([self.folder / SEGMENTS] if self.segmented else [])]
        for key in self.conventions.arrays():
            if self.kind == "jpeg" and key[:-1] == keys.IMAGE:
                names += [blob_file(self.folder, key), ends_file(self.folder, key)]
            else:
                names.append(array_file(self.folder, key))
        return names

    def _lock(self) -> int:
        handle = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise StoreError(f"{self.folder} is being written by another process") from error
        return handle

    def _resume(self) -> None:
        """Find out how much of what is there counts."""
        if not (self.folder / META).exists():
            strange = sorted({entry.name for entry in self.folder.iterdir()} - {TABLE, SEGMENTS, STEPS, "source.json"})
            if strange:
                raise StoreError(f"{self.folder} is not a store; it holds {strange[:5]}")
            return
        store = Store(self.folder)
        mine = (self.conventions, self.kind, self.segmented)
        if mine != (given := (store.conventions, store.kind, store.segments is not None)):
            raise StoreError(f"{self.folder} cannot be appended to: it has {given}, not {mine} (frames, segments)")
        self.steps, self.episodes, self.segments = len(store), len(store.episodes), len(store.segments or ())
        for name, count in ((TABLE, self.episodes), (SEGMENTS, self.segments)):
            if (file := self.folder / name).exists():
                lines = b"".join(file.read_bytes().splitlines(keepends=True)[:count])
                self._committed[file], self._sums[name] = len(lines), zlib.crc32(lines)
        self._committed |= store.sizes()

    def _leave(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        self.cut(({path: self._committed.get(path, 0) for path in self._files}, 0))


def describe(folder: Path, conventions: Conventions, steps: int, *, kind: FrameKind) -> None:
    """Write the ``meta.json`` files by which `TensorDict.load_memmap` finds the arrays below ``folder``."""
    entries: dict[Path, dict[str, Any]] = {}
    for key, (dtype, shape) in conventions.arrays().items():
        if kind == "jpeg" and key[:-1] == keys.IMAGE:
            continue
        leaf = {"device": "cpu", "shape": [steps, *shape], "dtype": str(dtype), "is_nested": False}
        entries.setdefault(folder.joinpath(*key[:-1]), {})[key[-1]] = leaf
        for depth in range(len(key) - 1):
            entries.setdefault(folder.joinpath(*key[:depth]), {})[key[depth]] = {"type": "TensorDict"}
    type_name = "<class 'tensordict._td.TensorDict'>"
    for place, entry in entries.items():
        text = json.dumps({**entry, "shape": [steps], "device": "cpu", "_type": type_name})
        write_text(place / "meta.json", text)
