"""RLDS data sets (DROID, Open X-Embodiment) as TensorFlow Datasets writes them: one TFRecord record per episode."""

from __future__ import annotations

import bisect
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from seerkit.data.example import Example
from seerkit.data.jpeg import BlobError, decode
from seerkit.data.rlds_layouts import Get, Layout, layout_of
from seerkit.data.rows import ReadRows, Recent, Rows
from seerkit.data.source import Episode, Source, StoreError
from seerkit.data.tfds import DataSet, describe, find
from seerkit.data.tfrecord import Shard

LOOKS = "a folder with features.json, dataset_info.json and .tfrecord files, or with one such folder in it"
PLACE = "episode_metadata/file_path"
Outcome = Literal["success", "failure", "all"]


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    folder = find(path)
    return folder is not None and any(folder.glob("*.tfrecord*"))


def read(
    path: Path,
    *,
    split: str = "train",
    cameras: Mapping[str, str] | None = None,
    outcome: Outcome = "success",
    sentence: int | None = None,
    fields: Mapping[str, Any] | None = None,
) -> Source:
    """Open a data set. Lengths, instructions and paths are read; pictures are not, and no checksum but the lengths'.

    A record holds a whole episode, so single windows are slow to read: convert before training. A record's checksum is
    compared when something of its episode is first read.

    Args:
        path: the folder of the data set or of one version.
        split: such as ``"train"``.
        cameras: field below ``steps/observation`` of each camera, such as ``{"primary": "exterior_image_2_left"}``.
        outcome: which episodes, told by ``success`` and ``failure`` in the path they were recorded to; those that tell
            neither count as successes.
        sentence: which of DROID's three annotators to believe, 1 to 3; the first who wrote something, if not given.
        fields: what the fields mean, for anything but DROID: see `seerkit.data.rlds_layouts.Choice`.

    Raises:
        StoreError: a file is missing or damaged, a field is missing or of another kind, or no episode is left.
        ValueError: an option is out of range.
    """
    if outcome not in get_args(Outcome):
        raise ValueError(f"outcome must be one of {get_args(Outcome)}, got {outcome!r}")
    data = describe(path, split=split)
    layout = layout_of(data.name, data.fields, cameras=cameras, sentence=sentence, fields=fields)
    records = _Records(data, layout)
    records.find(outcome)
    return records.source()


