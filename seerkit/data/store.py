"""A store: recorded episodes as memory-mapped arrays, one file per key.

```
store/
  store.json             format, counts, conventions, CRC-32 of the tables; written last, so what it does not count
                         does not exist
  episodes.jsonl         one line per episode: start, length, instruction, success, seed, task, checksums
  segments.jsonl         one line per span with a sentence of its own, if sentences do not belong to whole episodes
  steps/                 what `TensorDict.load_memmap(store / "steps")` reads: all steps of all episodes, end to end
    observation/image/<camera>.memmap    uint8   (N, 3, H, W), the camera's own size
    observation/depth/<camera>.memmap    uint16  (N, 1, H, W), millimetres, 0 = nothing measured; if recorded
    observation/state.memmap             float32 (N, S)
    action.memmap                        float32 (N, A)
    is_init.memmap                       bool    (N, 1)
```
The small-disk variant (``frames="jpeg"``) keeps ``<camera>.jpeg`` (all pictures, one after another) and
``<camera>.ends.memmap`` (int64 ``(N,)``, where each ends) instead of a camera's array. Opening reads no frame; a window
is one contiguous copy per camera.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from seerkit import keys
from seerkit.data.conventions import ConventionError, Conventions
from seerkit.data.jpeg import JpegRows
from seerkit.data.rows import Rows
from seerkit.data.source import Episode, Segment, Source, StoreError

FORMAT = "seerkit-store"
VERSION = 2
READABLE = (1, VERSION)
META = "store.json"
TABLE = "episodes.jsonl"
SEGMENTS = "segments.jsonl"
STEPS = "steps"

FrameKind = Literal["raw", "jpeg"]
FRAME_KINDS: tuple[FrameKind, ...] = ("raw", "jpeg")
Line = TypeVar("Line", Episode, Segment)


class Store(Source):
    """Open a store and map its arrays into memory; changes to the tensors never reach the disk.

    Attributes:
        kind: ``"raw"`` or ``"jpeg"``: how frames are kept.
        frames: uint8 ``(N, 3, H, W)`` per camera: tensors if raw, else `seerkit.data.jpeg.JpegRows`.
        state: float32 ``(N, S)``.
        action: float32 ``(N, A)``.

    Raises:
        StoreError: the folder is not a store, or a file is shorter than its table says.
    """

    kind: FrameKind
    state: Tensor
    action: Tensor

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        meta = read_meta(path)
        conventions = _conventions(path, meta["conventions"])
        arrays = _Arrays(path, steps=int(meta["steps"]), kind=meta.get("frames", "raw"))
        mapped = {key: arrays.open(key, *kind) for key, kind in conventions.arrays().items()}
        episodes = _read_table(path / TABLE, Episode, count=meta["episodes"])
        if (total := sum(episode.length for episode in episodes)) != meta["steps"]:
            raise StoreError(f"{path / TABLE}: the episodes must add up to {meta['steps']} steps, they have {total}")
        frames = {name: mapped[keys.under(keys.IMAGE, name)] for name in conventions.cameras}
        object.__setattr__(self, "kind", arrays.kind)
        super().__init__(
            path=path,
            format="store",
            conventions=conventions,
            episodes=episodes,
            segments=_read_table(path / SEGMENTS, Segment, count=meta["segments"]) if "segments" in meta else None,
            frames=frames,
            depth={name: mapped[keys.under(keys.DEPTH, name)] for name in frames if conventions.depth},
            state=mapped.get(keys.STATE),
            action=mapped.get((keys.ACTION,)),
        )

    def sizes(self) -> dict[Path, int]:
        """Return the bytes that count of every array's file."""
        sizes = {}
        for key, (dtype, shape) in self.conventions.arrays().items():
            if isinstance(frames := self.frames.get(key[-1]) if key[:-1] == keys.IMAGE else None, JpegRows):
                sizes |= {ends_file(self.path, key): 8 * len(self), blob_file(self.path, key): frames.end}
            else:
                sizes[array_file(self.path, key)] = len(self) * math.prod(shape) * dtype.itemsize
        return sizes


