"""Captioned clips become episodes of frames at one rate and size, and GR-1 learns to foresee from them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from seerkit import keys
from seerkit.data.conventions import ConventionError
from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.source import StoreError
from seerkit.data.windows import Windows
from seerkit.train.loop import train
from seerkit.train.settings import Settings
from seerkit.train.windows import training_windows
from tests.data.made import episodes
from tests.data.made_lerobot import write_v30
from tests.data.made_video import write_captions, write_clips
from tests.small import small_policy


def nearest(frames: torch.Tensor, made: np.ndarray) -> list[int]:
    """Say which of the frames a clip was made of each given frame resembles most."""
    distance = (frames[:, None].float() - torch.from_numpy(made)[None].float()).square().mean((2, 3, 4))
    assert distance.amin(1).sqrt().max() < 4
    return distance.argmin(1).tolist()


def test_every_second_frame(tmp_path: Path) -> None:
    made = write_clips(tmp_path / "clips", rates=(30, 30), sizes=((48, 64),) * 2, frames=21)
    store = convert(open_source(tmp_path / "clips", every=2), tmp_path / "store")
    assert (store.conventions.frame_rate, store.conventions.state, store.conventions.action) == (15, (), ())
    assert [episode.length for episode in store.episodes] == [11, 11]
    for number, frames in enumerate(made):
        shown = store.episode(number)[keys.under(keys.IMAGE, "primary")]
        assert nearest(shown, frames) == list(range(0, 21, 2))


def test_three_frames_a_second_of_clips_that_differ(tmp_path: Path) -> None:
    made = write_clips(tmp_path / "clips")
    with pytest.raises(StoreError, match=r"differ in frame rate \(0.mp4 30, 2.mp4 24\).*frame_rate="):
        open_source(tmp_path / "clips", every=2)
    with pytest.raises(StoreError, match=r"differ in size.*image_size="):
        open_source(tmp_path / "clips", frame_rate=3)
    store = convert(open_source(tmp_path / "clips", frame_rate=3, image_size=24), tmp_path / "store")
    assert store.conventions.cameras == {"primary": (3, 24, 24)}
    assert [episode.length for episode in store.episodes] == [6, 6, 8]
    small = []
    for number, frames in enumerate(made):
        height, width = frames.shape[2:]
        top, left = (height - 48) // 2, (width - 48) // 2
        square = frames[:, :, top : top + 48, left : left + 48].transpose(0, 2, 3, 1)
        resized = [
            Image.fromarray(np.ascontiguousarray(one)).resize((24, 24), Image.Resampling.BICUBIC) for one in square
        ]
        small.append(np.stack([np.asarray(one) for one in resized]).transpose(0, 3, 1, 2))
        shown = store.episode(number)[keys.under(keys.IMAGE, "primary")]
        step = 10 if number < 2 else 8
        assert nearest(shown, small[-1]) == list(range(0, 60, step))


def test_spans_of_one_file(tmp_path: Path) -> None:
    made = write_clips(tmp_path / "clips", rates=(30,), sizes=((48, 64),))
    lines = [{"file": "clips/0.mp4", "caption": "a", "start": 0.5, "end": 1.5}, {"file": "clips/0.mp4", "caption": "b"}]
    write_captions(tmp_path / "clips", [*lines, {"file": "clips/0.mp4", "caption": "c", "start": 1.9, "end": 2.0}])
    source = open_source(tmp_path / "clips", frame_rate=3)
    assert [(one.start, one.length, one.instruction) for one in source.episodes] == [
        (0, 3, "a"),
        (3, 6, "b"),
        (9, 1, "c"),
    ]
    shown = source.frames["primary"].take(torch.arange(10))
    assert nearest(shown, made[0]) == [15, 25, 35, 0, 10, 20, 30, 40, 50, 57]


def test_a_clip_of_gr1s_kind_has_ten_frames(tmp_path: Path) -> None:
    """Three seconds and a third at 30 frames per second, three of them a second."""
    write_clips(tmp_path / "clips", rates=(30,), sizes=((32, 32),), frames=92)
    assert open_source(tmp_path / "clips", frame_rate=3).episodes[0].length == 10


def test_gr1_is_pre_trained_on_clips(tmp_path: Path) -> None:
    write_clips(tmp_path / "clips", sizes=((32, 32),) * 3)
    policy = small_policy("gr1_video_pretrain")
    source = open_source(tmp_path / "clips", frame_rate=3)
    told = {"batch_size": 4, "updates": 6, "log_every": 2, "save_every": 6, "precision": "fp32"}
    settings = Settings.read(policy.recipe.config["train"], {**told, "lr": 1e-3, "warmup": 0})
    with pytest.raises(StoreError, match="convert"):
        train(policy, source, tmp_path / "run", settings=settings, device="cpu", progress=False)
    store = convert(source, tmp_path / "store")
    windows = Windows(store, steps=10, chunk=1, ahead=1)
    assert windows.gather(torch.tensor([0]))[keys.STEP_IS_PAD].tolist() == [[False] * 6 + [True] * 4]
    result = train(policy, store, tmp_path / "run", settings=settings, device="cpu", progress=False)
    assert set(result.metrics) >= {"loss", "loss_foresight"}
    assert result.metrics["loss"] == pytest.approx(result.metrics["loss_foresight"])


def test_who_only_foresees_does_not_ask_what_an_action_means(tmp_path: Path) -> None:
    folder = write_v30(tmp_path / "folder", episodes(2, size=(32, 32)), video=False)
    store = convert(open_source(folder), tmp_path / "store")
    told = {"holdout": 0.0, "updates": 1}
    for name, overrides, refusal in (
        ("gr1_video_pretrain", ("data.fps=15",), None),
        ("gr1_calvin", ("data.fps=15", "data.state=null"), "gripper.*'unknown'"),
        ("gr1_calvin", ("data.fps=15", "data.state=null", "data.gripper=unknown", "data.action_scale=unknown"), None),
    ):
        policy = small_policy(name, *overrides)
        settings = Settings.read(policy.recipe.config["train"], told)
        if refusal is None:
            training_windows(policy, store, settings)
        else:
            with pytest.raises(ConventionError, match=refusal):
                training_windows(policy, store, settings)
