"""LeRobot data sets of both layouts, written by hand and small, as lerobot itself lays them out."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

CAMERAS = {"primary": "observation.images.static", "wrist": "observation.images.wrist_cam"}
STATE = ["x", "y", "z", "roll", "pitch", "yaw", "gripper"]
FPS = 15


def write_v30(
    path: Path, made: Sequence[dict[str, Any]], *, video: bool = True, per_file: int = 3, dtype: str = "float32"
) -> Path:
    """Write v3.0: several episodes in a file, videos one after another with time stamps."""
    episodes, tasks = _rows(made), _tasks(made)
    table: list[dict[str, Any]] = []
    for file, first in enumerate(range(0, len(made), per_file)):
        part = list(range(first, min(first + per_file, len(made))))
        _write_parquet(
            path / f"data/chunk-000/file-{file:03d}.parquet", [episodes[n] for n in part], made, video, dtype
        )
        for number in part:
            length, start = len(made[number]["state"]), sum(len(one["state"]) for one in made[:number])
            line = {"episode_index": number, "tasks": _spoken(made[number]), "length": length}
            line |= {"data/chunk_index": 0, "data/file_index": file}
            line |= {"dataset_from_index": start, "dataset_to_index": start + length}
            begins = sum(len(made[n]["state"]) for n in part if n < number) / FPS
            for camera in CAMERAS.values() if video else ():
                line |= {f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": file}
                line |= {
                    f"videos/{camera}/from_timestamp": begins,
                    f"videos/{camera}/to_timestamp": begins + length / FPS,
                }
            table.append({**line, "stats/action/min": [0.0] * 7, "meta/episodes/chunk_index": 0})
        for name, camera in CAMERAS.items() if video else ():
            frames = np.concatenate([made[n]["images"][name] for n in part])
            write_video(path / f"videos/{camera}/chunk-000/file-{file:03d}.mp4", frames)
    data, videos = (
        "chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    )
    _write_info(path, made, "v3.0", f"data/{data}", f"videos/{{video_key}}/{videos}", video, dtype)
    (path / "meta/episodes/chunk-000").mkdir(parents=True)
    pq.write_table(pa.Table.from_pylist(table), path / "meta/episodes/chunk-000/file-000.parquet")
    columns = {"task_index": list(range(len(tasks))), "__index_level_0__": tasks}
    pq.write_table(pa.table(columns), path / "meta/tasks.parquet")
    (path / "meta/stats.json").write_text("{}")
    return path


def write_v21(path: Path, made: Sequence[dict[str, Any]], *, video: bool = True, dtype: str = "float32") -> Path:
    """Write v2.1: every episode in files of its own."""
    episodes, tasks = _rows(made), _tasks(made)
    for number, rows in enumerate(episodes):
        _write_parquet(path / f"data/chunk-000/episode_{number:06d}.parquet", [rows], made, video, dtype)
        for name, camera in CAMERAS.items() if video else ():
            write_video(path / f"videos/chunk-000/{camera}/episode_{number:06d}.mp4", made[number]["images"][name])
    data = "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet"
    videos = "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4"
    _write_info(path, made, "v2.1", data, videos, video, dtype)
    _write_lines(path / "meta/tasks.jsonl", [{"task_index": n, "task": task} for n, task in enumerate(tasks)])
    lines = [{"episode_index": n, "tasks": _spoken(one), "length": len(one["state"])} for n, one in enumerate(made)]
    _write_lines(path / "meta/episodes.jsonl", lines)
    _write_lines(path / "meta/episodes_stats.jsonl", [{"episode_index": n, "stats": {}} for n in range(len(made))])
    return path


def write_video(path: Path, frames: np.ndarray, *, rate: float = FPS, **options: str) -> None:
    """Write frames (uint8 ``(L, 3, H, W)``) as H.264 with B-frames and few key frames."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as box:
        told = {"crf": "4", "g": "12", "bf": "2", "preset": "medium", **options}
        stream = box.add_stream("libx264", rate=Fraction(rate).limit_denominator(1001), options=told)
        stream.height, stream.width, stream.pix_fmt = frames.shape[2], frames.shape[3], "yuv420p"
        for frame in frames:
            picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame.transpose(1, 2, 0)), format="rgb24")
            box.mux(stream.encode(picture))
        box.mux(stream.encode(None))


