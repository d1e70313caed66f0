"""What the ``meta`` folder of a LeRobot data set says, v3.0 and v2.x in one form."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from seerkit.data.files import inside
from seerkit.data.source import StoreError

INFO = "meta/info.json"
EXTRAS = "meta/seerkit.json"
TASKS = "meta/tasks.parquet"
EPISODES = "meta/episodes"
VERSIONS = ("v2.0", "v2.1", "v3.0")
OLD_TASKS, OLD_EPISODES = "meta/tasks.jsonl", "meta/episodes.jsonl"


@dataclasses.dataclass(frozen=True)
class Place:
    """Locate one episode in the files.

    Args:
        length: number of steps.
        tasks: the sentences it was given, in order of appearance.
        data: its parquet file.
        offset: row of its first step in that file.
        films: per video feature the file, and the second at which the episode begins in it.
    """

    length: int
    tasks: tuple[str, ...]
    data: Path
    offset: int
    films: Mapping[str, tuple[Path, float]]


@dataclasses.dataclass(frozen=True)
class Meta:
    """Hold what is known of a data set before any of its data are read.

    Args:
        path: its folder.
        version: such as ``"v3.0"``.
        frame_rate: steps per second.
        features: as in ``info.json``: dtype, shape and names by feature.
        tasks: the sentence of every task index.
        places: the episodes in order.
    """

    path: Path
    version: str
    frame_rate: float
    features: Mapping[str, Mapping[str, Any]]
    tasks: Mapping[int, str]
    places: Sequence[Place]

    @property
    def cameras(self) -> dict[str, Mapping[str, Any]]:
        """The features that are pictures in colour."""
        kinds = {name: about for name, about in self.features.items() if about["dtype"] in {"video", "image"}}
        return {name: about for name, about in kinds.items() if not is_depth(about)}


def is_depth(feature: Mapping[str, Any]) -> bool:
    """Say whether a feature's pictures are distances."""
    facts = {**(feature.get("video_info") or {}), **(feature.get("info") or {})}
    return bool(facts.get("is_depth_map") or facts.get("video.is_depth_map"))


def picture_size(where: str, feature: Mapping[str, Any]) -> tuple[int, int]:
    """Return height and width of a feature's pictures, whichever order its shape is written in.

    Raises:
        StoreError: its shape is not that of a picture.
    """
    shape, names = list(feature["shape"]), feature.get("names")
    if len(shape) != 3:
        raise StoreError(f"{where}: shape must be (height, width, channels), got {shape}")
    first = isinstance(names, list) and str(names[0]).startswith("channel")
    if first or (not isinstance(names, list) and shape[0] in {1, 3} and shape[2] not in {1, 3}):
        shape = [*shape[1:], shape[0]]
    return shape[0], shape[1]


def read_meta(path: Path) -> Meta:
    """Read and check a data set's ``meta`` folder.

    Raises:
        StoreError: something is missing, damaged or contradicts itself; the file and the field are named.
    """
    info = read_json(path / INFO)
    _check_info(path / INFO, info)
    newest = info["codebase_version"] == "v3.0"
    tasks = _tasks(path / TASKS) if newest else _old_tasks(path / OLD_TASKS)
    lines = _lines(path, info) if newest else _old_lines(path / OLD_EPISODES, info)
    table = path / (EPISODES if newest else OLD_EPISODES)
    for number, line in enumerate(sorted(lines, key=lambda line: line["episode_index"])):
        if line["episode_index"] != number:
            listed = [line["episode_index"] for line in lines]
            fault = "listed twice" if listed.count(number - 1) > 1 else "missing"
            raise StoreError(f"{table}: episode_index must be 0 .. {len(lines) - 1}, each once; one is {fault}")
    places = _places(path, info, sorted(lines, key=lambda line: line["episode_index"]), table)
    given = len(places), sum(place.length for place in places)
    if given != (info["total_episodes"], info["total_frames"]):
        told = f"{info['total_episodes']} episodes, {info['total_frames']} frames"
        raise StoreError(f"{path / INFO}: total_episodes, total_frames say {told}; {table} lists {given}")
    return Meta(path, info["codebase_version"], float(info["fps"]), info["features"], tasks, places)


