"""Numbers and pictures in the parquet files of a LeRobot data set, read one row group at a time."""

from __future__ import annotations

import bisect
import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seerkit.data.jpeg import PICTURES, UNREADABLE, BlobError
from seerkit.data.lerobot_meta import INFO, Meta, naming
from seerkit.data.rows import Recent
from seerkit.data.source import StoreError

if TYPE_CHECKING:
    import pyarrow as pa
    from PIL import Image

COUNTS = ("episode_index", "frame_index", "task_index")
NUMBERS = ("float32", "float64")
STRAY = 0.1
"""How far, in steps, a time stamp may lie beside its step."""


@dataclasses.dataclass(frozen=True)
class Spot:
    """Say where a row lies: its file, the row group in it, and the row of that group."""

    file: Path
    group: int
    row: int


class Shards:
    """Find rows in the parquet files, and read columns of one row group at a time; the newest few stay in memory.

    Args:
        meta: of the data set.
        vectors: the features that are read as numbers.
    """

    def __init__(self, meta: Meta, *, vectors: Sequence[str]) -> None:
        self.meta, self.vectors = meta, tuple(vectors)
        self.starts = [0, *itertools.accumulate(place.length for place in meta.places)]
        self._episodes: dict[Path, list[int]] = {}
        for number, place in enumerate(meta.places):
            self._episodes.setdefault(place.data, []).append(number)
        self._groups = Recent(self._group_ends, size=64)
        self._numbers = Recent(self._read_numbers, size=4)

    def step(self, row: int) -> tuple[int, int]:
        """Return the episode of a row of the data set, and which of its steps it is."""
        episode = bisect.bisect_right(self.starts, row) - 1
        return episode, row - self.starts[episode]

    def spot(self, row: int) -> Spot:
        """Return where a row of the data set lies.

        Raises:
            StoreError: its file is damaged, or does not have the rows that the episodes' table puts there.
        """
        episode, step = self.step(row)
        place = self.meta.places[episode]
        inside, ends = place.offset + step, self._groups(place.data)
        group = bisect.bisect_right(ends, inside)
        return Spot(place.data, group, inside - (ends[group - 1] if group else 0))

    def numbers(self, file: Path, group: int) -> dict[str, np.ndarray]:
        """Return the vectors (float32 ``(R, width)``) and `COUNTS` (int64 ``(R,)``) of one row group.

        Raises:
            StoreError: the file is damaged, or a column is missing, of another type or width, not finite, or
                contradicts the episodes' table.
        """
        return self._numbers((file, group))

    def table(self, file: Path, group: int, columns: Sequence[str]) -> pa.Table:
        """Read columns of one row group.

        Raises:
            StoreError: the file is damaged or lacks one.
        """
        import pyarrow.parquet as pq

        with naming(file), pq.ParquetFile(file) as parquet:
            missing = sorted({*columns} - {*parquet.schema_arrow.names})
            if missing:
                raise StoreError(f"{file} lacks the column {', '.join(missing)}; it has {parquet.schema_arrow.names}")
            return parquet.read_row_group(group, columns=list(columns))

    def _group_ends(self, file: Path) -> list[int]:
        import pyarrow.parquet as pq

        with naming(file):
            about = pq.read_metadata(file)
        ends = list(itertools.accumulate(about.row_group(index).num_rows for index in range(about.num_row_groups)))
        expected = sum(self.meta.places[number].length for number in self._episodes[file])
        if about.num_rows != expected:
            raise StoreError(f"{file} must have {expected} rows, as its episodes' lengths say; it has {about.num_rows}")
        return ends

    def _read_numbers(self, key: tuple[Path, int]) -> dict[str, np.ndarray]:
        file, group = key
        table = self.table(file, group, [*self.vectors, *COUNTS, "timestamp"])
        first = ([0, *self._groups(file)])[group]
        expected = self._expected(file, first, table.num_rows)
        counts = {name: _plain(file, table, name, np.int64) for name in COUNTS}
        for name in COUNTS[:2]:
            _agree(file, name, counts[name], expected[name], first)
        _agree(file, "timestamp", *self._on_the_grid(file, table, expected["frame_index"]), first)
        unknown = sorted({*counts["task_index"].tolist()} - self.meta.tasks.keys())
        if unknown:
            raise StoreError(
                f"{file}: task_index must be one of the data set's {len(self.meta.tasks)} tasks, got {unknown}"
            )
        return counts | {name: self._vector(file, table, name, counts) for name in self.vectors}

    def _expected(self, file: Path, first: int, rows: int) -> dict[str, np.ndarray]:
        """Return which episode and which of its steps the rows of a file must be."""
        numbers = self._episodes[file]
        lengths = np.array([self.meta.places[number].length for number in numbers])
        ends = lengths.cumsum()
        inside = np.arange(first, first + rows)
        index = np.searchsorted(ends, inside, side="right")
        frames = inside - (ends - lengths)[index]
        return {"episode_index": np.array(numbers)[index], "frame_index": frames}

    def _on_the_grid(self, file: Path, table: pa.Table, frames: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the time stamps, those near enough their step put exactly on it, and the steps' times."""
        given, right = _plain(file, table, "timestamp", np.float64), frames / self.meta.frame_rate
        return np.where(np.abs(given - right) * self.meta.frame_rate <= STRAY, right, given), right

    def _vector(self, file: Path, table: pa.Table, name: str, counts: Mapping[str, np.ndarray]) -> np.ndarray:
        values = _list_of_numbers(file, table, name, width=width_of(self.meta, name))
        with np.errstate(over="ignore"):
            values = values.astype(np.float32)
        wrong = np.flatnonzero(~np.isfinite(values).all(axis=1))
        if len(wrong):
            row = int(wrong[0])
            where = f"episode {counts['episode_index'][row]} step {counts['frame_index'][row]}"
            raise StoreError(f"{file}: {name} must be finite in float32, got {values[row].tolist()} at {where}")
        return values


class VectorRows:
    """Rows of numbers: one or several features side by side.

    Args:
        shards: where they lie.
        features: which, in order.
    """

    def __init__(self, shards: Shards, features: Sequence[str]) -> None:
        self._shards, self._features = shards, tuple(features)
        self._width = sum(width_of(shards.meta, name) for name in features)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, ...)``."""
        return (self._shards.starts[-1], self._width)

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return torch.float32

    def take(self, rows: Tensor) -> Tensor:
        """Return a copy of some rows."""
        distinct, place = rows.flatten().unique(return_inverse=True)
        spots = [self._shards.spot(row) for row in distinct.tolist()]
        read = [
            np.concatenate([self._shards.numbers(spot.file, spot.group)[name][spot.row] for name in self._features])
            for spot in spots
        ]
        values = np.stack(read) if read else np.empty((0, self._width), np.float32)
        return torch.from_numpy(values)[place].view(*rows.shape, self._width)


class PictureRows:
    """Rows that are pictures inside the parquet files.

    Args:
        shards: where they lie.
        feature: which.
        shape: ``(channels, H, W)``; one channel means uint16 distances.
    """

    def __init__(self, shards: Shards, feature: str, *, shape: tuple[int, int, int]) -> None:
        self._shards, self._feature, self._shape = shards, feature, shape
        self._blobs = Recent(self._read, size=1)

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, ...)``."""
        return (self._shards.starts[-1], *self._shape)

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return torch.uint8 if self._shape[0] == 3 else torch.uint16

    def take(self, rows: Tensor) -> Tensor:
        """Decode some pictures, each once.

        Raises:
            StoreError: one is missing, damaged or of another size.
        """
        distinct, place = rows.flatten().unique(return_inverse=True)
        pictures = np.empty((len(distinct), *self._shape), np.uint8 if self._shape[0] == 3 else np.uint16)
        for index, row in enumerate(distinct.tolist()):
            spot = self._shards.spot(row)
            self._shards.numbers(spot.file, spot.group)  # the row is the one that was asked for
            pictures[index] = self._decode(spot, self._blobs((spot.file, spot.group))[spot.row])
        return torch.from_numpy(pictures)[place].view(*rows.shape, *self._shape)

    def _read(self, key: tuple[Path, int]) -> pa.ChunkedArray:
        import pyarrow as pa

        file, group = key
        column = self._shards.table(file, group, [self._feature])[self._feature]
        if not pa.types.is_struct(column.type) or column.type.get_field_index("bytes") < 0:
            raise StoreError(f"{file}: {self._feature} must be pictures (bytes, path), it is {column.type}")
        return column

    def _decode(self, spot: Spot, cell: Any) -> np.ndarray:  # noqa: ANN401  # a scalar of pyarrow
        blob, where = (cell.as_py() or {}).get("bytes"), f"{spot.file}: {self._feature} of row {spot.row}"
        if not blob:
            raise StoreError(
                f"{where} must hold a picture's bytes, it holds none (the data set lost its images folder?)"
            )
        picture = decode_picture(blob, where=where, channels=self._shape[0])
        if picture.shape != self._shape:
            raise StoreError(f"{where} must be {self._shape}, it is {picture.shape}")
        return picture


