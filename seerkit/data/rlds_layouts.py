"""What the fields of a data set in RLDS form mean: which are pictures, how numbers become state and action."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np

from seerkit.data.conventions import ACTION, OPEN_IS_PLUS, STATES, Conventions
from seerkit.data.poses import steps_between
from seerkit.data.source import StoreError

SEEN, DONE = "steps/observation/", "steps/"
DROID_SCALE = (0.02, 0.05)
DROID_OPEN = 13 / 255
"""DROID's gripper is 0 open, 1 closed; Seer takes what is below this for open."""

DROID_FIELDS = {SEEN + "exterior_image_1_left", SEEN + "cartesian_position", DONE + "action_dict/cartesian_position"}

Get = Callable[[str], np.ndarray]
"""Returns a field of one episode by its name, ``(L, n)``."""


@dataclasses.dataclass(frozen=True)
class Layout:
    """Say how a record becomes an episode.

    Args:
        cameras: field of each camera.
        numbers: fields that are read for state and action.
        state: computes ``(L, S)`` from the fields.
        action: computes ``(L, A)`` from the fields.
        sentences: fields with an instruction, in order of preference.
        means: everything of the conventions but the cameras' sizes.
    """

    cameras: Mapping[str, str]
    numbers: Sequence[str]
    state: Callable[[Get], np.ndarray]
    action: Callable[[Get], np.ndarray]
    sentences: Sequence[str]
    means: Mapping[str, Any]

    def conventions(self, cameras: Mapping[str, tuple[int, int, int]]) -> Conventions:
        """Complete the conventions."""
        return Conventions(cameras=cameras, **self.means)


def droid(cameras: Mapping[str, str] | None, sentence: int | None) -> Layout:
    """DROID (Khazatsky et al., 2024) as Seer's converter understands it.

    - State: the measured pose of the flange, and +1 where ``gripper_position`` is below 13/255, else -1.
    - Action: from one commanded pose to the next, in the frame of the former, over 0.02 m and 0.05 rad and not
      clipped; the first from the measured pose. The converter writes the pose from the joint angles, which is the same
      frame as ``cartesian_position``, and a second set of actions at the fingertips, which its loader never reads.
    - Gripper: +1 at first; then -1 when ``gripper_position`` has grown since the step before, +1 when it has fallen,
      and as it was when it has not changed.

    Args:
        cameras: field of each camera below ``steps/observation``; ``primary`` is the first exterior one, if not given.
        sentence: which of the three annotators to believe, 1 to 3; the first who wrote something, if not given.

    Raises:
        ValueError: there is no such annotator.
    """
    if sentence not in (None, 1, 2, 3):
        raise ValueError(f"sentence must be 1, 2 or 3, got {sentence}")
    words = [f"{DONE}language_instruction{number}" for number in ("", "_2", "_3")]
    measured, gripper = SEEN + "cartesian_position", SEEN + "gripper_position"
    commanded = DONE + "action_dict/cartesian_position"

    def state(get: Get) -> np.ndarray:
        return np.concatenate([get(measured), np.where(get(gripper) < DROID_OPEN, 1.0, -1.0)], axis=1)

    def action(get: Get) -> np.ndarray:
        poses = get(commanded)
        before = np.concatenate([get(measured)[:1], poses[:-1]])
        arm = steps_between(before, poses) / np.repeat(DROID_SCALE, 3)
        return np.concatenate([arm, held(-np.sign(np.diff(get(gripper), axis=0, prepend=get(gripper)[:1])))], axis=1)

    views = cameras or {"primary": "exterior_image_1_left", "wrist": "wrist_image_left"}
    return Layout(
        cameras={name: SEEN + field for name, field in views.items()},
        numbers=[measured, gripper, commanded],
        state=state,
        action=action,
        sentences=words if sentence is None else words[sentence - 1 : sentence],
        means={"action_scale": DROID_SCALE, "frame_rate": 15.0},
    )


def held(change: np.ndarray) -> np.ndarray:
    """Turn changes of a gripper into a command: +1 at first, then the sign of the latest change.

    Shape:
        change: ``(L, 1)``; above 0 opens, below 0 closes, 0 leaves it.
        returns: ``(L, 1)``, +1 or -1.
    """
    signs = np.concatenate([[1.0], np.sign(change[1:, 0])])
    latest = np.maximum.accumulate(np.where(signs != 0, np.arange(len(signs)), 0))
    return signs[latest][:, None]


GRIPPERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "+1 opens": lambda value: np.where(value > 0, 1.0, -1.0),
    "-1 opens": lambda value: np.where(value < 0, 1.0, -1.0),
    "1 opens": lambda value: np.where(value > 0.5, 1.0, -1.0),
    "0 opens": lambda value: np.where(value < 0.5, 1.0, -1.0),
    "+1 opens, 0 holds": lambda value: held(value),
    "-1 opens, 0 holds": lambda value: held(-value),
}
"""How the last number of an action (or of a state) becomes +1 open, -1 closed."""


@dataclasses.dataclass(frozen=True)
class Choice:
    """Name the fields of a data set nobody has described here.

    Args:
        cameras: field of each camera, below ``steps/observation``.
        action_scale: metres and radians that an arm entry of 1 stands for.
        frame_rate: steps per second.
        state: fields put end to end, such as ``observation/robot_obs[0:6]``: six numbers of the pose and the gripper;
            empty for none.
        action: fields put end to end, such as ``action/world_vector``: six numbers of the arm and the gripper; empty
            for none.
        action_gripper: one of `GRIPPERS`.
        state_gripper: the same for the state.
        instruction: field with the sentence; empty for none.
    """

    cameras: Mapping[str, str]
    action_scale: Sequence[float]
    frame_rate: float
    state: Sequence[str] = ()
    action: Sequence[str] = ()
    action_gripper: str = "+1 opens"
    state_gripper: str = "+1 opens"
    instruction: str = ""


