"""Our resize against Pillow's: are the pixels equal, and what does it cost?

Frames as a simulator renders them (flat colours, hard edges, shading) and pure noise, at the sizes cameras of robot
data sets have, down or up to 224 pixels. Sums of both products are exact in fp32 in whatever order a device adds them,
so what is equal here is equal on a GPU; also where factors are rounded to TF32, as the weights have no more bits than
that, which is checked, and levels have 8.
"""

from __future__ import annotations

import numpy as np
import torch
from measure import arguments, interleaved, report, rounded
from PIL import Image
from torch import Tensor

from seerkit.camera import resize_crop
from seerkit.camera.resize import _parts

SIDES, SIZE = (84, 128, 180, 200, 256, 480), 224
WIDE = (640, 480)
GOALS = {"rendered": 1.0, "noise": 0.9999}


def rendered(side: int, count: int) -> Tensor:
    """Draw shaded spheres above a chequered floor: uint8 ``(count, 3, side, side)``."""
    draw = np.random.default_rng(side)
    row, column = np.meshgrid(np.linspace(-1, 1, side), np.linspace(-1, 1, side), indexing="ij")
    frames = np.empty((count, side, side, 3))
    for frame in frames:
        depth = 1 / np.clip(row + 1.2, 0.05, None)
        floor = ((np.floor(6 * depth) + np.floor(6 * column * depth)) % 2)[..., None]
        frame[:] = np.where(row[..., None] > -0.4, 90 + 80 * floor, (170, 200, 230))
        for _ in range(6):
            x, y, radius = *draw.uniform(-0.8, 0.8, 2), draw.uniform(0.05, 0.3)
            inside = 1 - ((column - x) ** 2 + (row - y) ** 2) / radius**2
            light = np.sqrt(np.clip(inside, 0, None))[..., None]
            frame[:] = np.where(inside[..., None] > 0, draw.uniform(40, 255, 3) * (0.3 + 0.7 * light), frame)
    return torch.from_numpy(frames.clip(0, 255).astype(np.uint8)).permute(0, 3, 1, 2).contiguous()


def by_pillow(images: Tensor) -> Tensor:
    """Resize the shorter side to 224 and crop the middle, as CLIP's image transform does."""
    found = []
    for image in images.permute(0, 2, 3, 1).numpy():
        picture = Image.fromarray(image)
        short = min(picture.size)
        wide, high = (int(SIZE * side / short) for side in picture.size)
        picture = picture.resize((wide, high), Image.Resampling.BICUBIC)
        left, top = round((wide - SIZE) / 2), round((high - SIZE) / 2)
        found.append(np.asarray(picture.crop((left, top, left + SIZE, top + SIZE))))
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def equal(images: Tensor) -> float:
    """Return the share of pixels that equal Pillow's."""
    return float((resize_crop(images, SIZE) == by_pillow(images)).double().mean())


def fits_tf32(side: int) -> bool:
    """Say whether the weights lose nothing if only 11 of their bits are kept."""
    parts = _parts(side, SIZE, SIZE, torch.device("cpu"))
    return all(bool(((part.view(torch.int32) & 0x1FFF) == 0).all()) for part in parts)


def main() -> None:
    """Measure and print the result."""
    given = arguments(__doc__)
    torch.set_num_threads(1)
    torch.manual_seed(0)
    count, rounds = (2, 1) if given.quick else (20, given.rounds or 7)
    sizes = [(side, side) for side in SIDES] + [WIDE]
    frames = {f"{w}x{h}": rendered(max(w, h), count)[..., :h, :w].contiguous() for w, h in sizes}
    noise = {name: torch.randint(0, 256, images.shape, dtype=torch.uint8) for name, images in frames.items()}
    share = {
        "rendered": min(equal(images) for images in frames.values()),
        "noise": min(equal(images) for images in noise.values()),
    }
    seconds = {}
    for name in ("84x84", "200x200"):
        runs = {
            "pillow": lambda name=name: by_pillow(frames[name]),
            "ours": lambda n=name: resize_crop(frames[n], SIZE),
        }
        seconds[name] = interleaved(runs, rounds=rounds)
    milliseconds = {
        name: {who: 1000 * value / count for who, value in values.items()} for name, values in seconds.items()
    }
    tf32 = all(fits_tf32(side) for side in SIDES)
    details = {
        "equal": share,
        "weights_fit_tf32": tf32,
        "ms_per_frame": {name: rounded(values) for name, values in milliseconds.items()},
        "sizes": [*frames],
        "frames_per_size": count,
    }
    ok = tf32 and all(share[name] >= GOALS[name] for name in GOALS)
    report("resize", value=share["noise"], goal=GOALS, ok=ok, details=details)


if __name__ == "__main__":
    main()