def decode_picture(blob: bytes, *, where: str, channels: int) -> np.ndarray:
    """Decompress a picture: three channels of uint8, or one of uint16.

    Shape:
        returns: ``(channels, H, W)``.

    Raises:
        StoreError: the picture is damaged, or its numbers are of another kind.
    """
    import io

    from PIL import Image

    try:
        with Image.open(io.BytesIO(blob), formats=PICTURES) as picture:
            return _pixels(picture, where=where, channels=channels)
    except (*UNREADABLE, BlobError) as error:
        raise StoreError(f"{where} cannot be decoded ({len(blob)} bytes): {error}") from error


def _pixels(picture: Image.Image, *, where: str, channels: int) -> np.ndarray:
    if channels == 3:
        return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    if not picture.mode.startswith("I"):
        raise StoreError(f"{where} must have 16 bits per pixel, its mode is {picture.mode}")
    return np.asarray(picture).astype(np.uint16)[None]


def width_of(meta: Meta, feature: str) -> int:
    """Return how many numbers a feature has.

    Raises:
        StoreError: it is not a vector of floating-point numbers.
    """
    about = meta.features[feature]
    if about["dtype"] not in NUMBERS or len(about["shape"]) != 1:
        given = f"{about['dtype']} {about['shape']}"
        raise StoreError(
            f"{meta.path / INFO}: features.{feature} must be a vector of {' or '.join(NUMBERS)}, got {given}"
        )
    return about["shape"][0]


