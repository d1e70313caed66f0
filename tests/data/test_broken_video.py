"""Damaged folders of clips: each is refused within seconds by an error that names the file and the field."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from seerkit.data.convert import convert
from seerkit.data.formats import open_source
from seerkit.data.source import StoreError
from tests.data.made_lerobot import write_video
from tests.data.made_video import write_captions, write_clips

CLIP = "clips/0.mp4"
Break = Callable[[Path], object]


def line(**changes: object) -> Break:
    return lambda path: write_captions(path, [{"file": CLIP, "caption": "open the drawer", **changes}])


def text(content: str | bytes) -> Break:
    data = content.encode() if isinstance(content, str) else content
    return lambda path: (path / "captions.jsonl").write_bytes(data)


def cut(share: float) -> Break:
    return lambda path: os.truncate(path / CLIP, int((path / CLIP).stat().st_size * share))


def cut_behind_the_header(path: Path) -> None:
    """Write the header first, as for streaming, and lose the end."""
    frames = np.random.default_rng(0).integers(0, 256, (60, 3, 48, 64), dtype=np.uint8)
    write_header_first(path / CLIP, frames)
    cut(0.6)(path)


def write_header_first(file: Path, frames: np.ndarray) -> None:
    write_video(file.with_suffix(".slow.mp4"), frames, rate=30)
    with (
        av.open(str(file.with_suffix(".slow.mp4"))) as given,
        av.open(str(file), "w", options={"movflags": "faststart"}) as box,
    ):
        stream = box.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                box.mux(packet)


def overwrite_the_middle(path: Path) -> None:
    data = bytearray((path / CLIP).read_bytes())
    middle = len(data) // 2
    data[middle : middle + len(data) // 4] = bytes(len(data) // 4)
    (path / CLIP).write_bytes(data)


def sound_only(path: Path) -> None:
    with av.open(str(path / CLIP), "w") as box:
        stream = box.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        box.mux(stream.encode(frame))
        box.mux(stream.encode(None))


CASES: dict[str, tuple[Break, dict[str, Any], str]] = {
    "no lines": (text(""), {}, "captions.jsonl must name clips"),
    "not text": (text(b"\xff\xfe\x00"), {}, "captions.jsonl cannot be read"),
    "a cut line": (text('{"file": "clips/0.mp4", "cap'), {}, "captions.jsonl: line 1 must be a JSON object"),
    "a list": (text("[1, 2]"), {}, "captions.jsonl: line 1 must be a JSON object"),
    "no caption": (text('{"file": "clips/0.mp4"}'), {}, "line 1: caption must be a text"),
    "an empty caption": (line(caption=" "), {}, "line 1: caption must be a text"),
    "a caption that is a number": (line(caption=3), {}, "line 1: caption must be a text, got 3"),
    "a field nobody knows": (line(stop=3), {}, r"line 1: .*got \['stop'\]"),
    "a start that is a word": (line(start="1"), {}, "line 1: start must be seconds"),
    "an end that is not a number": (line(end=float("nan")), {}, "line 1: end must be seconds"),
    "an end before the start": (line(start=1.0, end=0.5), {}, "line 1: end must lie after start"),
    "an end behind the video's": (line(end=2.5), {}, r"0.mp4: line 1 .*to 2\.5 s, the video has 60 frames"),
    "a start behind the video's end": (line(start=2.1), {}, "0.mp4: line 1 .*the video has 60 frames"),
    "a clip that is missing": (line(file="clips/9.mp4"), {}, "line 1: file .*9.mp4 is missing"),
    "a clip that is cut": (cut(0.5), {}, "0.mp4: the video cannot be decoded"),
    "a clip that is empty": (cut(0.0), {}, "0.mp4: the video cannot be decoded"),
    "a clip cut behind its header": (cut_behind_the_header, {}, r"0.mp4: (no frame at|the video cannot|the frame at)"),
    "a clip damaged in the middle": (overwrite_the_middle, {}, r"0.mp4: (no frame at|the video cannot|the frame at)"),
    "a clip that is a text": (lambda path: (path / CLIP).write_text("hello " * 99), {}, "0.mp4: the video cannot"),
    "a clip without pictures": (sound_only, {}, "0.mp4: it must hold a video"),
    "more frames than there are": (line(), {"frame_rate": 60}, "0.mp4: it has 30 frames per second, 60 cannot"),
}


@pytest.mark.parametrize("name", CASES)
def test_broken(name: str, tmp_path: Path) -> None:
    destroy, options, match = CASES[name]
    path = tmp_path / "folder"
    write_clips(path, rates=(30,), sizes=((48, 64),))
    destroy(path)
    start = time.monotonic()
    with pytest.raises(StoreError, match=match) as caught:
        convert(open_source(path, format="video", **options), tmp_path / "store")
    assert time.monotonic() - start < 5
    assert str(path) in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    "options",
    [{"every": 0}, {"every": 1.5}, {"frame_rate": -1}, {"image_size": 0}, {"every": 2, "frame_rate": 3}, {"evry": 2}],
    ids=str,
)
def test_options_out_of_range(options: dict[str, Any], tmp_path: Path) -> None:
    write_clips(tmp_path, rates=(30,), sizes=((48, 64),), frames=4)
    with pytest.raises(ValueError, match=next(iter(options))):
        open_source(tmp_path, **options)
