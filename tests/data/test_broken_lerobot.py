"""Damaged LeRobot folders: each is refused within seconds by an error that names the file and the field."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.source import StoreError
from tests.data.made import episodes
from tests.data.made_lerobot import CAMERAS, change_json, change_table, write_v21, write_v30, write_video

MADE = episodes(3, (5, 7, 6), size=(32, 32), wrist=(32, 32))
INFO, TABLE, DATA = "meta/info.json", "meta/episodes/chunk-000/file-000.parquet", "data/chunk-000/file-000.parquet"
FILM = f"videos/{CAMERAS['primary']}/chunk-000/file-000.mp4"
Break = Callable[[Path], object]


def cut(file: str, share: float = 0.5) -> Break:
    return lambda path: os.truncate(path / file, int((path / file).stat().st_size * share))


def info(**changes: object) -> Break:
    return lambda path: change_json(path / INFO, **changes)


def feature(name: str, **changes: object) -> Break:
    def apply(path: Path) -> None:
        features = json.loads((path / INFO).read_text())["features"]
        features[name] = {**features[name], **changes}
        change_json(path / INFO, features=features)

    return apply


def column(file: str, name: str, change: Callable[[list[Any]], list[Any]] | None) -> Break:
    return lambda path: change_table(path / file, name, change)


def with_first(value: object) -> Callable[[list[Any]], list[Any]]:
    return lambda values: [value, *values[1:]]


def film(frames: np.ndarray, **options: float) -> Break:
    return lambda path: write_video(path / FILM, frames, **options)


FRAMES = np.concatenate([one["images"]["primary"] for one in MADE])

CASES: dict[str, tuple[Break, str]] = {
    "info is cut": (cut(INFO), "info.json.*JSON"),
    "info is a list": (lambda path: (path / INFO).write_text("[]"), "info.json must hold a JSON object"),
    "another version": (info(codebase_version="v1.6"), "codebase_version must be one of"),
    "fps is a word": (info(fps="15"), "fps must be"),
    "fps is negative": (info(fps=-15), "fps must be positive"),
    "fps is another": (info(fps=30), r"file-000.parquet: timestamp of row 1 must be 0\.0333"),
    "no features": (info(features=None), "features must be dict"),
    "shape is a word": (feature("action", shape="seven"), r"features.action.shape"),
    "no pattern for videos": (info(video_path=None), "video_path must be given"),
    "a pattern with a strange field": (info(data_path="data/{shard}.parquet"), "data_path must be a pattern"),
    "another number of episodes": (info(total_episodes=4), "total_episodes.*4 episodes"),
    "another number of frames": (info(total_frames=17), "total_frames.*17 frames"),
    "action is whole numbers": (feature("action", dtype="int64"), "features.action must be a vector of float32"),
    "action is another width": (feature("action", shape=[6]), "action must have 6 numbers in every row"),
    "tasks are missing": (lambda path: (path / "meta/tasks.parquet").unlink(), "tasks.parquet"),
    "tasks are cut": (cut("meta/tasks.parquet"), "tasks.parquet cannot be read"),
    "tasks without sentences": (column("meta/tasks.parquet", "__index_level_0__", None), "one of sentences"),
    "episodes are missing": (lambda path: (path / TABLE).unlink(), "episodes must hold parquet files"),
    "episodes are cut": (cut(TABLE), "file-000.parquet cannot be read as parquet"),
    "episodes without a length": (column(TABLE, "length", None), "lacks the column length"),
    "an episode twice": (column(TABLE, "episode_index", lambda _: [0, 1, 1]), "episode_index must be 0 .. 2.*twice"),
    "an episode is missing": (column(TABLE, "episode_index", lambda _: [0, 1, 3]), "episode_index must be.*missing"),
    "overlapping episodes": (
        column(TABLE, "dataset_from_index", lambda _: [0, 4, 12]),
        "dataset_from_index of episode 1",
    ),
    "length is nothing": (column(TABLE, "length", lambda _: [0, 12, 6]), "length of episode 0 must be at least 1"),
    "lengths do not fit the rows": (
        column(TABLE, "dataset_from_index", lambda _: [0, 6, 12]),
        "dataset_from_index of episode 1 must be 5",
    ),
    "tasks are no list": (column(TABLE, "tasks", lambda _: ["a", "b", "c"]), "tasks of line 0 must be list"),
    "data are missing": (lambda path: (path / DATA).unlink(), "file-000.parquet is missing"),
    "data are cut": (cut(DATA), "file-000.parquet cannot be read as parquet"),
    "data are empty": (cut(DATA, 0), "file-000.parquet cannot be read as parquet"),
    "no action column": (column(DATA, "action", None), "lacks the column action"),
    "no frame_index column": (column(DATA, "frame_index", None), "lacks the column frame_index"),
    "state is words": (column(DATA, "observation.state", lambda rows: ["x"] * len(rows)), "observation.state must be"),
    "state is whole numbers": (
        column(DATA, "observation.state", lambda rows: [[1] * 7] * len(rows)),
        "observation.state must be float32",
    ),
    "state is uneven": (
        column(DATA, "observation.state", with_first([0.0] * 6)),
        "state must have 7 numbers",
    ),
    "state has a gap": (column(DATA, "observation.state", with_first(None)), "state must have 7 numbers"),
    "action is NaN": (
        column(DATA, "action", with_first([float("nan")] * 7)),
        "action must be finite.*step 0",
    ),
    "action is too large": (column(DATA, "action", with_first([1e300] * 7)), "action must be finite in float32"),
    "rows are shuffled": (column(DATA, "frame_index", lambda rows: rows[::-1]), "frame_index of row 0 must be 0, got"),
    "episodes overlap in the rows": (
        column(DATA, "episode_index", lambda rows: [0] * len(rows)),
        "_index of row 5",
    ),
    "time stamps are seconds of the day": (
        column(DATA, "timestamp", lambda rows: [t + 5e4 for t in rows]),
        "timestamp of row 0",
    ),
    "an unknown task": (column(DATA, "task_index", lambda rows: [9] * len(rows)), r"task_index must be one of.*\[9\]"),
    "video is missing": (lambda path: (path / FILM).unlink(), "file-000.mp4 is missing"),
    "video is cut": (cut(FILM), r"file-000.mp4: the video cannot be decoded"),
    "video is something else": (
        lambda path: (path / FILM).write_bytes(b"no video" * 99),
        "file-000.mp4: the video cannot",
    ),
    "video lacks frames": (film(FRAMES[:-2]), r"file-000.mp4: no frame at 1\.1333 s"),
    "video of another rate": (film(FRAMES, rate=7.5), r"file-000.mp4: no frame at 1\.1333 s"),
    "video of another size": (film(FRAMES[..., :16]), r"file-000.mp4: frames must be \(32, 32, 3\)"),
    "begins elsewhere in the video": (
        column(TABLE, f"videos/{CAMERAS['primary']}/from_timestamp", lambda _: [0.0, 9.0, 12 / 15]),
        r"file-000.mp4: no frame at 9\.0000 s",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_v30(name: str, tmp_path: Path) -> None:
    destroy, match = CASES[name]
    path = write_v30(tmp_path / "folder", MADE)
    destroy(path)
    refused(path, match)


def refused(path: Path, match: str) -> None:
    start = time.monotonic()
    with pytest.raises(StoreError, match=match) as caught:
        convert(open_source(path, format="lerobot"), path.parent / "store")
    assert time.monotonic() - start < 5
    assert str(path) in str(caught.value)
    assert not (path.parent / "store").exists()


OLD_DATA = "data/chunk-000/episode_{:06d}.parquet".format
OLD: dict[str, tuple[Break, str]] = {
    "fps is another": (info(fps=30), r"episode_000000.parquet: timestamp of row 1 must be 0\.03"),
    "episodes are missing": (lambda path: (path / "meta/episodes.jsonl").unlink(), "episodes.jsonl cannot be read"),
    "episodes are cut": (cut("meta/episodes.jsonl"), "episodes.jsonl cannot be read as lines of JSON"),
    "tasks are cut": (cut("meta/tasks.jsonl"), "tasks.jsonl cannot be read as lines of JSON"),
    "an episode's data are missing": (
        lambda path: (path / OLD_DATA(1)).unlink(),
        "episode_000001.parquet is missing",
    ),
    "data are another episode's": (
        lambda path: (path / OLD_DATA(1)).replace(path / OLD_DATA(0)),
        "episode_000001.parquet is missing",
    ),
    "data lack rows": (
        lambda path: column(OLD_DATA(2), "index", None)(path) or shorten(path),
        "episode_000002.parquet must have 6 rows.*it has 4",
    ),
    "a picture is damaged": (
        column(OLD_DATA(0), CAMERAS["wrist"], with_first({"bytes": b"\x89PNG", "path": ""})),
        "wrist_cam of row 0 cannot be decoded",
    ),
    "a picture is not there": (
        column(OLD_DATA(0), CAMERAS["wrist"], with_first({"bytes": None, "path": "a.png"})),
        "wrist_cam of row 0 must hold a picture",
    ),
    "pictures are numbers": (
        column(OLD_DATA(0), CAMERAS["wrist"], lambda rows: [1.0] * len(rows)),
        "wrist_cam must be pictures",
    ),
    "pictures are of another size": (feature(CAMERAS["wrist"], shape=[16, 16, 3]), r"must be \(3, 16, 16\), it is"),
}


def shorten(path: Path) -> None:
    import pyarrow.parquet as pq

    file = path / OLD_DATA(2)
    pq.write_table(pq.read_table(file).slice(0, 4), file)


@pytest.mark.parametrize("name", OLD)
def test_v21(name: str, tmp_path: Path) -> None:
    destroy, match = OLD[name]
    path = write_v21(tmp_path / "folder", MADE, video=False)
    destroy(path)
    refused(path, match)


EXTRAS: dict[str, tuple[dict[str, object], str]] = {
    "another version": ({"version": 9}, "seerkit.json: format, version must be"),
    "no conventions": ({"conventions": None}, "seerkit.json is damaged"),
    "other episodes": (
        {"episodes": {"instruction": ["a"], "success": [True], "seed": [None], "task": [""]}},
        "seerkit.json tells of 1 episodes, the data set has 3",
    ),
    "a camera that is not there": ({"cameras": {"primary": "observation.images.x"}}, "must name features"),
}


@pytest.mark.parametrize("name", EXTRAS)
def test_our_own_file(name: str, tmp_path: Path) -> None:
    changes, match = EXTRAS[name]
    store = convert(open_source(write_v21(tmp_path / "old", MADE, video=False)), tmp_path / "made")
    from seerkit.data.lerobot_folder import write_lerobot

    path = write_lerobot(store, tmp_path / "folder", codec="images")
    change_json(path / "meta/seerkit.json", **changes)
    refused(path, match)


WRITE = """
    import signal, sys
    from pathlib import Path
    from seerkit.data.lerobot_folder import write_lerobot
    from seerkit.data.source import StoreError
    from seerkit.data.store import Store
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        write_lerobot(Store(sys.argv[1]), sys.argv[2], codec=sys.argv[3])
    except StoreError as error:
        print(error)
        sys.exit(7)
"""


@pytest.mark.parametrize(("codec", "limit"), [("images", 20_000), ("images", 200), ("libx264", 1_000)])
def test_a_full_disk_leaves_nothing(codec: str, limit: int, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk: writing fails with an OSError in the same places."""
    convert(open_source(write_v21(tmp_path / "old", MADE, video=False)), tmp_path / "store")

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    command = [sys.executable, "-c", textwrap.dedent(WRITE), str(tmp_path / "store"), str(tmp_path / "out"), codec]
    done = subprocess.run(command, preexec_fn=limited, capture_output=True, text=True, check=False)
    assert done.returncode == 7, done.stderr
    assert "cannot be written" in done.stdout
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["old", "store"]


def test_a_target_that_cannot_be_written(tmp_path: Path) -> None:
    from seerkit.data.lerobot_folder import write_lerobot

    store = convert(open_source(write_v21(tmp_path / "old", MADE, video=False)), tmp_path / "store")
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"):
        write_lerobot(store, tmp_path / "file" / "out", codec="images")
