"""What the arrays of a source are called and described as in a LeRobot data set."""

from __future__ import annotations

from typing import Any

from seerkit import keys
from seerkit.data.film_writer import CODECS as FILMS
from seerkit.data.film_writer import PIXELS
from seerkit.data.source import Source

CODECS = (*FILMS, "images")
COUNTS = ("frame_index", "episode_index", "index", "task_index")


def describe_features(source: Source, *, codec: str) -> dict[str, dict[str, Any]]:
    """Return LeRobot's description of what a source holds, feature by feature.

    Args:
        source: the recorded episodes.
        codec: one of `CODECS`.
    """
    means, features = source.conventions, dict[str, dict[str, Any]]()
    for name, size in means.cameras.items():
        features[camera_feature(name)] = _camera(list(size[1:]), codec, means.frame_rate)
    for name in source.depth:
        shape, axes = [*means.cameras[name][1:], 1], ["height", "width", "channels"]
        about = {"is_depth_map": True, "video.is_depth_map": True, "unit": "mm"}
        features[depth_feature(name)] = {"dtype": "image", "shape": shape, "names": axes, "info": about}
    for feature, names in (("observation.state", means.state), ("action", means.action)):
        if names:
            features[feature] = {"dtype": "float32", "shape": [len(names)], "names": list(names)}
    kinds = {"timestamp": "float32", **dict.fromkeys(COUNTS, "int64")}
    return features | {name: {"dtype": kind, "shape": [1], "names": None} for name, kind in kinds.items()}


def _camera(size: list[int], codec: str, rate: float) -> dict[str, Any]:
    about: dict[str, Any] = {"dtype": "image", "shape": [*size, 3], "names": ["height", "width", "channels"]}
    if codec == "images":
        return about
    facts = {"height": size[0], "width": size[1], "codec": {"libx264": "h264", "libsvtav1": "av1"}[codec]}
    facts |= {"pix_fmt": PIXELS, "is_depth_map": False, "fps": rate, "channels": 3}
    return {
        **about,
        "dtype": "video",
        "info": {**{f"video.{name}": fact for name, fact in facts.items()}, "has_audio": False},
    }


def feature_of(key: tuple[str, ...]) -> str:
    """Return LeRobot's name of an array."""
    if key[:-1] == keys.IMAGE:
        return camera_feature(key[-1])
    if key[:-1] == keys.DEPTH:
        return depth_feature(key[-1])
    return "observation.state" if key == keys.STATE else "action"


def camera_feature(camera: str) -> str:
    """Return LeRobot's name of a camera."""
    return f"observation.images.{camera}"


def depth_feature(camera: str) -> str:
    """Return LeRobot's name of the distances a camera measured."""
    return f"observation.images.{camera}_depth"