class _Records:
    """The episodes of a data set, found once and read as they are needed."""

    def __init__(self, data: DataSet, layout: Layout) -> None:
        self.data, self.layout = data, layout
        self._shards = [Shard(path) for path, _ in data.shards]
        for shard, (path, count) in zip(self._shards, data.shards, strict=True):
            if len(shard.records) != count:
                raise StoreError(f"{path} must have {count} records (dataset_info.json), it has {len(shard.records)}")
        self._mapped = Recent(self._map, size=4)
        self._opened = Recent(self._checked, size=2)
        self._numbers = Recent(self._compute, size=8)
        self._pictures = Recent(self._blobs, size=4)
        self._places: list[tuple[int, int]] = []
        self._starts: list[int] = []
        self.episodes: list[Episode] = []

    def find(self, outcome: Outcome) -> None:
        """Fill the table."""
        start = 0
        for number, shard in enumerate(self._shards):
            for record in range(len(shard.records)):
                example, where = self._example(number, record), self._where(number, record)
                place = next(iter(example.texts(PLACE) if PLACE in example.names else ()), "")
                success = "failure" not in place
                if outcome != "all" and success != (outcome == "success"):
                    continue
                length = len(example.ints("steps/is_first"))
                if not length:
                    raise StoreError(f"{where}: steps/is_first must have a value for every step, it is empty")
                self._places.append((number, record))
                self._starts.append(start)
                words = self._sentence(example)
                self.episodes.append(Episode(start, length, words, success=success, task=self.data.name))
                start += length
        if not self.episodes:
            raise StoreError(f"{self.data.path}: no episode is left with outcome={outcome!r}")

    def source(self) -> Source:
        """Describe them, with arrays that read on demand."""
        sizes = {name: self._size(field) for name, field in self.layout.cameras.items()}
        conventions = self.layout.conventions(sizes)
        steps = self.episodes[-1].end
        return Source(
            path=self.data.path,
            format="rlds",
            conventions=conventions,
            episodes=self.episodes,
            frames={name: self._frames(name, sizes[name], steps) for name in sizes},
            state=self._vectors("state", len(conventions.state), steps) if conventions.state else None,
            action=self._vectors("action", len(conventions.action), steps) if conventions.action else None,
            in_place=False,
        )

    def _vectors(self, what: str, width: int, steps: int) -> Rows:
        def one(row: int) -> Tensor:
            episode, step = self._at(row)
            return self._numbers((what, episode))[step]

        return ReadRows(one, shape=(steps, width), dtype=torch.float32)

    def _frames(self, camera: str, size: tuple[int, int, int], steps: int) -> Rows:
        field = self.layout.cameras[camera]

        def one(row: int) -> Tensor:
            episode, step = self._at(row)
            where = f"{self._where(*self._places[episode])}: {field} step {step}"
            try:
                frame = decode(bytes(self._pictures((field, episode))[step]), where=where)
            except BlobError as error:
                raise StoreError(str(error)) from error
            if tuple(frame.shape) != size:
                raise StoreError(f"{where} must be {size}, it is {tuple(frame.shape)}")
            return frame

        return ReadRows(one, shape=(steps, *size), dtype=torch.uint8)

    def _compute(self, key: tuple[str, int]) -> Tensor:
        what, episode = key
        place, length = self._places[episode], self.episodes[episode].length
        get: Get = lambda name: self._field(place, name, length)  # noqa: E731 - the layout asks for fields by name
        try:
            values = self.layout.state(get) if what == "state" else self.layout.action(get)
        except ValueError as error:
            raise StoreError(f"{self._where(*place)}: {what} cannot be computed: {error}") from error
        return torch.from_numpy(values).float()

    def _field(self, place: tuple[int, int], name: str, length: int) -> np.ndarray:
        """Read numbers of an episode, float64 ``(L, n)``."""
        about, example = self.data.fields[name], self._opened(place)
        if about.kind not in ("float", "int64") or any(size < 1 for size in about.shape):
            raise StoreError(f"{self.data.path}: {name} must be numbers of a fixed shape, it is {about}")
        values = example.floats(name) if about.kind == "float" else example.ints(name)
        width = int(np.prod(about.shape, dtype=int))
        if len(values) != length * width:
            raise StoreError(
                f"{self._where(*place)}: {name} must have {length} steps of {about.shape}, got {len(values)} numbers"
            )
        if not np.isfinite(values).all():
            step = int(np.flatnonzero(~np.isfinite(values))[0]) // width
            raise StoreError(f"{self._where(*place)}: {name} must be finite, step {step} is not")
        return values.reshape(length, width).astype(np.float64)

    def _blobs(self, key: tuple[str, int]) -> list[memoryview]:
        field, episode = key
        place, length = self._places[episode], self.episodes[episode].length
        blobs = self._opened(place).blobs(field)
        if len(blobs) != length:
            raise StoreError(f"{self._where(*place)}: {field} must have {length} pictures, it has {len(blobs)}")
        return blobs

    def _sentence(self, example: Example) -> str:
        """Return the first sentence that somebody wrote; a record repeats it at every step."""
        for field in self.layout.sentences:
            if texts := [text for text in example.texts(field) if text]:
                return texts[0]
        return ""

    def _size(self, field: str) -> tuple[int, int, int]:
        about = self.data.fields[field]
        if about.kind != "image" or len(about.shape) != 3:
            raise StoreError(f"{self.data.path}: {field} must be an image, it is {about}")
        height, width = about.shape[:2]
        if min(height, width) < 1:
            first = decode(bytes(self._pictures((field, 0))[0]), where=f"{self._where(*self._places[0])}: {field}")
            height, width = first.shape[1:]
        return 3, height, width

    def _checked(self, place: tuple[int, int]) -> Example:
        """Open a record whose bytes are what was written."""
        self._shards[place[0]].check(self._mapped(place[0]), place[1])
        return self._example(*place)

    def _map(self, shard: int) -> memoryview:
        return self._shards[shard].map()

    def _example(self, shard: int, record: int) -> Example:
        start, length = self._shards[shard].records[record]
        return Example(self._mapped(shard)[start : start + length], where=self._where(shard, record))

    def _where(self, shard: int, record: int) -> str:
        return f"{self._shards[shard].path} record {record}"

    def _at(self, row: int) -> tuple[int, int]:
        episode = bisect.bisect_right(self._starts, row) - 1
        return episode, row - self._starts[episode]
