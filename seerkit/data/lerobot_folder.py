"""Write recorded episodes as a LeRobot data set, v3.0; what has no place there goes into ``meta/seerkit.json``."""

from __future__ import annotations

import collections
import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from seerkit.data.convert import Progress
from seerkit.data.files import fresh_folder, write_text
from seerkit.data.film_writer import FilmWriter
from seerkit.data.lerobot_extras import write_extras
from seerkit.data.lerobot_features import CODECS, COUNTS, camera_feature, depth_feature, describe_features, feature_of
from seerkit.data.lerobot_meta import EPISODES, INFO, TASKS
from seerkit.data.lerobot_stats import NumberTally, PictureTally, columns
from seerkit.data.rows import take
from seerkit.data.source import Episode, Segment, Source, StoreError
from seerkit.data.writer import BLOCK, check_arrays

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

FILES_PER_CHUNK = 1000
SPOT = "chunk-{chunk_index:03d}/file-{file_index:03d}"
DATA, VIDEOS = f"data/{SPOT}.parquet", f"videos/{{video_key}}/{SPOT}.mp4"
STATS = "meta/stats.json"
FLUSH = 500
"""Lines of the episodes' table that are written at a time."""


def write_lerobot(
    source: Source,
    out: str | Path,
    *,
    codec: str = "libsvtav1",
    quality: int = 30,
    data_mb: float = 100,
    video_mb: float = 200,
    progress: Progress | None = None,
) -> Path:
    """Write a source as a LeRobot data set that appears when it is complete; nothing is left of one that is not.

    An interrupted export begins anew: a video cannot be gone on with. Depth is always kept as 16-bit PNG. A step's task
    is the sentence of the first segment that covers it, else its episode's; `seerkit.data.readers.lerobot` reads the
    segments themselves back, whether or not they overlap.

    Args:
        source: what to write.
        out: the new folder; must not exist.
        codec: ``"libsvtav1"`` or ``"libx264"`` for videos, ``"images"`` for PNGs inside the parquet files, which keep
            every number.
        quality: the video encoder's constant rate factor; less is better and larger. LeRobot records with 30.
        data_mb: from which size on a parquet file takes no further episode.
        video_mb: from which size on a video takes no further episode.
        progress: is told steps written and steps in all.

    Raises:
        StoreError: ``out`` exists, the source holds nothing or is damaged, a frame size is odd (4:2:0 video halves it),
            or the disk is full.
        ValueError: the codec is unknown.
    """
    out = Path(out)
    if codec not in CODECS:
        raise ValueError(f"codec must be one of {CODECS}, got {codec!r}")
    if out.exists():
        raise StoreError(f"{out} exists already; choose another name or remove it")
    if not source.episodes:
        raise StoreError(f"{source.path}: no episode, so there is nothing to write")
    for name, size in source.conventions.cameras.items():
        if codec != "images" and (size[1] % 2 or size[2] % 2):
            raise StoreError(
                f"{source.path}: video needs even sizes, {name} is {size[1]} x {size[2]}; use codec images"
            )
    try:
        with fresh_folder(out) as draft, _Folder(draft, source, codec=codec, quality=quality) as folder:
            folder.limits = {"data": data_mb * 2**20, "video": video_mb * 2**20}
            for index in range(len(source.episodes)):
                folder.add(index)
                if progress is not None:
                    progress(source.episodes[index].end, len(source))
            folder.finish()
    except OSError as error:
        raise StoreError(f"{out} cannot be written: {error}") from error
    return out


