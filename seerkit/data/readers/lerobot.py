"""LeRobot data sets, v3.0 and v2.1, read with pyarrow and PyAV alone.

What the numbers mean is not part of LeRobot's format. A folder that seerkit wrote tells it in ``meta/seerkit.json``; of
any other, the frame rate, sizes and names are known, and the rest is unknown until the options say it. No sign and no
unit is changed.
"""

from __future__ import annotations

import dataclasses
import difflib
import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from seerkit.data.conventions import ACTION, OPEN_IS_MINUS, OPEN_IS_PLUS, STATES, UNKNOWN, Conventions
from seerkit.data.lerobot_extras import Extras, read_extras
from seerkit.data.lerobot_meta import INFO, Meta, picture_size, read_meta
from seerkit.data.lerobot_rows import PictureRows, Shards, VectorRows, width_of
from seerkit.data.reel import FilmRows, Moment
from seerkit.data.rows import Rows
from seerkit.data.source import Episode, Segment, Source, StoreError

LOOKS = "a folder with meta/info.json"
STATE, MOTION, IMAGES = "observation.state", "action", "observation.images."
WRIST = ("wrist", "gripper", "hand")
"""What a camera's name holds that looks from the gripper."""
PRIMARY = ("primary", "static", "agentview", "exterior", "third", "front", "top", "high", "head", "image")
"""What a camera's name holds that looks at the table, the best name first."""
TOLERANCE = 0.25
"""How far, in steps, a frame may lie beside its step."""


def looks(path: Path) -> bool:
    """Say whether ``path`` is of this format."""
    return (path / INFO).is_file()


def read(
    path: Path,
    *,
    cameras: Mapping[str, str] | None = None,
    state: str | Sequence[str] | None = None,
    action: str | Sequence[str] | None = None,
    state_means: str | None = None,
    action_scale: Sequence[float] | None = None,
    gripper_opens: int | None = None,
) -> Source:
    """Open a data set; no data are read, but for the task of every step where an episode has several.

    Such episodes become segments, one for every run of steps with the same task.

    Args:
        path: its folder.
        cameras: our name of every camera and its feature, as ``{primary: observation.images.top}``. If not given, all
            are read: the one that looks from the gripper, by its name, becomes ``wrist``, the one at the table
            ``primary``; others keep their names.
        state: the feature, or features side by side; ``observation.state``, if there is one.
        action: the same; ``action``, if there is one.
        state_means: the name of the state's meaning in `STATES`.
        action_scale: metres and radians that 1 stands for; says that the seven numbers of an action are `ACTION`.
        gripper_opens: which sign of the action's last number opens the gripper, +1 or -1.

    Raises:
        StoreError: the data set is damaged, contradicts itself or lacks a feature.
        ValueError: an option does not fit the data set.
    """
    meta = read_meta(path)
    extras = read_extras(meta)
    shown = _cameras(meta, extras, cameras)
    vectors = {"state": _features(meta, state, STATE), "action": _features(meta, action, MOTION)}
    deep = extras is not None and {*shown} <= {*extras.depth}
    known = extras.conventions if extras else None
    conventions = Conventions(
        cameras={
            name: (3, *picture_size(f"{path / INFO}: features.{one}", meta.features[one]))
            for name, one in shown.items()
        },
        state=known.state if known and state is None else _names(meta, vectors["state"]),
        action=known.action if known and action is None else _names(meta, vectors["action"]),
        action_scale=known.action_scale if known else None,
        gripper=known.gripper if known else UNKNOWN,
        frame_rate=meta.frame_rate,
        depth=deep,
    )
    conventions = _told(conventions, state_means, action_scale, gripper_opens)
    shards = Shards(meta, vectors=[*vectors["state"], *vectors["action"]])
    episodes, segments = _spans(meta, extras, shards)
    return Source(
        path=path,
        format="lerobot",
        conventions=conventions,
        episodes=episodes,
        segments=segments,
        frames={name: _frames(shards, one, conventions.cameras[name]) for name, one in shown.items()},
        depth={name: _distances(shards, extras.depth[name], conventions.cameras[name]) for name in shown}
        if extras and deep
        else {},
        state=VectorRows(shards, vectors["state"]) if vectors["state"] else None,
        action=VectorRows(shards, vectors["action"]) if vectors["action"] else None,
        in_place=False,
    )


def _cameras(meta: Meta, extras: Extras | None, asked: Mapping[str, str] | None) -> dict[str, str]:
    """Return the feature of every camera."""
    if asked is None:
        return dict(extras.cameras) if extras else name_cameras(list(meta.cameras))
    if not isinstance(asked, Mapping) or not asked:
        raise ValueError(f"cameras must be {{name: feature, ...}}, got {asked!r}")
    for feature in asked.values():
        if feature not in meta.cameras:
            raise ValueError(
                f"{meta.path}: camera features are {list(meta.cameras)}, not {_near(feature, meta.cameras)}"
            )
    return dict(asked)


