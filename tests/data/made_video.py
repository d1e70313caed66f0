"""A folder of captioned clips, written by hand and small."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.made import SENTENCES, pictures
from tests.data.made_lerobot import write_video

RATES = (30.0, 30.0, 24.0)
SIZES = ((48, 64), (48, 64), (64, 48))


def write_clips(
    path: Path, *, rates: Sequence[float] = RATES, sizes: Sequence[tuple[int, int]] = SIZES, frames: int = 60
) -> list[np.ndarray]:
    """Write one clip per rate and return the frames they were made of."""
    shown, lines = [], list[dict[str, Any]]()
    for number, (rate, size) in enumerate(zip(rates, sizes, strict=True)):
        made = pictures(np.random.default_rng(number), frames, size)
        write_video(path / f"clips/{number}.mp4", made, rate=rate)
        shown.append(made)
        lines.append({"file": f"clips/{number}.mp4", "caption": SENTENCES[number % len(SENTENCES)]})
    write_captions(path, lines)
    return shown


def write_captions(path: Path, lines: Sequence[dict[str, Any]]) -> None:
    """Write the list of clips."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "captions.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