class _Folder:
    """Hold the files of a data set open for writing."""

    def __init__(self, path: Path, source: Source, *, codec: str, quality: int) -> None:
        self.path, self.source, self.codec, self.quality = path, source, codec, quality
        self.features = describe_features(source, codec=codec)
        self.limits = dict[str, float]()
        self.tasks: dict[str, int] = {}
        self._segments: dict[int, list[Segment]] = collections.defaultdict(list)
        for segment in source.segments or ():
            self._segments[segment.episode].append(segment)
        self._tallies = {name: _tally(about) for name, about in self.features.items()}
        self._data = _Parquet(lambda spot: path / DATA.format(**spot))
        self._table = _Parquet(lambda spot: path / EPISODES / f"{SPOT.format(**spot)}.parquet")
        self._lines: list[dict[str, Any]] = []
        self._films: dict[str, tuple[FilmWriter, dict[str, int]]] = {}
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> _Folder:
        self._stack.push(self._leave)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def add(self, index: int) -> None:
        """Write one episode, `BLOCK` steps at a time."""
        episode = self.source.episodes[index]
        line = self._begin(index, episode)
        sentences, arrays = self._sentences(index), self.source.arrays()
        for rows in torch.arange(episode.start, episode.end).split(BLOCK):
            block = {key: take(array, rows) for key, array in arrays.items()}
            try:
                block = check_arrays(self.source.conventions, block, len(rows), first=int(rows[0]) - episode.start)
            except StoreError as error:
                raise StoreError(f"{self.source.path}: episode {index}: {error}") from error
            steps = rows.numpy() - episode.start
            counts = {"frame_index": steps, "episode_index": np.full(len(rows), index), "index": rows.numpy()}
            counts["task_index"] = np.array([self._task(sentences[step]) for step in steps])
            self._write(block, counts, steps / self.source.conventions.frame_rate)
        line |= columns({name: tally.end_episode() for name, tally in self._tallies.items()})
        for name, (film, _) in self._films.items():
            line[f"videos/{name}/to_timestamp"] = film.frames / self.source.conventions.frame_rate
        line["tasks"] = list(dict.fromkeys(sentences))
        self._lines.append(line)
        if len(self._lines) >= FLUSH:
            self._flush()

    def finish(self) -> None:
        """Write what is known at the end."""
        self._flush()
        self._table.close()
        self._data.close()
        for film, _ in self._films.values():
            film.close()
        self._films.clear()
        total = {name: tally.total() for name, tally in self._tallies.items()}
        write_text(self.path / STATS, json.dumps(total, indent=1) + "\n")
        _write_tasks(self.path / TASKS, self.tasks)
        write_text(self.path / INFO, json.dumps(self._info(), indent=1, ensure_ascii=False) + "\n")
        names = list(self.source.frames)
        depth = {name: depth_feature(name) for name in self.source.depth}
        write_extras(self.path, self.source, cameras={name: camera_feature(name) for name in names}, depth=depth)

    def _begin(self, index: int, episode: Episode) -> dict[str, Any]:
        """Choose the files of an episode, and return the beginning of its line of the table."""
        if self._data.bytes >= self.limits["data"]:
            self._data.close()
        line: dict[str, Any] = {"episode_index": index, "tasks": [], "length": episode.length}
        line |= {f"data/{name}": number for name, number in self._data.spot.items()}
        line |= {"dataset_from_index": episode.start, "dataset_to_index": episode.end}
        for name in (name for name, about in self.features.items() if about["dtype"] == "video"):
            film, spot = self._film(name)
            line |= {f"videos/{name}/{part}": number for part, number in spot.items()}
            line[f"videos/{name}/from_timestamp"] = film.frames / self.source.conventions.frame_rate
        return line | {f"meta/episodes/{name}": number for name, number in self._table.spot.items()}

    def _film(self, name: str) -> tuple[FilmWriter, dict[str, int]]:
        film, spot = self._films.get(name, (None, {"chunk_index": 0, "file_index": -1}))
        if film is None or film.bytes >= self.limits["video"]:
            if film is not None:
                film.close()
            spot, about = _following(spot), self.features[name]
            file = self.path / VIDEOS.format(video_key=name, **spot)
            size, rate = tuple(about["shape"][:2]), self.source.conventions.frame_rate
            film = FilmWriter(file, codec=self.codec, quality=self.quality, frame_rate=rate, size=size)
            self._films[name] = film, spot
        return self._films[name]

    def _write(self, block: dict[tuple[str, ...], Tensor], counts: dict[str, np.ndarray], times: np.ndarray) -> None:
        """Append steps to the parquet file and the videos."""
        table: dict[str, Any] = {}
        for key, array in block.items():
            name = feature_of(key)
            tally = self._tallies[name]
            tally.add(array)
            if name in self._films:
                self._films[name][0].add(array)
            else:
                table[name] = _pictures(array) if isinstance(tally, PictureTally) else _vectors(array)
        numbers = {"timestamp": times.astype(np.float32), **{name: counts[name] for name in COUNTS}}
        for name, values in numbers.items():
            self._tallies[name].add(torch.from_numpy(values)[:, None])
            table[name] = values
        self._data.write({name: table[name] for name in self.features if name in table})

    def _sentences(self, index: int) -> list[str]:
        """Return the sentence of every step of an episode."""
        episode = self.source.episodes[index]
        sentences = [episode.instruction] * episode.length
        for segment in reversed(self._segments[index]):
            start = segment.start - episode.start
            sentences[start : start + segment.length] = [segment.instruction] * segment.length
        return sentences

    def _task(self, sentence: str) -> int:
        return self.tasks.setdefault(sentence, len(self.tasks))

    def _flush(self) -> None:
        if self._lines:
            self._table.write({name: [line[name] for line in self._lines] for name in self._lines[0]})
        self._lines.clear()

    def _info(self) -> dict[str, Any]:
        rate, films = self.source.conventions.frame_rate, any(one["dtype"] == "video" for one in self.features.values())
        return {
            "codebase_version": "v3.0",
            "robot_type": None,
            "total_episodes": len(self.source.episodes),
            "total_frames": len(self.source),
            "total_tasks": len(self.tasks),
            "chunks_size": FILES_PER_CHUNK,
            "data_files_size_in_mb": round(self.limits["data"] / 2**20),
            "video_files_size_in_mb": round(self.limits["video"] / 2**20),
            "fps": int(rate) if rate == int(rate) else rate,
            "splits": {"train": f"0:{len(self.source.episodes)}"},
            "data_path": DATA,
            "video_path": VIDEOS if films else None,
            "features": self.features,
        }

    def _leave(self, *_: object) -> None:
        for film, _spot in self._films.values():
            film.abandon()
        for parquet in (self._data, self._table):
            with contextlib.suppress(StoreError):
                parquet.close()


