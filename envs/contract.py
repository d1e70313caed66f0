"""What every seerkit environment promises: names, units, spaces and the check on actions.

Actions follow Seer's convention. Six numbers in [-1, 1] move the last commanded tool pose *in its own frame*:
three times 0.02 m and three times 0.05 rad (extrinsic ``xyz`` Euler angles), at 15 Hz. The seventh is the gripper.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from seerkit.envs.instruction import Instruction

CONTROL_HZ = 15.0
MAX_TRANSLATION = 0.02
"""Metres along each tool axis that an arm action of 1 commands in one step."""
MAX_ROTATION = 0.05
"""Radians about each axis that an arm action of 1 commands in one step."""
AXES = "tool's axes"
"""Along which an arm action moves, if an environment does not say otherwise."""
GRIPPER_OPEN = 1.0
GRIPPER_CLOSED = -1.0
ACTION_DIM = 7
POSE_NAMES = ("x [m]", "y [m]", "z [m]", "rx [rad]", "ry [rad]", "rz [rad]")
STATES = {
    "pose_gripper": (*POSE_NAMES, "gripper"),
    "pose_fingers": (*POSE_NAMES, "left finger [m]", "right finger [m]"),
}
"""Name and unit of every number of a state: the gripper as +1 open or -1 closed, or each finger's opening."""
CAMERAS = ("primary", "wrist")
"""Eye-on-base and eye-on-hand."""

TRAIN_SEEDS = range(0, 1_000_000)
"""Reset seeds for demonstrations."""
EVAL_SEEDS = range(1_000_000, 2_000_000)
"""Reset seeds for evaluation: layouts no demonstration has shown."""


def action_space() -> spaces.Box:
    """Describe an action: six tool-frame motions and the gripper (+1 open, -1 close).

    Shape:
        ``(7,)`` float32 in [-1, 1].
    """
    return spaces.Box(-1.0, 1.0, (ACTION_DIM,), np.float32)


def observation_space(
    image_size: int | Mapping[str, int],
    cameras: Sequence[str] = CAMERAS,
    state: str = "pose_gripper",
    *,
    depth: bool = False,
) -> spaces.Dict:
    """Describe an observation: square frames, the measured state and the instruction.

    Args:
        image_size: side of every frame in pixels, or of each camera's.
        cameras: camera names, in order; without any there is no ``image``.
        state: which of :data:`STATES`.
        depth: whether the cameras measure depth, too.

    Shape:
        image, camera: ``(3, image_size, image_size)`` uint8, RGB, first row at the top.
        depth, camera: ``(1, image_size, image_size)`` float32, metres along the optical axis, 0 where nothing was
            measured; only with ``depth``.
        state: ``(7,)`` float32: tool x, y, z in metres in the robot's base frame, extrinsic ``xyz`` Euler angles in
            radians, gripper +1 open or -1 closed; with ``"pose_fingers"`` ``(8,)``, which ends with the distance of
            each finger from the middle in metres, left first.
        language_instruction: printable ASCII, at most 256 characters.

    Raises:
        ValueError: if there is no such state.
    """
    if state not in STATES:
        raise ValueError(f"expected a state of {tuple(STATES)}, given {state!r}")
    sizes = image_size if isinstance(image_size, Mapping) else dict.fromkeys(cameras, image_size)
    frames: dict[str, spaces.Space[Any]] = {
        name: spaces.Box(0, 255, (3, sizes[name], sizes[name]), np.uint8) for name in cameras
    }
    planes: dict[str, spaces.Space[Any]] = {
        name: spaces.Box(0.0, np.inf, (1, sizes[name], sizes[name]), np.float32) for name in cameras
    }
    return spaces.Dict(
        {
            **({"image": spaces.Dict(frames)} if cameras else {}),
            **({"depth": spaces.Dict(planes)} if depth else {}),
            "state": spaces.Box(-np.inf, np.inf, (len(STATES[state]),), np.float32),
            "language_instruction": Instruction(),
        }
    )


def check_shape(action: object) -> np.ndarray:
    """Turn an action into a ``(7,)`` float64 array.

    Raises:
        ValueError: if it is not numeric or has another shape.
    """
    try:
        array = np.asarray(action, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"expected a finite action of shape ({ACTION_DIM},), given {action!r}") from error
    if array.shape != (ACTION_DIM,):
        raise ValueError(f"expected a finite action of shape ({ACTION_DIM},), given shape {array.shape}")
    return array


def check_action(action: object) -> np.ndarray:
    """Turn an action into a finite ``(7,)`` float64 array.

    Raises:
        ValueError: if it is not numeric, has another shape, or holds NaN or infinity.
    """
    array = check_shape(action)
    if not np.isfinite(array).all():
        where = np.flatnonzero(~np.isfinite(array)).tolist()
        raise ValueError(
            f"expected a finite action of shape ({ACTION_DIM},), given {array.tolist()} (not finite at {where})"
        )
    return array