def read_json(file: Path) -> dict[str, Any]:
    """Read a file that holds one JSON object.

    Raises:
        StoreError: it is missing or holds something else.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read as JSON: {error}") from error
    if not isinstance(found, dict):
        raise StoreError(f"{file} must hold a JSON object, it holds {type(found).__name__}")
    return found


def _check_info(file: Path, info: Mapping[str, Any]) -> None:
    if info.get("codebase_version") not in VERSIONS:
        version = info.get("codebase_version")
        raise StoreError(
            f"{file}: codebase_version must be one of {VERSIONS}, got {version!r}; convert it with lerobot"
        )
    kinds: dict[str, tuple[type, ...]] = {"fps": (int, float), "features": (dict,), "data_path": (str,)}
    kinds |= dict.fromkeys(("total_episodes", "total_frames", "chunks_size"), (int,))
    for field, kind in kinds.items():
        if not isinstance(info.get(field), kind):
            raise StoreError(f"{file}: {field} must be {kind[0].__name__}, got {info.get(field)!r}")
    if not 0 < info["fps"] < 100_000:
        raise StoreError(f"{file}: fps must be positive, got {info['fps']}")
    for name, about in info["features"].items():
        shape = about.get("shape") if isinstance(about, dict) else None
        if not isinstance(shape, list) or not all(isinstance(size, int) and size > 0 for size in shape):
            raise StoreError(f"{file}: features.{name}.shape must be a list of sizes, got {shape!r}")
        if not isinstance(about.get("dtype"), str):
            raise StoreError(f"{file}: features.{name}.dtype must be a word, got {about.get('dtype')!r}")
        if about["dtype"] == "video" and not isinstance(info.get("video_path"), str):
            raise StoreError(f"{file}: video_path must be given, {name} is video; got {info.get('video_path')!r}")


def _places(path: Path, info: Mapping[str, Any], lines: list[dict[str, Any]], table: Path) -> list[Place]:
    films = [name for name, about in info["features"].items() if about["dtype"] == "video"]
    rows: dict[Path, int] = {}
    places, start, present = [], 0, set[Path]()
    for number, line in enumerate(lines):
        if line["length"] < 1:
            raise StoreError(f"{table}: length of episode {number} must be at least 1, got {line['length']}")
        if line.get("dataset_from_index", start) != start:
            raise StoreError(
                f"{table}: dataset_from_index of episode {number} must be {start} (episodes follow one another), got "
                f"{line['dataset_from_index']}"
            )
        start += line["length"]
        data = _file(path, info, "data_path", number, line, "data")
        shown = {
            name: (
                _file(path, info, "video_path", number, line, f"videos/{name}", video_key=name),
                float(line.get(f"videos/{name}/from_timestamp", 0.0)),
            )
            for name in films
        }
        for file in {data, *(film for film, _ in shown.values())} - present:
            if not file.is_file():
                raise StoreError(f"{file} is missing; {table} puts episode {number} there")
            present.add(file)
        places.append(Place(line["length"], tuple(line["tasks"]), data, rows.get(data, 0), shown))
        rows[data] = rows.get(data, 0) + line["length"]
    return places


def _file(
    path: Path, info: Mapping[str, Any], field: str, number: int, line: Mapping[str, Any], prefix: str, **more: str
) -> Path:
    numbers = {"episode_index": number, "episode_chunk": number // info["chunks_size"]}
    numbers |= {name: line.get(f"{prefix}/{name}", 0) for name in ("chunk_index", "file_index")}
    try:
        return inside(path, info[field].format(**numbers, **more))
    except (LookupError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{path / INFO}: {field} must be a pattern for a path, got {info[field]!r} ({error})"
        ) from error


def _lines(path: Path, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    films = [name for name, about in info["features"].items() if about["dtype"] == "video"]
    counts = ["episode_index", "length", "dataset_from_index", "data/chunk_index", "data/file_index"]
    counts += [f"videos/{name}/{field}" for name in films for field in ("chunk_index", "file_index")]
    times = [f"videos/{name}/from_timestamp" for name in films]
    files = sorted((path / EPISODES).glob("*/*.parquet"))
    if not files:
        raise StoreError(f"{path / EPISODES} must hold parquet files, it holds none")
    lines: list[dict[str, Any]] = []
    for file in files:
        with naming(file):
            schema = pq.read_schema(file)
            missing = sorted({*counts, *times, "tasks"} - {*schema.names})
            if missing:
                raise StoreError(f"{file} lacks the column {', '.join(missing)}")
            found = pq.read_table(file, columns=[*counts, *times, "tasks"]).to_pylist()
        _check_lines(file, found, counts=counts, times=times)
        lines += found
    return lines


def _old_lines(file: Path, info: Mapping[str, Any]) -> list[dict[str, Any]]:
    lines = _json_lines(file)
    _check_lines(file, lines, counts=["episode_index", "length"], times=[])
    if not lines:
        raise StoreError(f"{file} must list {info['total_episodes']} episodes, it lists none")
    return lines


def _check_lines(file: Path, lines: Iterable[Mapping[str, Any]], *, counts: list[str], times: list[str]) -> None:
    kinds: dict[str, tuple[type, ...]] = {**dict.fromkeys(counts, (int,)), **dict.fromkeys(times, (int, float))}
    for number, line in enumerate(lines):
        for field, kind in {**kinds, "tasks": (list,)}.items():
            if not isinstance(line.get(field), kind):
                raise StoreError(
                    f"{file}: {field} of line {number} must be {kind[0].__name__}, got {line.get(field)!r}"
                )
        if not all(isinstance(task, str) for task in line["tasks"]):
            raise StoreError(f"{file}: tasks of line {number} must be sentences, got {line['tasks']!r}")


def _tasks(file: Path) -> dict[int, str]:
    """Read the tasks; the sentences are the index that pandas wrote, whatever it called the column."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with naming(file):
        table = pq.read_table(file)
    texts = [
        field.name for field in table.schema if pa.types.is_string(field.type) or pa.types.is_large_string(field.type)
    ]
    if "task_index" not in table.column_names or len(texts) != 1:
        raise StoreError(f"{file} must have the columns task_index and one of sentences, it has {table.column_names}")
    return dict(zip(table["task_index"].to_pylist(), table[texts[0]].to_pylist(), strict=True))


def _old_tasks(file: Path) -> dict[int, str]:
    tasks = {}
    for number, line in enumerate(_json_lines(file)):
        if not isinstance(line.get("task_index"), int) or not isinstance(line.get("task"), str):
            raise StoreError(f"{file}: line {number} must have task_index and task, got {line}")
        tasks[line["task_index"]] = line["task"]
    return tasks


def _json_lines(file: Path) -> list[dict[str, Any]]:
    try:
        # lines of bytes: U+2028 ends no line of JSON
        lines = [json.loads(line) for line in file.read_bytes().splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read as lines of JSON: {error}") from error
    if not all(isinstance(line, dict) for line in lines):
        raise StoreError(f"{file}: every line must be a JSON object")
    return lines


@contextlib.contextmanager
def naming(file: Path) -> Iterator[None]:
    """Turn what pyarrow raises into an error that names the file."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise StoreError(f"{file} cannot be read as parquet: {error}") from error
