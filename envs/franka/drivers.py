"""What an arm, a gripper, a camera, a clock and a task must do; the robot and the twin differ only in these."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from seerkit.envs.pose import Pose


@dataclass(frozen=True)
class ArmReading:
    """Hold what the arm measured.

    Attributes:
        pose: tool pose in the base frame, metres.
        joints: ``(7,)`` joint angles in radians.
        fault: why the arm has stopped (a reflex, a lost connection), or ``None``.
    """

    pose: Pose
    joints: np.ndarray
    fault: str | None = None


@dataclass(frozen=True)
class GripperReading:
    """Hold what the gripper measured.

    Attributes:
        width: distance between the pads, metres.
        width_open: its widest value, metres.
        fingers: distance of the left and the right pad from the middle, metres; half the width each if not given, as
            the hand's gears couple its fingers.
    """

    width: float
    width_open: float
    fingers: tuple[float, float] | None = None

    @property
    def is_open(self) -> bool:
        """Say whether the fingers are within 10 % of fully open."""
        return self.width > 0.9 * self.width_open

    @property
    def openings(self) -> tuple[float, float]:
        """Give each finger's distance from the middle, metres, left first."""
        return self.fingers or (self.width / 2, self.width / 2)


@dataclass(frozen=True)
class Frame:
    """Hold one picture.

    Attributes:
        image: ``(3, H, W)`` uint8, RGB, first row at the top.
        number: grows with every new picture; the same number means the same picture.
        time: seconds on the env's clock when it was taken.
    """

    image: np.ndarray
    number: int
    time: float


class ArmDriver(Protocol):
    """Move the tool to commanded poses and measure where it is."""

    def reset(self) -> None:
        """Go to the start pose and wait there; a fault must be cleared by a person before this works."""
        ...

    def read(self) -> ArmReading:
        """Measure pose and joints now."""
        ...

    def command(self, pose: Pose) -> None:
        """Ask for a tool pose to be reached within one control period; return at once."""
        ...

    def stop(self) -> None:
        """Hold still and ignore further commands until the next reset."""
        ...

    def close(self) -> None:
        """Let go of the hardware."""
        ...


class GripperDriver(Protocol):
    """Open and close the fingers."""

    def reset(self) -> None:
        """Open fully."""
        ...

    def read(self) -> GripperReading:
        """Measure the width now."""
        ...

    def command(self, opened: bool) -> None:
        """Ask for open (``True``) or closed; return at once."""
        ...

    def close(self) -> None:
        """Let go of the hardware."""
        ...


class Camera(Protocol):
    """Deliver the newest picture."""

    def read(self) -> Frame:
        """Give the newest picture, which may be one already given."""
        ...

    def close(self) -> None:
        """Let go of the hardware."""
        ...


class Clock(Protocol):
    """Keep the control rate."""

    def reset(self) -> None:
        """Start counting periods afresh."""
        ...

    def now(self) -> float:
        """Give the time in seconds."""
        ...

    def tick(self) -> None:
        """Wait for (robot) or simulate (twin) the end of this control period."""
        ...


class Task(Protocol):
    """Say what to do and whether it is done."""

    @property
    def instruction(self) -> str:
        """What to do, in words."""
        ...

    def reset(self, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """Lay the scene out, and choose the goal."""
        ...

    def success(self) -> bool:
        """Say whether the goal is reached; asked exactly once after every step and reset."""
        ...


@dataclass
class FixedTask:
    """Give one instruction and leave the judging to a person: never a success by itself."""

    instruction: str

    def reset(self, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """Do nothing: a person lays the scene out."""

    def success(self) -> bool:
        """Say no."""
        return False


@dataclass(frozen=True)
class Drivers:
    """Hold one robot's drivers; cameras are keyed by their role."""

    arm: ArmDriver
    gripper: GripperDriver
    cameras: Mapping[str, Camera]
    clock: Clock

    def close(self) -> None:
        """Close every driver."""
        for driver in (self.arm, self.gripper, *self.cameras.values()):
            driver.close()
