"""How good foresight is: its distance to the frame that came, beside that of simply repeating the present."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from seerkit.eval.records import Recording
from seerkit.eval.statistics import Interval, bootstrap

CEILING = 60.0
"""dB given to equal frames, whose ratio would be infinite."""
WINDOW = 11
"""Side of the window that structural similarity looks through."""


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """Give the peak signal-to-noise ratio of two uint8 frames of one shape in dB, at most 60.

    Raises:
        ValueError: if the shapes differ.
    """
    if one.shape != other.shape:
        raise ValueError(f"expected frames of one shape, given {one.shape} and {other.shape}")
    error = float(np.mean((one.astype(np.float64) - other.astype(np.float64)) ** 2))
    return CEILING if error == 0 else min(CEILING, 10 * float(np.log10(255.0**2 / error)))


def ssim(one: np.ndarray, other: np.ndarray) -> float:
    """Give the structural similarity of two uint8 frames, 1 for equal ones (Wang et al., 2004).

    As published: a Gaussian window of 11 pixels with a deviation of 1.5, constants 0.01 and 0.03, the mean over all
    places where the window fits. Colour frames are compared channel by channel.

    Shape:
        one, other: ``(H, W, C)`` with both sides at least 11.

    Raises:
        ValueError: if the shapes differ, or a side is below 11.
    """
    if one.shape != other.shape or one.ndim != 3 or min(one.shape[:2]) < WINDOW:
        raise ValueError(
            f"expected frames (H, W, C) of one shape, {WINDOW} pixels or more, given {one.shape} and {other.shape}"
        )
    x, y = one.astype(np.float64), other.astype(np.float64)
    mean_x, mean_y = _blur(x), _blur(y)
    var_x, var_y = _blur(x * x) - mean_x**2, _blur(y * y) - mean_y**2
    covariance = _blur(x * y) - mean_x * mean_y
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    likeness = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    return float(np.mean(likeness / ((mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2))))


def _blur(frame: np.ndarray) -> np.ndarray:
    """Average over the Gaussian window wherever it fits: ``(H, W, C)`` becomes ``(H - 10, W - 10, C)``."""
    reach = np.arange(WINDOW) - WINDOW // 2
    weight = np.exp(-(reach**2) / (2 * 1.5**2))
    weight /= weight.sum()
    for axis in (0, 1):
        frame = np.lib.stride_tricks.sliding_window_view(frame, WINDOW, axis=axis) @ weight
    return frame


@dataclass(frozen=True)
class Quality:
    """PSNR in dB of one camera over an episode, step by step.

    Shape:
        foreseen: ``(L + 1 - ahead,)``, the foresight of step t against the frame at ``t + ahead``.
        repeated: the same for the frame of step t itself: what knowing nothing of the future would score.
    """

    foreseen: np.ndarray
    repeated: np.ndarray


def judge(recording: Recording) -> dict[str, Quality]:
    """Score the foresight of every camera of a recording; frames are resized to the foresight's own size."""
    judged = {}
    for camera, drawn in recording.foresight.items():
        size = drawn.shape[-1]
        frames = [as_image(frame, size) for frame in recording.frames[camera]]
        steps = range(max(0, len(frames) - recording.ahead))
        came = [np.asarray(frames[t + recording.ahead]) for t in steps]
        foreseen = np.array([psnr(drawn[t].transpose(1, 2, 0), came[t]) for t in steps])
        repeated = np.array([psnr(np.asarray(frames[t]), came[t]) for t in steps])
        judged[camera] = Quality(foreseen, repeated)
    return judged


def summarise(recordings: tuple[Recording, ...]) -> dict[str, dict[str, Interval]]:
    """Average the quality per camera over episodes, with bootstrap intervals; episodes count equally."""
    judged = [judge(recording) for recording in recordings if recording.foresight]
    cameras = {camera for one in judged for camera in one}
    summary = {}
    for camera in sorted(cameras):
        scored = [one[camera] for one in judged if camera in one and len(one[camera].foreseen)]
        if scored:
            summary[camera] = {
                "foreseen": bootstrap([float(quality.foreseen.mean()) for quality in scored]),
                "repeated": bootstrap([float(quality.repeated.mean()) for quality in scored]),
            }
    return summary


def as_image(frame: np.ndarray, size: int | None = None) -> Any:  # noqa: ANN401 - PIL.Image.Image
    """Turn a ``(3, H, W)`` uint8 frame into a Pillow image, square of side ``size`` if given (bicubic)."""
    image = Image.fromarray(np.ascontiguousarray(frame.transpose(1, 2, 0)))
    return image if size is None or image.size == (size, size) else image.resize((size, size), Image.Resampling.BICUBIC)