def _plain(file: Path, table: pa.Table, name: str, dtype: type[np.generic]) -> np.ndarray:
    """Return a column of single numbers."""
    import pyarrow as pa

    column, wanted = table[name].combine_chunks(), np.dtype(dtype).kind
    fits = pa.types.is_integer(column.type) or (wanted == "f" and pa.types.is_floating(column.type))
    if not fits or column.null_count:
        kind = "whole numbers" if wanted == "i" else "numbers"
        raise StoreError(f"{file}: {name} must be {kind} without gaps, it is {column.type}, {column.null_count} gaps")
    return column.to_numpy(zero_copy_only=False).astype(dtype)


def _list_of_numbers(file: Path, table: pa.Table, name: str, *, width: int) -> np.ndarray:
    """Return a column of equally long lists, or of single numbers, as ``(rows, width)``."""
    import pyarrow as pa

    column = table[name].combine_chunks()
    kind, fixed = column.type, pa.types.is_fixed_size_list(column.type)
    if fixed or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = {kind.list_size} if fixed else {*column.value_lengths().to_pylist()}
        if column.null_count or not lengths <= {width}:
            raise StoreError(f"{file}: {name} must have {width} numbers in every row")
        kind, column = kind.value_type, column.flatten()
    if not pa.types.is_floating(kind) or column.null_count:
        raise StoreError(f"{file}: {name} must be {' or '.join(NUMBERS)} without gaps, it is {kind}")
    if len(column) != table.num_rows * width:
        raise StoreError(f"{file}: {name} must have {width} numbers in every row, it has {len(column)} in all")
    return column.to_numpy(zero_copy_only=False).reshape(-1, width)


def _agree(file: Path, name: str, given: np.ndarray, expected: np.ndarray, first: int) -> None:
    wrong = np.flatnonzero(given != expected)
    if len(wrong):
        row = int(wrong[0])
        raise StoreError(
            f"{file}: {name} of row {first + row} must be {expected[row]:g}, got {given[row]:g}: episodes overlap, "
            "rows are missing or shuffled, or fps is another"
        )