WORDS = "observation/natural_language_instruction"
KNOWN: dict[str, dict[str, Any]] = {
    "taco_play": {
        "cameras": {"primary": "rgb_static", "wrist": "rgb_gripper"},
        "state": ["observation/robot_obs[0:6]", "observation/robot_obs[14:15]"],
        "action": ["action/rel_actions_world"],
        "action_gripper": "-1 opens",
        "state_gripper": "-1 opens",
        "instruction": WORDS,
    },
    "berkeley_autolab_ur5": {
        "cameras": {"primary": "image", "wrist": "hand_image"},
        "action": ["action/world_vector", "action/rotation_delta", "action/gripper_closedness_action"],
        "action_gripper": "-1 opens, 0 holds",
        "instruction": WORDS,
    },
    "bridge": {
        "cameras": {"primary": "image"},
        "action": ["action/world_vector", "action/rotation_delta", "action/open_gripper"],
        "action_gripper": "1 opens",
        "instruction": WORDS,
    },
}
"""What TFDS's own catalogue says of some data sets. It names no units and no rate; nor do we."""

EXAMPLE = (
    "--option 'fields={cameras: {primary: image}, action: [action/world_vector, action/rotation_delta, "
    "action/open_gripper], action_gripper: 1 opens, action_scale: [0.02, 0.05], frame_rate: 5}'"
)


def layout_of(
    name: str,
    available: Collection[str],
    *,
    cameras: Mapping[str, str] | None,
    sentence: int | None,
    fields: Mapping[str, Any] | None,
) -> Layout:
    """Find out how a data set is to be understood.

    Args:
        name: of the data set.
        available: its fields.
        cameras: field of each camera, instead of the usual ones.
        sentence: which of DROID's annotators to believe.
        fields: of `Choice`, for anything but DROID; they complete what is `KNOWN`.

    Raises:
        StoreError: it is not DROID and not described, or a field does not exist.
        ValueError: ``fields`` has an unknown name, or a field in it is not written as it should be.
    """
    if fields is None and {*available} >= DROID_FIELDS:
        layout = droid(cameras, sentence)
    else:
        told = {**KNOWN.get(name, {}), **(fields or {}), **({"cameras": cameras} if cameras else {})}
        known = {field.name: field for field in dataclasses.fields(Choice)}
        if unknown := sorted(told.keys() - known.keys()):
            raise ValueError(f"fields must be some of {sorted(known)}, got {unknown}")
        lacking = [one.name for one in known.values() if one.default is dataclasses.MISSING and one.name not in told]
        if lacking:
            raise StoreError(
                f"{name} is not DROID; say what its fields mean, missing: {', '.join(lacking)}. For example {EXAMPLE}. "
                f"It has {_listed(available)}"
            )
        layout = chosen(Choice(**told))
    wanted = [*layout.cameras.values(), *layout.numbers, *layout.sentences]
    if absent := [field for field in wanted if field not in available]:
        raise StoreError(f"{name} has no field {', '.join(absent)}; it has {_listed(available)}")
    return layout


def _listed(available: Collection[str]) -> str:
    return ", ".join(sorted(available))


def chosen(choice: Choice) -> Layout:
    """Turn chosen fields into a layout.

    Raises:
        ValueError: a gripper is of no known kind, or a field is not written like ``observation/state[0:6]``.
    """
    for name in ("action_gripper", "state_gripper"):
        if getattr(choice, name) not in GRIPPERS:
            raise ValueError(f"{name} must be one of {sorted(GRIPPERS)}, got {getattr(choice, name)!r}")
    pieces = {"state": [_piece(text) for text in choice.state], "action": [_piece(text) for text in choice.action]}
    rules = {"state": GRIPPERS[choice.state_gripper], "action": GRIPPERS[choice.action_gripper]}

    def compute(what: str) -> Callable[[Get], np.ndarray]:
        def values(get: Get) -> np.ndarray:
            joined = np.concatenate([get(field)[:, part] for field, part in pieces[what]], axis=1)
            if joined.shape[1] != len(ACTION):
                raise StoreError(
                    f"{what} must have {len(ACTION)} numbers, {' and '.join(getattr(choice, what))} have "
                    f"{joined.shape[1]}"
                )
            joined[:, 6:] = rules[what](joined[:, 6:])
            return joined

        return values

    return Layout(
        cameras={name: SEEN + field for name, field in choice.cameras.items()},
        numbers=[field for what in pieces.values() for field, _ in what],
        state=compute("state"),
        action=compute("action"),
        sentences=[DONE + choice.instruction] if choice.instruction else [],
        means={
            "state": STATES["pose_gripper"] if choice.state else (),
            "action": ACTION if choice.action else (),
            "action_scale": tuple(choice.action_scale),
            "gripper": OPEN_IS_PLUS,
            "frame_rate": float(choice.frame_rate),
        },
    )


def _piece(text: str) -> tuple[str, slice]:
    """Split ``observation/state[0:6]`` into a field and some of its numbers."""
    found = re.fullmatch(r"([\w/]+)(?:\[(\d+):(\d+)\])?", text)
    if found is None:
        raise ValueError(f"a field is written like observation/state or observation/state[0:6], got {text!r}")
    field, start, stop = found.groups()
    return DONE + field, slice(int(start or 0), None if stop is None else int(stop))
