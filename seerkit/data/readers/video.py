"""Video clips with captions, for learning to foresee without a robot (GR-1's pre-training on Ego4D).

```
folder/
  captions.jsonl    one line per clip: {"file": "clips/1.mp4", "caption": "open the drawer", "start": 1.5, "end": 4.5}
  clips/1.mp4       start and end, in seconds, may be left out; several lines may name one file
```
Every line becomes an episode of one camera, without state and action: the frames from ``start`` until before ``end``.
"""

from __future__ import annotations

import bisect
import dataclasses
import functools
import itertools
import json
import math
from pathlib import Path

import numpy as np

from seerkit.data.conventions import Conventions
from seerkit.data.files import inside
from seerkit.data.reel import Film, FilmRows, Fit, Moment, look_at
from seerkit.data.source import Episode, Source, StoreError

CAPTIONS = "captions.jsonl"
LOOKS = "a folder with captions.jsonl and the clips it names"
SLACK = 1e-3
"""Seconds, or steps, by which an end may be missed through rounding."""
TOLERANCE = 0.75
"""How far, in frames of the video, a frame may lie beside the wanted time; half a frame is what choosing takes."""


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    return (path / CAPTIONS).is_file()


@dataclasses.dataclass(frozen=True)
class Clip:
    """Say what one line of the captions says.

    Args:
        file: the video.
        caption: what it shows.
        start: first second.
        end: last second; ``None`` for the video's end.
    """

    file: Path
    caption: str
    start: float = 0.0
    end: float | None = None


def read(
    path: Path,
    *,
    every: int | None = None,
    frame_rate: float | None = None,
    image_size: int | None = None,
    camera: str = "primary",
) -> Source:
    """Open a folder of clips; only the headers of the videos are read.

    Args:
        path: the folder.
        every: take every n-th frame; all clips must have one frame rate. 1 if ``frame_rate`` is not given either.
        frame_rate: take so many frames per second instead, each the nearest in time; no more than the videos have.
        image_size: side of the square frames: the shorter side is resized to it (bicubic, antialiased), the middle of
            the longer one kept. If not given, frames stay as they are, and all clips must have one size.
        camera: the name of the only camera.

    Raises:
        StoreError: the captions are damaged, or a clip is missing, damaged, shorter than said or unlike the others.
        ValueError: an option is out of range.
    """
    if every is not None and frame_rate is not None:
        raise ValueError("give every or frame_rate, not both")
    for name, value in (("every", every), ("frame_rate", frame_rate), ("image_size", image_size)):
        if value is not None and not (isinstance(value, int | float) and value > 0 and math.isfinite(value)):
            raise ValueError(f"{name} must be positive, got {value!r}")
    if any(isinstance(value, float) for value in (every, image_size)):
        raise ValueError(f"every and image_size must be whole numbers, got {every!r} and {image_size!r}")
    clips = read_captions(path / CAPTIONS)
    films = {file: look_at(file) for file in dict.fromkeys(clip.file for clip in clips)}
    rate = frame_rate or _one_rate(path, films) / (every or 1)
    shape = (3, image_size, image_size) if image_size else (3, *_one_size(path, films))
    lengths = [_length(clip, films[clip.file], rate, line) for line, clip in enumerate(clips, 1)]
    starts = [0, *itertools.accumulate(lengths)]

    def where(row: int) -> Moment:
        number = bisect.bisect_right(starts, row) - 1
        clip = clips[number]
        tolerance = TOLERANCE / films[clip.file].frame_rate
        return Moment(clip.file, clip.start + (row - starts[number]) / rate, tolerance)

    fit: Fit | None = None if image_size is None else functools.partial(crop_and_resize, side=image_size)
    frames = FilmRows(where, shape=(starts[-1], *shape), fit=fit)
    conventions = Conventions(cameras={camera: shape}, state=(), action=(), frame_rate=rate)
    told = zip(starts, lengths, clips, strict=False)
    return Source(
        path=path,
        format="video",
        conventions=conventions,
        episodes=[Episode(start, length, clip.caption) for start, length, clip in told],
        frames={camera: frames},
        state=None,
        action=None,
        in_place=False,
    )


