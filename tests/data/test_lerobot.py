"""LeRobot folders: both layouts give the numbers they were written from, and ours go out and come back whole."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from seerkit.cli import app
from seerkit.data.check import check
from seerkit.data.conventions import (
    ACTION,
    OPEN_IS_MINUS,
    STATES,
    UNKNOWN,
    ConventionError,
    Conventions,
    check_conventions,
)
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.lerobot_folder import write_lerobot
from seerkit.data.source import Segment, Source, StoreError
from seerkit.data.store import Store
from seerkit.data.windows import Windows
from seerkit.data.writer import StoreWriter
from tests.data import made_lerobot
from tests.data.made import episodes

MADE = episodes()
KINDS = [
    (made_lerobot.write_v30, True),
    (made_lerobot.write_v30, False),
    (made_lerobot.write_v21, True),
    (made_lerobot.write_v21, False),
]
NAMES = ["v3.0-video", "v3.0-images", "v2.1-video", "v2.1-images"]


def psnr(given: torch.Tensor, expected: np.ndarray) -> float:
    error = (given.double() - torch.from_numpy(expected).double()).square().mean()
    return float("inf") if error == 0 else float(10 * torch.log10(255**2 / error))


def made_store(path: Path, *, segments: bool = False, depth: bool = False, size: tuple[int, int] = (48, 64)) -> Store:
    """Write the made-up episodes as a store, with everything a store can hold."""
    made = episodes(size=size)
    conventions = Conventions(
        cameras={"primary": (3, *size), "wrist": (3, 32, 32)}, frame_rate=30.0, depth=depth, gripper=OPEN_IS_MINUS
    )
    random = np.random.default_rng(1)
    with StoreWriter(path, conventions, segments=segments) as writer:
        for number, one in enumerate(made):
            length = len(one["state"])
            far = {
                name: random.integers(0, 65536, (length, 1, *shape[1:]), dtype=np.uint16)
                for name, shape in conventions.cameras.items()
            }
            numbers = one["state"] + np.float32(1e-7), one["action"] * np.float32(1 / 3)
            about: dict[str, Any] = {
                "instruction": "" if segments else one["instruction"],
                "success": number != 2,
                "task": "made",
                "seed": number or None,
            }
            writer.add(one["images"], *numbers, **about, depth=far if depth else None)
            if segments:
                writer.mark(1, 6, "first", task="a")
                writer.mark(4, 8, "second", task="b")
    return Store(path)


def same(given: Source, expected: Source) -> None:
    """Everything but the frames is equal."""
    assert given.conventions == expected.conventions
    assert list(given.episodes) == list(expected.episodes)
    assert given.segments == expected.segments
    rows = torch.arange(len(expected))
    for key in (("observation", "state"), ("action",)):
        assert torch.equal(Store.arrays(given)[key][rows], Store.arrays(expected)[key][rows])


@pytest.mark.parametrize(("write", "video"), KINDS, ids=NAMES)
def test_both_layouts_give_the_numbers_they_were_written_from(
    write: Callable[..., Path], video: bool, tmp_path: Path
) -> None:
    source = open_source(write(tmp_path / "folder", MADE, video=video))
    assert source.format == "lerobot"
    assert not source.in_place
    assert source.conventions.state == tuple(made_lerobot.STATE)
    assert (source.conventions.action_scale, source.conventions.gripper) == (None, UNKNOWN)
    assert source.conventions.frame_rate == 15
    store = convert(source, tmp_path / "store")
    assert [episode.instruction for episode in store.episodes] == [one["instruction"] for one in MADE]
    for number, one in enumerate(MADE):
        arrays = store.episode(number)
        assert np.array_equal(arrays["observation", "state"].numpy(), one["state"])
        assert np.array_equal(arrays["action",].numpy(), one["action"])
        for name in ("primary", "wrist"):
            frames = arrays["observation", "image", name]
            assert psnr(frames, one["images"][name]) > (30 if video else 1000)
            # the right frame and not its neighbour
            distance = (
                (frames[:, None].float() - torch.from_numpy(one["images"][name])[None].float()).square().mean((2, 3, 4))
            )
            assert distance.argmin(1).tolist() == list(range(len(frames)))


def test_rows_come_in_any_order(tmp_path: Path) -> None:
    source = open_source(made_lerobot.write_v30(tmp_path / "folder", MADE, per_file=2))
    rows = torch.randperm(len(source), generator=torch.Generator().manual_seed(0))
    ordered = {key: array.take(torch.arange(len(source))) for key, array in source.arrays().items()}
    for key, array in source.arrays().items():
        assert torch.equal(array.take(rows.view(2, -1)), ordered[key][rows].view(2, -1, *array.shape[1:]))
        assert torch.equal(array.take(torch.tensor([63, 0, 63])), ordered[key][[63, 0, 63]])


def test_numbers_in_double_precision_are_rounded_once(tmp_path: Path) -> None:
    made = episodes(1)
    made[0]["action"] = made[0]["action"].astype(np.float64) / 3
    source = open_source(made_lerobot.write_v30(tmp_path / "folder", made, dtype="float64"))
    assert np.array_equal(source.episode(0)["action",].numpy(), made[0]["action"].astype(np.float32))


def test_options_say_what_the_data_leave_open(tmp_path: Path) -> None:
    folder = made_lerobot.write_v21(tmp_path / "folder", MADE, video=False)
    recipe = {"state": "pose_gripper", "fps": 15, "action_scale": [0.02, 0.05], "gripper": "+1 open, -1 closed"}
    with pytest.raises(ConventionError, match=r"gripper.*'unknown'"):
        check_conventions({"gripper": None}, open_source(folder).conventions, where="here")
    check_conventions({"gripper": UNKNOWN, "action_scale": UNKNOWN}, open_source(folder).conventions, where="here")
    told = {"state_means": "pose_gripper", "action_scale": [0.02, 0.05], "gripper_opens": 1}
    means = open_source(folder, **told).conventions
    check_conventions(recipe, means, where="here")
    assert (means.state, means.action) == (STATES["pose_gripper"], ACTION)
    for bad in (
        {"state_means": "pose_grippr"},
        {"action_scale": [1]},
        {"gripper_opens": 2},
        {"cameras": {"primary": "nope"}},
        {"state": "observation.stat"},
    ):
        with pytest.raises(ValueError, match=next(iter(bad))[:5]):
            open_source(folder, **bad)
    chosen = open_source(
        folder, cameras={"primary": "observation.images.wrist_cam"}, state=["action", "observation.state"]
    )
    assert chosen.conventions.cameras == {"primary": (3, 32, 32)}
    assert np.array_equal(
        chosen.episode(1)["observation", "state"].numpy(), np.concatenate([MADE[1]["action"], MADE[1]["state"]], 1)
    )


def test_a_task_that_changes_makes_segments(tmp_path: Path) -> None:
    made = episodes(2)
    made[1]["tasks"] = ["a"] * 5 + ["b"] * 8 + ["a"] * 7
    for write in (made_lerobot.write_v30, made_lerobot.write_v21):
        source = open_source(write(tmp_path / write.__name__, made, video=False))
        assert [(span.start, span.length, span.instruction, span.episode) for span in source.segments or ()] == [
            (0, 12, made[0]["instruction"], 0),
            (12, 5, "a", 1),
            (17, 8, "b", 1),
            (25, 7, "a", 1),
        ]


@pytest.mark.parametrize("segments", [False, True], ids=["episodes", "segments"])
@pytest.mark.parametrize("depth", [False, True], ids=["colour", "depth"])
def test_images_keep_everything(segments: bool, depth: bool, tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", segments=segments, depth=depth, size=(47, 65))
    out = write_lerobot(store, tmp_path / "lerobot", codec="images", data_mb=0.1)
    assert len(list((out / "data").rglob("*.parquet"))) > 1
    source = open_source(out)
    assert list(check(source)) == []
    back = convert(source, tmp_path / "back")
    same(back, store)
    for name in store.frames:
        assert torch.equal(back.frames[name], store.frames[name])
        if depth:
            assert torch.equal(back.depth[name], store.depth[name])
    cut, twin = (Windows(one, steps=3, chunk=2, ahead=2) for one in (store, back))
    assert len(cut) == len(twin)
    index = torch.arange(0, len(cut), 7)
    assert (
        cut.gather(index).exclude("language_instruction") == twin.gather(index).exclude("language_instruction")
    ).all()


@pytest.mark.parametrize(("codec", "video_mb", "files"), [("libx264", 0.01, (2, 3)), ("libsvtav1", 0, (4,))])
def test_videos_keep_everything_but_a_little_of_the_frames(
    codec: str, video_mb: float, files: tuple[int, ...], tmp_path: Path
) -> None:
    store = made_store(tmp_path / "store", depth=True)
    out = write_lerobot(store, tmp_path / "lerobot", codec=codec, quality=10, video_mb=video_mb)
    films = sorted((out / "videos/observation.images.primary").rglob("*.mp4"))
    assert len(films) in files
    back = convert(open_source(out), tmp_path / "back")
    same(back, store)
    assert torch.equal(back.depth["wrist"], store.depth["wrist"])
    for name in store.frames:
        assert psnr(back.frames[name], store.frames[name].numpy()) > 33
    assert [entry.name for entry in tmp_path.iterdir() if entry.name.startswith(".")] == []


def test_statistics_are_those_of_the_numbers(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", depth=True)
    out = write_lerobot(store, tmp_path / "lerobot", codec="images")
    stats = json.loads((out / "meta/stats.json").read_text())
    action, level = store.action.double(), store.frames["primary"].double() / 255
    assert stats["action"]["mean"] == pytest.approx(action.mean(0).tolist())
    assert stats["action"]["q10"] == pytest.approx(action.quantile(0.1, dim=0).tolist())
    seen = stats["observation.images.primary"]
    assert np.array(seen["std"])[:, 0, 0] == pytest.approx(level.std((0, 2, 3), correction=0).numpy())
    median = [level[:, channel].flatten().quantile(0.5, interpolation="lower").item() for channel in range(3)]
    assert np.array(seen["q50"])[:, 0, 0] == pytest.approx(median)
    assert seen["count"] == [len(store)]
    far = store.depth["wrist"].to(torch.float64)
    assert stats["observation.images.wrist_depth"]["max"] == [[[float(far.max())]]]
    table = pq.read_table(out / "meta/episodes").to_pylist()
    one = store.episodes[2]
    assert table[2]["stats/action/max"] == pytest.approx(store.action[one.start : one.end].amax(0).tolist())
    assert table[2]["stats/observation.images.primary/count"] == [one.length]


def test_a_step_is_given_the_sentence_of_its_first_segment(tmp_path: Path) -> None:
    out = write_lerobot(made_store(tmp_path / "store", segments=True), tmp_path / "lerobot", codec="images")
    (out / "meta/seerkit.json").unlink()  # as if somebody else had written it
    source = open_source(out)
    assert [(span.start, span.length, span.instruction) for span in source.segments or ()][:2] == [
        (1, 6, "first"),
        (7, 5, "second"),
    ]
    assert [span.task for span in source.segments or ()] == [""] * 8


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", size=(47, 64))
    for arguments, match in (({"codec": "libx264"}, "even"), ({"codec": "mpeg"}, "codec must be one of")):
        with pytest.raises((StoreError, ValueError), match=match):
            write_lerobot(store, tmp_path / "out", **arguments)
    (tmp_path / "there").mkdir()
    with pytest.raises(StoreError, match="exists already"):
        write_lerobot(store, tmp_path / "there")
    facts = {field.name: getattr(store, field.name) for field in dataclasses.fields(Source)}
    bad = Source(**{**facts, "action": torch.full_like(store.action, torch.nan)})
    with pytest.raises(StoreError, match=r"episode 0: .*action.*finite"):
        write_lerobot(bad, tmp_path / "out", codec="images")

    def stop(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_lerobot(store, tmp_path / "out", codec="images", progress=stop)
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["store", "there"]


def test_overlapping_segments_come_back(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store", segments=True)
    source = open_source(write_lerobot(store, tmp_path / "lerobot", codec="images"))
    assert list(source.segments or ())[:2] == [Segment(1, 6, "first", 0, "a"), Segment(4, 8, "second", 0, "b")]


def test_the_commands(tmp_path: Path) -> None:
    store = made_store(tmp_path / "store")
    told = run("data", "export", str(store.path), "--out", str(tmp_path / "out"), "--codec", "images")
    assert f"wrote {tmp_path / 'out'}" in told.replace("\n", "")
    (tmp_path / "out/meta/seerkit.json").unlink()
    assert "gripper      unknown" in run("data", "info", str(tmp_path / "out"))
    options = ["--option", "gripper_opens=-1", "--option", "action_scale=[0.02, 0.05]"]
    run("data", "convert", str(tmp_path / "out"), "--out", str(tmp_path / "back"), *options)
    back = Store(tmp_path / "back")
    assert (back.conventions.gripper, back.conventions.action) == (OPEN_IS_MINUS, ACTION)
    assert torch.equal(back.frames["primary"], store.frames["primary"])


def run(*arguments: str) -> str:
    result = CliRunner(env={"COLUMNS": "200"}).invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output