def name_cameras(features: Sequence[str]) -> dict[str, str]:
    """Name cameras by what their features are called.

    Example:
        >>> name_cameras(["observation.images.top", "observation.images.wrist_left"])
        {'primary': 'observation.images.top', 'wrist': 'observation.images.wrist_left'}
        >>> name_cameras(["observation.images.left_wrist", "observation.images.right_wrist"])
        {'left_wrist': 'observation.images.left_wrist', 'right_wrist': 'observation.images.right_wrist'}
        >>> name_cameras(["observation.image"])
        {'primary': 'observation.image'}
    """
    names = {feature: feature.removeprefix(IMAGES) for feature in features}
    hands = [feature for feature, name in names.items() if any(word in name.lower() for word in WRIST)]
    others = [feature for feature in features if feature not in hands]
    if len(hands) == 1:
        names[hands[0]] = "wrist"
    best = others if len(others) == 1 else []
    for word in PRIMARY:
        best = best or [feature for feature in others if word in names[feature].lower()]
    if len(best) == 1:
        names[best[0]] = "primary"
    return {name: feature for feature, name in names.items()}


def _features(meta: Meta, asked: str | Sequence[str] | None, usual: str) -> list[str]:
    if asked is None:
        return [usual] if usual in meta.features else []
    features = [asked] if isinstance(asked, str) else list(asked)
    for feature in features:
        if feature not in meta.features:
            raise ValueError(f"{meta.path}: features are {list(meta.features)}, not {_near(feature, meta.features)}")
    return features


def _near(word: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"{word!r}" + (f"; did you mean {near[0]!r}?" if near else "")


def _names(meta: Meta, features: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the numbers of some features: as the data set gives them, else numbered."""
    found: list[str] = []
    for feature in features:
        given, width = meta.features[feature].get("names"), width_of(meta, feature)
        if isinstance(given, dict):  # {"motors": [...]}
            given = (
                list(itertools.chain(*given.values())) if all(isinstance(one, list) for one in given.values()) else None
            )
        fits = isinstance(given, list) and len(given) == width
        found += [str(name) for name in given] if fits and given else [f"{feature} {index}" for index in range(width)]
    return tuple(found)


def _told(
    conventions: Conventions, state_means: str | None, action_scale: Sequence[float] | None, gripper_opens: int | None
) -> Conventions:
    """Add what the options say."""
    changes: dict[str, Any] = {}
    if state_means is not None:
        names = STATES.get(state_means)
        if names is None or len(names) != len(conventions.state):
            fitting = [name for name, entries in STATES.items() if len(entries) == len(conventions.state)]
            raise ValueError(
                f"state_means must be one of {fitting} ({len(conventions.state)} numbers), got {state_means!r}"
            )
        changes["state"] = names
    if action_scale is not None:
        numbers = [*action_scale] if isinstance(action_scale, Sequence) else []
        if len(numbers) != 2 or not all(isinstance(one, int | float) and one > 0 for one in numbers):
            raise ValueError(f"action_scale must be [metres, radians], got {action_scale!r}")
        if len(conventions.action) != len(ACTION):
            raise ValueError(
                f"action_scale says that an action is {ACTION}; this one has {len(conventions.action)} numbers"
            )
        changes |= {"action_scale": (float(numbers[0]), float(numbers[1])), "action": ACTION}
    if gripper_opens is not None:
        if gripper_opens not in (1, -1):
            raise ValueError(f"gripper_opens must be 1 or -1, got {gripper_opens!r}")
        changes["gripper"] = OPEN_IS_PLUS if gripper_opens == 1 else OPEN_IS_MINUS
    return dataclasses.replace(conventions, **changes)


def _spans(meta: Meta, extras: Extras | None, shards: Shards) -> tuple[list[Episode], list[Segment] | None]:
    starts = zip(shards.starts, meta.places, strict=False)
    if extras:
        told = zip(starts, extras.episodes, strict=True)
        episodes = [Episode(start, place.length, **about) for (start, place), about in told]
        return episodes, None if extras.segments is None else list(extras.segments)
    if all(len(place.tasks) <= 1 for place in meta.places):
        return [Episode(start, place.length, "".join(place.tasks)) for start, place in starts], None
    episodes = [Episode(start, place.length, "") for start, place in starts]
    return episodes, [segment for number in range(len(episodes)) for segment in _runs(meta, shards, number)]


def _runs(meta: Meta, shards: Shards, number: int) -> Iterator[Segment]:
    """Yield the spans of an episode in which its task stays the same."""
    start, place = shards.starts[number], meta.places[number]
    spots = [shards.spot(row) for row in range(start, start + place.length)]
    tasks = np.array([shards.numbers(spot.file, spot.group)["task_index"][spot.row] for spot in spots])
    edges = [0, *(np.flatnonzero(np.diff(tasks)) + 1).tolist(), place.length]
    for begin, end in itertools.pairwise(edges):
        if sentence := meta.tasks[int(tasks[begin])]:
            yield Segment(start + begin, end - begin, sentence, number)


def _frames(shards: Shards, feature: str, size: tuple[int, int, int]) -> Rows:
    meta = shards.meta
    if meta.features[feature]["dtype"] == "image":
        return PictureRows(shards, feature, shape=size)

    def where(row: int) -> Moment:
        episode, step = shards.step(row)
        film, begins = meta.places[episode].films[feature]
        return Moment(film, begins + step / meta.frame_rate, TOLERANCE / meta.frame_rate)

    return FilmRows(where, shape=(shards.starts[-1], *size))


def _distances(shards: Shards, feature: str, size: tuple[int, int, int]) -> Rows:
    if shards.meta.features[feature]["dtype"] != "image":
        raise StoreError(f"{shards.meta.path / INFO}: features.{feature} must be images of 16 bits, it is video")
    return PictureRows(shards, feature, shape=(1, *size[1:]))
