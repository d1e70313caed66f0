"""Draw a view: per camera now, predicted, real, error and attention; below, where the attention goes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from seerkit.eval.pictures import FAINT, GAP, GROUND, INK, LABEL, Tile, png, sheet
from seerkit.eval.report import write_atomic
from seerkit.viz.look import CameraView, Likeness, View
from seerkit.viz.moment import Moment

COLOURS = ("#5ad1bd", "#f4a261", "#9d98ff", "#f07eb2", "#e3c04d", "#9aa8bd", "#7fb069", "#d77a61")
BRIGHTEST = 96
"""Error in levels that is drawn brightest."""
LINE = 20


def draw(view: View, moment: Moment, *, title: str, block: int = -1, side: int = 224) -> Image.Image:
    """Draw one moment of a policy.

    Args:
        view: what the policy said.
        moment: what it was asked about.
        title: whose view it is.
        block: whose attention was asked for, for the caption.
        side: side of each tile in pixels.
    """
    tiles = [_tiles(camera, view, moment) for camera in view.cameras.values()]
    later = f"t + {moment.ahead}, {moment.ahead / moment.rate:.2f} s" if moment.ahead else "later"
    where = "last block" if block == -1 else f"block {block}"
    captions = ("now, t", f"predicted ({later})", f"real ({later})", "error", f"attention of actions, {where}")
    table = sheet(tiles, captions=captions, side=side, labels=[*view.cameras])
    head = [(title, INK), (f"{moment.title}:  {moment.instruction or 'no words'}", FAINT)]
    foot = [(note, FAINT) for note in view.notes]
    bar = 3 * LINE if view.shares else 0
    top = GAP + LINE * len(head)
    picture = Image.new("RGB", (table.width, top + table.height + bar + LINE * len(foot) + GAP), GROUND)
    picture.paste(table, (0, top))
    _write(picture, head, GAP)
    if bar:
        _shares(picture, view, top + table.height)
    _write(picture, foot, top + table.height + bar)
    return picture


def write(picture: Image.Image, path: Path) -> Path:
    """Write the PNG whole or not at all."""
    write_atomic(path, png(picture))
    return path


def heat(values: np.ndarray, *, top: float) -> np.ndarray:
    """Colour a map, black at 0 to bright at ``top`` and above: ``(H, W)`` becomes uint8 ``(3, H, W)``."""
    from matplotlib import colormaps

    shares = np.clip(values / max(top, 1e-12), 0, 1)
    return (255 * colormaps["inferno"](shares)[..., :3]).astype(np.uint8).transpose(2, 0, 1)


def overlay(frame: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Lay a map over a grey frame, each patch in one colour from the least (black) to the most: uint8 ``(3, S, S)``."""
    size = frame.shape[-1]
    above = Image.fromarray((shares - shares.min()).astype(np.float32))
    grid = np.array(above.resize((size, size), Image.Resampling.NEAREST))
    mixed = 0.45 * frame.mean(axis=0, keepdims=True) + 0.55 * heat(grid, top=float(grid.max()))
    return mixed.round().clip(0, 255).astype(np.uint8)


def _tiles(camera: CameraView, view: View, moment: Moment) -> list[Tile]:
    over = "the episode was over" if moment.ahead else "nothing foreseen"
    guess = camera.predicted
    tiles = [Tile(camera.now, _scored("repeating it:", camera.repeated))]
    tiles.append(Tile(None, "no picture") if guess is None else Tile(guess, _scored("", camera.foreseen), True))
    tiles.append(Tile(None, over) if camera.real is None else Tile(camera.real))
    if guess is None or camera.real is None or camera.foreseen is None:
        tiles.append(Tile(None, "nothing to compare"))
    else:
        error = np.abs(guess.astype(float) - camera.real).mean(axis=0)
        tiles.append(Tile(heat(error, top=BRIGHTEST), f"mean {camera.foreseen.error:.1f} of 255 levels"))
    if camera.attention is None:
        tiles.append(Tile(None, "no places to show" if view.shares else "no attention"))
    else:
        times = camera.attention / max(float(camera.attention.mean()), 1e-12)
        told = f"{100 * camera.attention.sum():.0f} % of it, a patch {times.min():.1f} to {times.max():.1f} x the mean"
        tiles.append(Tile(overlay(camera.now, camera.attention), told))
    return tiles


def _scored(word: str, likeness: Likeness | None) -> str:
    return f"{word} {likeness.psnr:.1f} dB, SSIM {likeness.ssim:.2f}".strip() if likeness else ""


def _write(picture: Image.Image, lines: Sequence[tuple[str, str]], y: int) -> None:
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    for row, (text, ink) in enumerate(lines):
        pen.text((GAP, y + row * LINE + LINE // 2), text, ink, font, anchor="lm")


def _shares(picture: Image.Image, view: View, y: int) -> None:
    """Draw how the attention is divided among token groups: one bar, earlier steps paler, and its key."""
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    pen.text((GAP, y + LINE // 2), "actions see", INK, font, anchor="lm")
    left, width = GAP + LABEL, picture.width - 2 * GAP - LABEL
    x, key = float(left), float(left)
    for place, (name, (now, others)) in enumerate(sorted(view.shares.items(), key=lambda item: -sum(item[1]))):
        colour = COLOURS[place % len(COLOURS)]
        for share, shade in ((now, 1.0), (others, 0.55)):
            ink = tuple(round(shade * int(colour[i : i + 2], 16)) for i in (1, 3, 5))
            if share * width >= 1:
                pen.rectangle((x, y + 2, x + share * width - 1, y + LINE - 3), ink)
            x += share * width
        told = f"{name} {100 * (now + others):.0f} %" + (f" ({100 * others:.0f} % at other steps)" if others else "")
        if now + others >= 0.005:
            pen.rectangle((key, y + LINE + 6, key + 9, y + LINE + 15), colour)
            pen.text((key + 14, y + LINE + 11), told, INK, font, anchor="lm")
            key += 32 + pen.textlength(told, font)
