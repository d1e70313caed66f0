"""Write frames as mp4 videos, many episodes in one file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from seerkit.data.reel import look_at
from seerkit.data.source import StoreError

if TYPE_CHECKING:
    from av.container import OutputContainer
    from av.video.stream import VideoStream

CODECS = {"libsvtav1": {"preset": "8"}, "libx264": {}}
"""The encoders that may be asked for, and what they are told beside their quality."""
KEY_EVERY = "2"
"""Every second frame can be found without decoding others, as LeRobot writes videos."""
PIXELS = "yuv420p"


class FilmWriter:
    """Write one video.

    Args:
        path: the file; its folder is made.
        codec: one of `CODECS`.
        quality: the encoder's constant rate factor; less is better and larger.
        frame_rate: frames per second.
        size: height and width; both even.

    Raises:
        StoreError: the encoder does not take the size, or the file cannot be written.
    """

    def __init__(self, path: Path, *, codec: str, quality: int, frame_rate: float, size: tuple[int, int]) -> None:
        import av

        self.path, self.frames, self.bytes = path, 0, 0
        self._rate = Fraction(frame_rate).limit_denominator(10_000)
        path.parent.mkdir(parents=True, exist_ok=True)
        with _naming(path), _quiet_encoder():
            self._box: OutputContainer = av.open(str(path), "w")
            options = {**CODECS[codec], "g": KEY_EVERY, "crf": str(quality)}
            self._stream: VideoStream = self._box.add_stream(codec, rate=self._rate, options=options)  # pyright: ignore
            self._stream.height, self._stream.width = size
            self._stream.pix_fmt = PIXELS
            self._stream.codec_context.open(strict=False)

    def add(self, frames: Tensor) -> None:
        """Append frames.

        Shape:
            frames: uint8 ``(R, 3, H, W)``.

        Raises:
            StoreError: the disk does not take them.
        """
        import av

        for frame in frames.permute(0, 2, 3, 1).contiguous().numpy():
            picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
            picture.pts, picture.time_base = self.frames, 1 / self._rate
            self._write(picture)
            self.frames += 1

    def close(self) -> None:
        """Finish the file.

        Raises:
            StoreError: the disk did not take all of it.
        """
        self._write(None)
        with _naming(self.path):
            self._box.close()
        if (found := look_at(self.path).frames) != self.frames:
            raise StoreError(f"{self.path}: {self.frames} frames were written, the file holds {found}")

    def abandon(self) -> None:
        """Close the file as it is."""
        with contextlib.suppress(StoreError), _naming(self.path):
            self._box.close()

    def _write(self, picture: Any) -> None:  # noqa: ANN401  # a frame of PyAV, or none to finish
        with _naming(self.path):
            for packet in self._stream.encode(picture):
                self.bytes += packet.size
                self._box.mux(packet)


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    from av.error import FFmpegError

    try:
        yield
    except (FFmpegError, OSError) as error:
        raise StoreError(f"{path}: the video cannot be written: {error}") from error


@contextlib.contextmanager
def _quiet_encoder() -> Iterator[None]:
    """Keep SVT-AV1 from telling its settings on the terminal; it reads this variable when an encoder is opened."""
    before = os.environ.get("SVT_LOG")
    os.environ.setdefault("SVT_LOG", "1")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop("SVT_LOG", None)
