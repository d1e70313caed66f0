"""Acceptance: the same episodes in every format give the same numbers and windows, and keep them through a round trip.

Each format's files are written by its helper from the same episodes; what it cannot say (LIBERO's fingers, DROID's
gripper) is computed there from the same numbers. Then: source -> store -> LeRobot v3 -> store.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tensordict import TensorDict

from seerkit import keys
from seerkit.data.conventions import Conventions
from seerkit.data.convert import convert
from seerkit.data.formats import format_of, open_source
from seerkit.data.lerobot_folder import write_lerobot
from seerkit.data.rows import take
from seerkit.data.sampler import Sampler
from seerkit.data.source import Episode, Segment, Source
from seerkit.data.split import spans
from seerkit.data.store import Store
from seerkit.data.windows import Windows
from tests.data import made, made_calvin, made_lerobot, made_libero, made_rlds, made_seer_real, made_video

LENGTHS = (12, 20, 15, 17)
EPISODES = made.episodes(4, LENGTHS)
WORDS = [episode["instruction"] for episode in EPISODES]
Made = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Format:
    """Say how a format's test data is written, and what of the episodes it keeps.

    Args:
        write: writes the episodes; returns what is to be opened.
        kept: what an episode becomes in it.
        options: of the reader.
        arm: by how much an action's arm may differ (poses stored as float32).
        picture: by how much a picture's mean may differ (0: none does).
    """

    write: Callable[[Path, Sequence[Made]], Path]
    kept: Callable[[Made], Made] = dict
    options: dict[str, Any] = dataclasses.field(default_factory=dict)
    arm: float = 0.0
    picture: float = 0.0


def calvin(path: Path, episodes: Sequence[Made]) -> Path:
    size, wrist = (episodes[0]["images"][name].shape[2:] for name in ("primary", "wrist"))
    spoken = [
        (number, 0, length - 1, word, "task") for number, (length, word) in enumerate(zip(LENGTHS, WORDS, strict=True))
    ]
    first = (3, 15, 100, 115)
    made_calvin.write_calvin(path / "training", lengths=LENGTHS, first=first, sentences=spoken, size=size, wrist=wrist)
    return path


def fingers(episode: Made) -> Made:
    return {**episode, "state": made_libero.state(episode)}


def lerobot(write: Callable[..., Path], *, video: bool) -> Format:
    told = {
        "cameras": {camera: feature for camera, feature in made_lerobot.CAMERAS.items()},
        "state_means": "pose_gripper",
    }
    told |= {"action_scale": [0.02, 0.05], "gripper_opens": 1}
    return Format(lambda path, made: write(path, made, video=video), options=told, picture=6.0 if video else 0.0)


def steps(kind: made_seer_real.Kind, **about: Any) -> Format:  # noqa: ANN401
    return Format(lambda path, made: made_seer_real.write(path, made, kind), **about, picture=2.0)


FORMATS = {
    "calvin": Format(calvin),
    "libero": Format(made_libero.write, kept=fingers),
    "rlds": Format(made_rlds.write, kept=made_rlds.kept, arm=1e-4),
    "lerobot v2.1": lerobot(made_lerobot.write_v21, video=False),
    "lerobot v2.1 video": lerobot(made_lerobot.write_v21, video=True),
    "lerobot v3.0": lerobot(made_lerobot.write_v30, video=False),
    "lerobot v3.0 video": lerobot(made_lerobot.write_v30, video=True),
    "seer_real": steps("robot", arm=1e-5),
    "seer_real droid": steps("droid", arm=1e-5),
    "seer_real libero": steps("libero", kept=fingers),
}


@pytest.fixture(scope="module", params=FORMATS)
def written(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Format, Source]:
    form: Format = FORMATS[request.param]
    path = form.write(tmp_path_factory.mktemp("formats") / "data", EPISODES)
    assert format_of(path) == request.param.split()[0]
    return form, open_source(path, **form.options)


def plain(form: Format, like: Source) -> Source:
    """Hold what a format should give, straight from the episodes."""
    kept = [form.kept(episode) for episode in EPISODES]
    table = [
        Episode(sum(LENGTHS[:number]), length, word)
        for number, (length, word) in enumerate(zip(LENGTHS, WORDS, strict=True))
    ]
    return Source(
        path=Path("plain"),
        format="plain",
        conventions=like.conventions,
        episodes=table,
        frames={
            name: torch.from_numpy(np.concatenate([one["images"][name] for one in kept]))
            for name in ("primary", "wrist")
        },
        state=torch.from_numpy(np.concatenate([one["state"] for one in kept])),
        action=torch.from_numpy(np.concatenate([one["action"] for one in kept])),
    )


def hundred(source: Source) -> TensorDict:
    """Sample 100 windows; which ones depends on their number alone."""
    windows = Windows(source, steps=4, chunk=3, ahead=3, episodes=spans(source), cameras=["primary", "wrist"])
    return windows.gather(Sampler(size=len(windows), batch_size=100, seed=5).indices(0))


def same(first: Source, second: Source) -> None:
    """Make sure that two sources say the same, to the bit."""
    assert first.conventions == second.conventions
    assert [*first.episodes] == [*second.episodes]
    assert first.segments == second.segments
    rows, arrays = torch.arange(len(first)), second.arrays()
    for key, array in first.arrays().items():
        assert torch.equal(take(array, rows), take(arrays[key], rows)), key
    sampled = [hundred(source) for source in (first, second) if {"primary", "wrist"} <= {*source.frames}]
    for one, other in itertools.pairwise(sampled):
        assert [*one[keys.INSTRUCTION]] == [*other[keys.INSTRUCTION]]
        assert (one.exclude(keys.INSTRUCTION) == other.exclude(keys.INSTRUCTION)).all()


def test_every_format_gives_the_same_windows(written: tuple[Format, Source]) -> None:
    form, source = written
    wanted, got = hundred(plain(form, source)), hundred(source)
    assert {*wanted.keys(True, True)} == {*got.keys(True, True)}
    assert [*got[keys.INSTRUCTION]] == [*wanted[keys.INSTRUCTION]]
    for key in ("action_is_pad", "future_is_pad"):
        assert torch.equal(got[key], wanted[key])
    assert torch.equal(got[keys.STATE], wanted[keys.STATE])
    apart = (got[keys.TARGET_CHUNK] - wanted[keys.TARGET_CHUNK]).abs()
    assert apart[..., :6].max() <= form.arm
    assert apart[..., 6].max() == 0
    for base in (keys.IMAGE, keys.FUTURE):
        for camera in ("primary", "wrist"):
            key = keys.under(base, camera)
            apart = (got[key].int() - wanted[key].int()).abs().float().flatten(-3).mean(-1)
            assert apart.max() <= form.picture, (key, apart.max())


def test_a_round_trip_keeps_every_number(written: tuple[Format, Source], tmp_path: Path) -> None:
    _, source = written
    store = convert(source, tmp_path / "store")
    same(source, store)
    write_lerobot(store, tmp_path / "lerobot", codec="images")
    between = open_source(tmp_path / "lerobot")
    same(store, between)
    same(store, convert(between, tmp_path / "back"))


def test_captioned_clips_make_the_round_trip(tmp_path: Path) -> None:
    made_video.write_clips(tmp_path / "clips", rates=(30.0, 30.0), sizes=((32, 48), (32, 48)), frames=20)
    source = open_source(tmp_path / "clips", every=2)
    store = convert(source, tmp_path / "store")
    same(source, store)
    write_lerobot(store, tmp_path / "lerobot", codec="images")
    same(store, convert(open_source(tmp_path / "lerobot"), tmp_path / "back"))


def test_everything_a_store_can_hold_makes_the_round_trip(tmp_path: Path) -> None:
    """Depth, failures, seeds, tasks, overlapping segments, any character in a sentence."""
    from seerkit.data.writer import StoreWriter

    conventions = Conventions(cameras={"primary": (3, 48, 64), "wrist": (3, 32, 32)}, frame_rate=12.5, depth=True)
    with StoreWriter(tmp_path / "store", conventions, segments=True) as writer:
        for number, one in enumerate(EPISODES):
            depth = {name: (frames[:, :1].astype(np.uint16) * 37) for name, frames in one["images"].items()}
            about = {"instruction": f"„{one['instruction']}“\n", "success": number % 2 == 0, "task": f"scene {number}"}
            writer.add(one["images"], one["state"] + 1e-7, one["action"], seed=number or None, depth=depth, **about)
            writer.mark(2, 6, "a \u2028 span", task="a task")
            writer.mark(4, 5, "another")
    store = Store(tmp_path / "store")
    assert store.segments is not None
    assert store.segments[1] == Segment(4, 5, "another", 0)
    write_lerobot(store, tmp_path / "lerobot", codec="images")
    same(store, convert(open_source(tmp_path / "lerobot"), tmp_path / "back"))