class _Arrays:
    """Open a store's arrays."""

    def __init__(self, path: Path, *, steps: int, kind: str) -> None:
        if kind not in FRAME_KINDS:
            raise StoreError(f"{path / META}: frames must be one of {FRAME_KINDS}, got {kind!r}")
        self.path, self.steps = path, steps
        self.kind: FrameKind = kind

    def open(self, key: tuple[str, ...], dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor | Rows:
        if self.kind == "raw" or key[:-1] != keys.IMAGE:
            return self._map(array_file(self.path, key), dtype, shape)
        ends = self._map(ends_file(self.path, key), torch.int64, ())
        file, expected = blob_file(self.path, key), int(ends[-1])
        _check_size(file, expected, f"{self.steps} pictures")
        return JpegRows(file, ends, shape=shape)

    def _map(self, file: Path, dtype: torch.dtype, shape: tuple[int, ...]) -> Tensor:
        size = self.steps * math.prod(shape)
        _check_size(file, size * dtype.itemsize, f"{self.steps} steps of {shape} {dtype}")
        return torch.from_file(str(file), shared=False, size=size, dtype=dtype).view(self.steps, *shape)


def _check_size(file: Path, expected: int, what: str) -> None:
    """Refuse a file that is missing or too short; one that is longer is being appended to."""
    given = file.stat().st_size if file.is_file() else None
    if given is None or given < expected:
        found = "it is missing" if given is None else f"it has {given}"
        raise StoreError(f"{file} must have {expected} bytes ({what}); {found}")


def array_file(path: Path, key: tuple[str, ...]) -> Path:
    """Return the file that holds the array of ``key`` in the store at ``path``."""
    return path.joinpath(STEPS, *key[:-1], f"{key[-1]}.memmap")


def blob_file(path: Path, key: tuple[str, ...]) -> Path:
    """Return the file that holds the pictures of ``key`` in a small-disk store."""
    return path.joinpath(STEPS, *key[:-1], f"{key[-1]}.jpeg")


def ends_file(path: Path, key: tuple[str, ...]) -> Path:
    """Return the file that says where each picture of ``key`` ends in a small-disk store."""
    return path.joinpath(STEPS, *key[:-1], f"{key[-1]}.ends.memmap")


def read_meta(path: Path) -> dict[str, Any]:
    """Read and check ``store.json``.

    Raises:
        StoreError: it is missing, damaged or of another format.
    """
    file = path / META
    if not file.is_file():
        raise StoreError(f"{path} is not a store: it has no {META}")
    try:
        meta = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise StoreError(f"{file} is not valid JSON: {error}") from error
    given = (meta.get("format"), meta.get("version")) if isinstance(meta, dict) else (None, None)
    if given[0] != FORMAT or given[1] not in READABLE:
        raise StoreError(f"{file}: expected format {(FORMAT, VERSION)}, got {given}")
    missing = {"steps", "episodes", "conventions"} - meta.keys()
    if missing:
        raise StoreError(f"{file} lacks {sorted(missing)}")
    if not isinstance(meta["steps"], int) or not isinstance(meta["episodes"], int) or meta["steps"] < 1:
        raise StoreError(f"{file}: steps and episodes must be counts, got {meta['steps']!r} and {meta['episodes']!r}")
    return meta


def _read_table(file: Path, make: Callable[..., Line], *, count: int) -> list[Line]:
    """Read the first ``count`` lines; those after them are being appended."""
    if not file.is_file():
        raise StoreError(f"{file} is missing; it must list {count} {make.__name__.lower()}s")
    try:
        lines = file.read_bytes().splitlines()[:count]  # of bytes: a sentence may hold what separates lines of text
        table = [_line(make, json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        kind = "an episode" if make is Episode else "a segment"
        raise StoreError(f"{file}: a line is not {kind}: {error}") from error
    if len(table) != count:
        raise StoreError(f"{file} must list {count} {make.__name__.lower()}s, it lists {len(table)}")
    return table


def _line(make: Callable[..., Line], fields: dict[str, Any]) -> Line:
    line = make(**fields)
    for name, kind in (("start", int), ("length", int), ("instruction", str)):
        if not isinstance(getattr(line, name), kind):
            raise TypeError(f"{name} must be {kind.__name__}, got {getattr(line, name)!r}")
    return line


def _conventions(path: Path, fields: Mapping[str, Any]) -> Conventions:
    try:
        return Conventions.read(fields)
    except (TypeError, AttributeError, KeyError, ConventionError) as error:
        raise StoreError(f"{path / META}: conventions are not as a store has them: {error}") from error