def change_json(file: Path, **changes: object) -> None:
    """Change fields of a file that holds a JSON object."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **changes}))


def change_table(file: Path, column: str, change: Callable[[list[Any]], list[Any]] | None) -> None:
    """Replace a column of a parquet file by what ``change`` makes of its list of values; ``None`` removes it."""
    table = pq.read_table(file)
    index = table.column_names.index(column)
    if change is None:
        table = table.remove_column(index)
    else:
        table = table.set_column(index, column, pa.array(change(table[column].to_pylist())))
    pq.write_table(table, file)


def _spoken(one: dict[str, Any]) -> list[str]:
    return list(dict.fromkeys(one.get("tasks") or [one["instruction"]]))


def _tasks(made: Sequence[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(task for one in made for task in _spoken(one)))


def _rows(made: Sequence[dict[str, Any]]) -> list[dict[str, list[Any]]]:
    tasks, index, rows = _tasks(made), 0, []
    for number, one in enumerate(made):
        length = len(one["state"])
        said = one.get("tasks") or [one["instruction"]] * length
        rows.append(
            {
                "timestamp": [np.float32(step / FPS) for step in range(length)],
                "frame_index": list(range(length)),
                "episode_index": [number] * length,
                "index": list(range(index, index + length)),
                "task_index": [tasks.index(task) for task in said],
            }
        )
        index += length
    return rows


def _write_parquet(
    file: Path, rows: list[dict[str, list[Any]]], made: Sequence[dict[str, Any]], video: bool, dtype: str
) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    writer = None
    for part in rows:  # one row group per episode
        one, columns = made[part["episode_index"][0]], dict[str, Any]()
        for name, camera in CAMERAS.items() if not video else ():
            columns[camera] = [{"bytes": _png(frame), "path": None} for frame in one["images"][name]]
        kind = pa.list_(pa.type_for_alias(dtype))
        columns["observation.state"] = pa.array(one["state"].astype(dtype).tolist(), kind)
        columns["action"] = pa.array(one["action"].astype(dtype).tolist(), kind)
        table = pa.table({**columns, **part, "timestamp": pa.array(part["timestamp"], pa.float32())})
        writer = writer or pq.ParquetWriter(file, table.schema)
        writer.write_table(table)
    if writer:
        writer.close()


def _png(frame: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0))).save(buffer, "PNG")
    return buffer.getvalue()


def _write_info(
    path: Path, made: Sequence[dict[str, Any]], version: str, data: str, videos: str, video: bool, dtype: str
) -> None:
    features: dict[str, Any] = {}
    for name, camera in CAMERAS.items():
        height, width = made[0]["images"][name].shape[2:]
        shape, names = [height, width, 3], ["height", "width", "channels"]
        features[camera] = {"dtype": "video" if video else "image", "shape": shape, "names": names}
    features["observation.state"] = {"dtype": dtype, "shape": [7], "names": {"motors": STATE}}
    features["action"] = {"dtype": dtype, "shape": [7], "names": None}
    features["timestamp"] = {"dtype": "float32", "shape": [1], "names": None}
    for name in ("frame_index", "episode_index", "index", "task_index"):
        features[name] = {"dtype": "int64", "shape": [1], "names": None}
    info = {"codebase_version": version, "robot_type": "panda", "fps": FPS, "chunks_size": 1000, "features": features}
    info |= {"total_episodes": len(made), "total_frames": sum(len(one["state"]) for one in made)}
    info |= {"data_path": data, "video_path": videos if video else None, "total_tasks": len(_tasks(made))}
    (path / "meta").mkdir(parents=True, exist_ok=True)
    (path / "meta/info.json").write_text(json.dumps(info))


def _write_lines(file: Path, lines: list[dict[str, Any]]) -> None:
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
