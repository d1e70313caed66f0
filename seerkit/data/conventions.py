"""What the numbers of a data set mean, and whether a recipe means the same."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

import torch

from seerkit import keys

POSE = ("x [m]", "y [m]", "z [m]", "rx [rad]", "ry [rad]", "rz [rad]")
AXIS_ANGLE = ("x [m]", "y [m]", "z [m]", "ax [rad]", "ay [rad]", "az [rad]")
STATES: dict[str, tuple[str, ...]] = {
    "pose_gripper": (*POSE, "gripper"),
    "pose_fingers": (*POSE, "left finger [m]", "right finger [m]"),
    "axis_angle_fingers": (*AXIS_ANGLE, "left finger [m]", "right finger [m], negative"),
    "none": (),
}
"""Name and unit of every number of a state, by the name a recipe gives it. Euler angles are extrinsic xyz.

``axis_angle_fingers`` is what LIBERO records: a rotation vector, and fingers whose joints move in opposite directions.
"""

ACTION = ("dx", "dy", "dz", "drx", "dry", "drz", "gripper")
OPEN_IS_PLUS = "+1 open, -1 closed"
OPEN_IS_MINUS = "-1 open, +1 closed"
UNKNOWN = "unknown"
"""What a data set says that does not say it: of its gripper here, and of the action's scale where an error names it."""


_WORD = re.compile(r"\w[\w.-]*")


class ConventionError(ValueError):
    """A data set whose numbers mean something else than the recipe expects."""


@dataclasses.dataclass(frozen=True)
class Conventions:
    """Say what the numbers in a store mean; two stores can be merged only when these are equal.

    Args:
        cameras: each camera's frame as ``(channels, height, width)``. Names become files, so they are plain words.
        state: name and unit of each state entry; empty if none was recorded.
        action: name of each action entry; empty if none was recorded (plain video).
        action_scale: metres and radians that an arm entry of 1 stands for; ``None`` if nobody said.
        gripper: which sign of the action opens the gripper; `UNKNOWN` if nobody said.
        frame_rate: steps per second.
        depth: whether every camera also measured depth, at the size of its frames.

    Raises:
        ConventionError: a camera's name is no plain word.
    """

    cameras: Mapping[str, tuple[int, int, int]]
    state: tuple[str, ...] = STATES["pose_gripper"]
    action: tuple[str, ...] = ACTION
    action_scale: tuple[float, float] | None = (0.02, 0.05)
    gripper: str = OPEN_IS_PLUS
    frame_rate: float = 15.0
    depth: bool = False

    def __post_init__(self) -> None:
        if odd := [name for name in self.cameras if not _WORD.fullmatch(name)]:
            raise ConventionError(f"a camera's name is made of letters, digits, '_', '-' and '.', got {odd[0]!r}")

    @property
    def scale(self) -> tuple[float, float]:
        """Metres and radians that an arm entry of 1 stands for.

        Raises:
            ConventionError: nobody said.
        """
        if self.action_scale is None:
            raise ConventionError("what an arm entry of 1 stands for is unknown: say --option action_scale=[0.02,0.05]")
        return self.action_scale

    @classmethod
    def read(cls, fields: Mapping[str, Any]) -> Conventions:
        """Rebuild conventions from their JSON form (lists become tuples)."""
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()
        }
        values["cameras"] = {name: tuple(size) for name, size in fields["cameras"].items()}
        return cls(**values)

    def arrays(self) -> dict[tuple[str, ...], tuple[torch.dtype, tuple[int, ...]]]:
        """Return dtype and shape of one step for every array of the store."""
        arrays: dict[tuple[str, ...], tuple[torch.dtype, tuple[int, ...]]] = {
            keys.under(keys.IMAGE, name): (torch.uint8, tuple(size)) for name, size in self.cameras.items()
        }
        if self.depth:
            for name, size in self.cameras.items():
                arrays[keys.under(keys.DEPTH, name)] = (torch.uint16, (1, *size[1:]))
        if self.state:
            arrays[keys.STATE] = (torch.float32, (len(self.state),))
        if self.action:
            arrays[keys.ACTION,] = (torch.float32, (len(self.action),))
        arrays[keys.IS_INIT,] = (torch.bool, (1,))
        return arrays


DECLARED = ("state", "fps", "action_scale", "gripper")
"""Entries of a recipe's ``data`` section that a data set must agree with.

Null agrees with everything that is known. What a data set does not say agrees with nothing: somebody has to say it (of
the data, in converting them), or accept it (``unknown`` in the recipe).
"""


def check_conventions(data: Mapping[str, Any], conventions: Conventions, *, where: str) -> None:
    """Make sure that a data set means what a recipe expects.

    Args:
        data: the recipe's ``data`` section.
        conventions: of the data set.
        where: the data set's path, for the error.

    Raises:
        ConventionError: something differs; both sides are printed, and what to do.
    """
    names, acts = {entries: name for name, entries in STATES.items()}, bool(conventions.action)
    given: dict[str, Any] = {
        "state": names.get(conventions.state, ", ".join(conventions.state)),
        "fps": float(conventions.frame_rate),
        "action_scale": (UNKNOWN if conventions.action_scale is None else [*conventions.action_scale])
        if acts
        else None,
        "gripper": conventions.gripper if acts else None,
    }
    lines = []
    for name in DECLARED:
        expected = data.get(name)
        if given[name] is None or (expected is None and given[name] != UNKNOWN):
            continue
        if name == "fps" and expected is not None:
            expected = float(expected)
        elif name == "action_scale" and expected not in (None, UNKNOWN):
            expected = [float(value) for value in expected]
        if expected != given[name]:
            wanted = "has to know it" if expected is None else f"expects {expected!r}"
            lines.append(f"  data.{name}: the recipe {wanted}, the data has {given[name]!r}")
    if lines:
        raise ConventionError(
            f"{where} does not mean what the recipe expects:\n"
            + "\n".join(lines)
            + "\nuse data of the other kind; say what the data leaves open when you convert it (seerkit data convert "
            "--option name=value); or, if you mean it, tell the recipe: data.<name>=<what the data has>"
        )