class _Parquet:
    """Write tables into numbered parquet files, one row group per table."""

    def __init__(self, name: Callable[[dict[str, int]], Path]) -> None:
        self._name, self._writer = name, None
        self.spot, self.bytes = {"chunk_index": 0, "file_index": 0}, 0

    def write(self, content: dict[str, Any]) -> None:
        """Append a table.

        Raises:
            StoreError: the disk does not take it.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        table, file = pa.table(content), self._name(self.spot)
        try:
            if self._writer is None:
                file.parent.mkdir(parents=True, exist_ok=True)
                self._writer: pq.ParquetWriter | None = pq.ParquetWriter(file, table.schema)
            self._writer.write_table(table)
        except (pa.ArrowException, OSError) as error:
            raise StoreError(f"{file} cannot be written: {error}") from error
        self.bytes += table.nbytes

    def close(self) -> None:
        """Finish the file; the next table begins another."""
        writer, self._writer = self._writer, None
        if writer is None:
            return
        try:
            writer.close()
        except OSError as error:
            raise StoreError(f"{self._name(self.spot)} cannot be written: {error}") from error
        self.spot, self.bytes = _following(self.spot), 0


def _tally(about: dict[str, Any]) -> NumberTally | PictureTally:
    return PictureTally(about["shape"][2]) if about["dtype"] in {"image", "video"} else NumberTally()


def _following(spot: dict[str, int]) -> dict[str, int]:
    number = spot["chunk_index"] * FILES_PER_CHUNK + spot["file_index"] + 1
    return {"chunk_index": number // FILES_PER_CHUNK, "file_index": number % FILES_PER_CHUNK}


def _vectors(values: Tensor) -> pa.Array:
    import pyarrow as pa

    flat = pa.array(values.flatten().numpy())
    return flat if values.shape[1] == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _pictures(frames: Tensor) -> pa.Array:
    """Return pictures as PNG, in the struct that Hugging Face's datasets take for an image."""
    import pyarrow as pa

    blobs = [_png(frame) for frame in frames]
    return pa.StructArray.from_arrays(
        [pa.array(blobs, pa.binary()), pa.nulls(len(blobs), pa.string())], names=["bytes", "path"]
    )


def _png(frame: Tensor) -> bytes:
    from PIL import Image

    buffer = io.BytesIO()
    pixels = frame.permute(1, 2, 0).contiguous().numpy() if len(frame) == 3 else frame[0].numpy()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _write_tasks(file: Path, tasks: dict[str, int]) -> None:
    """Write the sentences as LeRobot reads them: the index of a pandas frame."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    about = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, kind, numpy in (("task_index", "int64", "int64"), ("task", "unicode", "object"))
    ]
    pandas = {"index_columns": ["task"], "column_indexes": [], "columns": about}
    table = pa.table({"task_index": pa.array([*tasks.values()], pa.int64()), "task": pa.array([*tasks], pa.string())})
    pq.write_table(table.replace_schema_metadata({"pandas": json.dumps(pandas)}), file)
