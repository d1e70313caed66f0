"""Frames of video files, found by their time and decoded forwards."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from seerkit.data.source import StoreError

if TYPE_CHECKING:
    import av
    from av.container import InputContainer
    from av.video.stream import VideoStream

REWIND_BEYOND = 2.0
"""Seconds: a jump further ahead seeks; what is nearer is decoded through."""

Fit = Callable[[np.ndarray], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Film:
    """Say what a video file's header says.

    Args:
        size: height and width in pixels.
        frame_rate: average frames per second.
        frames: how many there are; estimated from the duration if the header does not count them.
    """

    size: tuple[int, int]
    frame_rate: float
    frames: int


class Moment(NamedTuple):
    """Locate a frame.

    Args:
        path: the video file.
        seconds: from the file's first frame.
        tolerance: how far away, in seconds, the frame may lie.
    """

    path: Path
    seconds: float
    tolerance: float


class Reel:
    """Hold a video file open and give its frames by time; only the newest two are in memory.

    Times are seconds from the file's first frame, in the order of presentation (files may hold B-frames). Ascending
    times are decoded in one pass; a time before the last one, or far behind it, seeks to the key frame before it.

    Args:
        path: the file.

    Raises:
        StoreError: it is missing, damaged or has no video.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._box, self._stream = _open(path)
        self._start = float((self._stream.start_time or 0) * (self._stream.time_base or 1))
        self._frames = self._decoded()
        self._before: av.VideoFrame | None = None
        self._after: av.VideoFrame | None = None

    @property
    def film(self) -> Film:
        """What the header says.

        Raises:
            StoreError: it says no frame rate, or neither a count nor a duration.
        """
        stream, rate = self._stream, self._stream.average_rate
        if not rate:
            raise StoreError(f"{self.path}: its header must say a frame rate, it says none")
        frames = stream.frames or round(self._seconds() * float(rate))
        if frames < 1:
            raise StoreError(f"{self.path}: its header must say how long it is, it says {frames} frames")
        return Film((stream.height, stream.width), float(rate), frames)

    def frame(self, seconds: float, *, tolerance: float) -> np.ndarray:
        """Return the frame nearest to a time.

        Args:
            seconds: from the file's first frame.
            tolerance: how far away, in seconds, it may lie.

        Shape:
            returns: uint8 ``(H, W, 3)``, RGB.

        Raises:
            StoreError: no frame lies so near, or the file is damaged there.
        """
        self._wind(seconds)
        near = [frame for frame in (self._before, self._after) if frame is not None]
        best = min(near, key=lambda frame: abs(self._time(frame) - seconds), default=None)
        if best is None or abs(self._time(best) - seconds) > tolerance:
            nearest = "the video has ended" if best is None else f"the nearest is at {self._time(best):.4f} s"
            raise StoreError(
                f"{self.path}: no frame at {seconds:.4f} s (within {tolerance:.4f} s; {nearest}): the file is "
                "truncated, frames are missing, or its frame rate is another than was said"
            )
        return self._picture(best)

    def close(self) -> None:
        """Close the file."""
        self._frames.close()
        self._box.close()

    def _wind(self, seconds: float) -> None:
        """Decode until the wanted time lies between the two frames in memory."""
        last = self._before or self._after
        if last is None or not self._time(last) <= seconds <= self._time(last) + REWIND_BEYOND:
            self._seek(seconds)
        while self._after is not None and self._time(self._after) < seconds:
            self._before, self._after = self._after, self._step()

    def _seek(self, seconds: float) -> None:
        for goal in (seconds, 0.0):  # some containers land behind the goal; then the file is read from its beginning
            offset = int((self._start + goal) / (self._stream.time_base or 1))
            with _told(self.path):
                self._box.seek(offset, stream=self._stream, backward=True)
            self._frames.close()
            self._frames = self._decoded()
            self._before, self._after = None, self._step()
            if self._after is not None and self._time(self._after) <= seconds:
                return

    def _step(self) -> av.VideoFrame | None:
        with _told(self.path):
            frame = next(self._frames, None)
        if frame is not None and frame.pts is None:
            raise StoreError(f"{self.path}: a frame has no time stamp")
        if frame is not None and frame.is_corrupt:
            raise StoreError(f"{self.path}: the frame at {self._time(frame):.4f} s is damaged")
        return frame

    def _decoded(self) -> Any:  # noqa: ANN401  # a generator of frames; its type would need PyAV
        yield from self._box.decode(self._stream)

    def _time(self, frame: av.VideoFrame) -> float:
        return float((frame.pts or 0) * (self._stream.time_base or 1)) - self._start

    def _seconds(self) -> float:
        if self._stream.duration:
            return float(self._stream.duration * (self._stream.time_base or 1))
        return (self._box.duration or 0) / 1_000_000

    def _picture(self, frame: av.VideoFrame) -> np.ndarray:
        if frame.rotation:
            raise StoreError(f"{self.path}: it is to be shown rotated by {frame.rotation} degrees; encode it upright")
        return frame.to_ndarray(format="rgb24")


class FilmRows:
    """Rows that are frames of video files; one file is open at a time.

    Args:
        where: says where a row's frame lies.
        shape: ``(N, 3, H, W)``.
        fit: turns a decoded frame (uint8 ``(H, W, 3)``) into one of the wanted size; frames must have it already if
            not given.
    """

    def __init__(self, where: Callable[[int], Moment], *, shape: Sequence[int], fit: Fit | None = None) -> None:
        self._where, self._shape, self._fit = where, tuple(shape), fit
        self._reel: Reel | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """``(N, ...)``."""
        return self._shape

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""
        return torch.uint8

    def take(self, rows: Tensor) -> Tensor:
        """Decode some frames, each once, in the order of their rows.

        Raises:
            StoreError: one is missing, damaged or of another size.
        """
        distinct, place = rows.flatten().unique(return_inverse=True)
        frames = torch.empty(len(distinct), *self._shape[1:], dtype=torch.uint8)
        for index, row in enumerate(distinct.tolist()):
            frames[index] = self._read(row)
        return frames[place].view(*rows.shape, *self._shape[1:])

    def _read(self, row: int) -> Tensor:
        path, seconds, tolerance = self._where(row)
        picture = self._open(path).frame(seconds, tolerance=tolerance)
        picture = picture if self._fit is None else self._fit(picture)
        expected = (*self._shape[2:], 3)
        if picture.shape != expected:
            raise StoreError(f"{path}: frames must be {expected}, the one at {seconds:.4f} s is {picture.shape}")
        return torch.from_numpy(picture).permute(2, 0, 1)

    def _open(self, path: Path) -> Reel:
        if self._reel is None or self._reel.path != path:
            if self._reel is not None:
                self._reel.close()
            self._reel = None
            self._reel = Reel(path)
        return self._reel

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_reel": None}


def look_at(path: Path) -> Film:
    """Read a video file's header.

    Raises:
        StoreError: the file is missing, damaged or has no video.
    """
    reel = Reel(path)
    try:
        return reel.film
    finally:
        reel.close()


def _open(path: Path) -> tuple[InputContainer, VideoStream]:
    import av

    if not path.is_file():
        raise StoreError(f"{path} is missing")
    with _told(path):
        box = av.open(str(path))
    if not box.streams.video:
        box.close()
        raise StoreError(f"{path}: it must hold a video, it holds none")
    return box, box.streams.video[0]


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what PyAV raises into an error that names the file."""
    from av.error import FFmpegError

    try:
        yield
    except (FFmpegError, OSError) as error:
        raise StoreError(f"{path}: the video cannot be decoded: {error}") from error
