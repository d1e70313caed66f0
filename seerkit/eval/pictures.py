"""Draw recordings: a video that shows saw, foreseen and came side by side, and a still of the same."""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import av
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seerkit.eval.quality import as_image, judge
from seerkit.eval.records import Recording

GROUND, EMPTY, INK, FAINT, FORESEEN = "#12151c", "#1c212b", "#e8ebf1", "#8b95a7", "#7dd3c0"
GAP, BAND, LABEL = 8, 26, 92


@dataclass(frozen=True)
class Tile:
    """One picture of a sheet: a frame (None: nothing to show) and what stands in its corner."""

    frame: np.ndarray | None
    corner: str = ""
    foreseen: bool = False


def sheet(
    rows: Sequence[Sequence[Tile]], *, captions: Sequence[str], side: int, labels: Sequence[str] = ()
) -> Image.Image:
    """Lay tiles out in rows under one line of captions, on a dark ground; both sides of the sheet are even.

    Args:
        rows: tiles, equally many per row.
        captions: one per column.
        side: side of a tile in pixels.
        labels: one per row, written in a column of their own; lines break at newlines.
    """
    left = GAP + (LABEL if labels else 0)
    width, height = left + len(captions) * (side + GAP), BAND + len(rows) * (side + GAP)
    picture = Image.new("RGB", (width + width % 2, height + height % 2), GROUND)
    draw, text = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for column, caption in enumerate(captions):
        draw.text((left + column * (side + GAP), BAND // 2), caption, INK, text, anchor="lm")
    for row, tiles in enumerate(rows):
        y = BAND + row * (side + GAP)
        if labels:
            ink = FORESEEN if tiles[0].foreseen else INK
            draw.multiline_text((GAP, y + side // 2), labels[row], ink, text, anchor="lm", spacing=5)
        for column, tile in enumerate(tiles):
            _place(picture, tile, (left + column * (side + GAP), y), side)
    return picture


def _place(picture: Image.Image, tile: Tile, at: tuple[int, int], side: int) -> None:
    (x, y), small, draw = at, ImageFont.load_default(11), ImageDraw.Draw(picture)
    if tile.frame is None:
        draw.rectangle((x, y, x + side - 1, y + side - 1), EMPTY)
        draw.text((x + side // 2, y + side // 2), tile.corner, FAINT, small, anchor="mm")
        return
    picture.paste(as_image(tile.frame).resize((side, side), Image.Resampling.LANCZOS), (x, y))
    if tile.foreseen:
        draw.rectangle((x - 2, y - 2, x + side + 1, y + side + 1), outline=FORESEEN, width=2)
    if tile.corner:
        size = draw.textlength(tile.corner, small)
        draw.rectangle((x, y + side - 17, x + size + 9, y + side - 1), GROUND)
        draw.text((x + 4, y + side - 9), tile.corner, INK, small, anchor="lm")


def stages(recording: Recording, step: int) -> list[list[Tile]]:
    """Give one row per camera: what was seen at ``step``, what was foreseen then, and what came ``ahead`` later."""
    later, rows = step + recording.ahead, []
    for camera, frames in recording.frames.items():
        tiles = [Tile(frames[step], camera)]
        if recording.ahead:
            drawn = recording.foresight.get(camera, frames[:0])
            tiles.append(Tile(drawn[step], foreseen=True) if step < len(drawn) else Tile(None, "the episode is over"))
            tiles.append(Tile(frames[later]) if later < len(frames) else Tile(None, "the episode was over"))
        rows.append(tiles)
    return rows


def film(recording: Recording, *, side: int = 200) -> Iterator[Image.Image]:
    """Draw a recording step by step; without foresight the cameras stand side by side."""
    steps = len(next(iter(recording.frames.values())))
    for step in range(steps):
        rows, now = stages(recording, step), f"saw at t = {step}"
        if recording.ahead:
            after = f"t + {recording.ahead}"
            yield sheet(rows, captions=[now, f"foresaw for {after}", f"came at {after}"], side=side)
        else:
            yield sheet([[row[0] for row in rows]], captions=[now, *[""] * (len(rows) - 1)], side=side)


def mp4(recording: Recording, *, fps: int = 10, hold: float = 1.0, side: int = 200) -> bytes:
    """Encode a recording as an H.264 video that every browser plays (yuv420p).

    Args:
        recording: at least one frame of one camera.
        fps: control steps shown per second.
        hold: seconds to hold the last frame.
        side: side of each tile in pixels.
    """
    pictures = list(film(recording, side=side))
    pictures += [pictures[-1]] * round(hold * fps)
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "22", "preset": "veryfast", "threads": "1"})
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_image(picture)))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def still(recording: Recording, *, moments: int = 5, side: int = 128) -> Image.Image:
    """Draw a few moments of a recording: per camera a row seen, a row foreseen and a row of what came.

    Args:
        recording: at least one frame of one camera.
        moments: how many steps to show, spread evenly.
        side: side of each tile in pixels.
    """
    length = len(next(iter(recording.frames.values())))
    last = max(0, length - 1 - recording.ahead)
    steps = sorted({round(moment) for moment in np.linspace(0, last, moments)})
    quality = judge(recording)
    words = ("saw", f"foresaw t + {recording.ahead}", f"came at t + {recording.ahead}")
    columns = [stages(recording, step) for step in steps]
    rows, labels = [], []
    for place, camera in enumerate(recording.frames):
        for stage, word in enumerate(words if recording.ahead else words[:1]):
            tiles = [replace(column[place][stage], corner="") for column in columns]
            if stage == 1 and camera in quality and last < len(quality[camera].foreseen):
                scores = (f"{quality[camera].foreseen[step]:.0f} dB" for step in steps)
                tiles = [replace(tile, corner=score) for tile, score in zip(tiles, scores, strict=True)]
            rows.append(tiles)
            labels.append(f"{camera}\n{word}")
    return sheet(rows, captions=[f"t = {step}" for step in steps], side=side, labels=labels)


def png(image: Image.Image) -> bytes:
    """Encode a picture as PNG."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