def read_captions(file: Path) -> list[Clip]:
    """Read the list of clips.

    Raises:
        StoreError: a line is damaged; the line and the field are named.
    """
    try:
        lines = [line.decode() for line in file.read_bytes().splitlines()]  # of bytes: U+2028 ends no line of JSON
    except (OSError, ValueError) as error:
        raise StoreError(f"{file} cannot be read: {error}") from error
    clips = [_clip(file, number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not clips:
        raise StoreError(f"{file} must name clips, one a line; it names none")
    return clips


def _clip(file: Path, number: int, line: str) -> Clip:
    where = f"{file}: line {number}"
    try:
        told = json.loads(line)
    except ValueError as error:
        raise StoreError(f"{where} must be a JSON object: {error}") from error
    if not isinstance(told, dict):
        raise StoreError(f"{where} must be a JSON object, got {line[:80]}")
    for field in ("file", "caption"):
        if not isinstance(told.get(field), str) or not told[field].strip():
            raise StoreError(f"{where}: {field} must be a text, got {told.get(field)!r}")
    if unknown := sorted(told.keys() - {"file", "caption", "start", "end"}):
        raise StoreError(f"{where}: file, caption, start and end are known, got {unknown}")
    start, end = told.get("start") or 0.0, told.get("end")
    for field, value in (("start", start), ("end", end)):
        if value is not None and (not isinstance(value, int | float) or not 0 <= value < math.inf):
            raise StoreError(f"{where}: {field} must be seconds, got {value!r}")
    if end is not None and end <= start:
        raise StoreError(f"{where}: end must lie after start, got {start} and {end}")
    return Clip(
        _film(file.parent, told["file"], where), told["caption"], float(start), None if end is None else float(end)
    )


def _film(folder: Path, name: str, where: str) -> Path:
    try:
        file = inside(folder, name)
    except ValueError as error:
        raise StoreError(f"{where}: file: {error}") from error
    if not file.is_file():
        raise StoreError(f"{where}: file {file} is missing")
    return file


def _length(clip: Clip, film: Film, rate: float, line: int) -> int:
    """Count the frames that are taken of a clip."""
    last = (film.frames - 1) / film.frame_rate
    if rate > film.frame_rate * (1 + 1e-3):
        raise StoreError(f"{clip.file}: it has {film.frame_rate:g} frames per second, {rate:g} cannot be taken")
    if clip.start > last + SLACK or (clip.end or 0) > last + 1 / film.frame_rate + SLACK:
        span = f"{clip.start} to {'its end' if clip.end is None else clip.end} s"
        told = f"line {line} of {CAPTIONS} says {span}"
        raise StoreError(f"{clip.file}: {told}, the video has {film.frames} frames, the last at {last:.3f} s")
    length = math.floor((last - clip.start) * rate + SLACK) + 1
    return length if clip.end is None else min(length, math.ceil((clip.end - clip.start) * rate - SLACK))


def _one_rate(path: Path, films: dict[Path, Film]) -> float:
    (first, film), *others = films.items()
    for other, found in others:
        if abs(found.frame_rate - film.frame_rate) > 1e-3 * film.frame_rate:
            raise StoreError(
                f"{path}: clips differ in frame rate ({first.name} {film.frame_rate:g}, {other.name} "
                f"{found.frame_rate:g}); say how many frames per second to take: --option frame_rate=3"
            )
    return film.frame_rate


def _one_size(path: Path, films: dict[Path, Film]) -> tuple[int, int]:
    (first, film), *others = films.items()
    for other, found in others:
        if found.size != film.size:
            raise StoreError(
                f"{path}: clips differ in size ({first.name} {film.size}, {other.name} {found.size}); say "
                "what to make of them: --option image_size=224"
            )
    return film.size


def crop_and_resize(picture: np.ndarray, *, side: int) -> np.ndarray:
    """Resize the shorter side, and keep the middle of the longer one.

    Shape:
        picture: uint8 ``(H, W, 3)``.
        returns: uint8 ``(side, side, 3)``.
    """
    from PIL import Image

    height, width = picture.shape[:2]
    short = min(height, width)
    top, left = (height - short) / 2, (width - short) / 2
    box = (left, top, left + short, top + short)
    return np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC, box=box))
