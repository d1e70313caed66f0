"""Turn what a policy asks for into a command a robot may follow."""

import math
from dataclasses import dataclass, field

import numpy as np

from seerkit.envs.contract import GRIPPER_OPEN, MAX_ROTATION, MAX_TRANSLATION
from seerkit.envs.pose import Pose

COUNTS = ("nonfinite", "clip", "workspace", "tilt", "leash", "debounce", "stale")


@dataclass(frozen=True)
class Limits:
    """Hold the bounds the safety filter keeps.

    Attributes:
        low, high: corners of the box the commanded tool point stays in, metres.
        tilt: largest angle between the tool axis and straight down, radians.
        leash_position, leash_rotation: how far the command may run ahead of the measured pose (metres, radians).
        nonfinite_abort: abort after this many actions in a row with NaN or infinity.
        gripper_ticks: steps in a row that must agree before the gripper changes (1 = at once).
        gripper_dwell: steps the gripper stays as it is after a change.
        frame_hold, frame_abort: age in seconds of the newest picture beyond which the arm holds, or the episode ends.
    """

    low: tuple[float, float, float] = (0.25, -0.42, 0.005)
    high: tuple[float, float, float] = (0.75, 0.42, 0.60)
    tilt: float = 0.8
    leash_position: float = 0.05
    leash_rotation: float = 0.2
    nonfinite_abort: int = 3
    gripper_ticks: int = 2
    gripper_dwell: int = 7
    frame_hold: float = 0.15
    frame_abort: float = 1.0


@dataclass(frozen=True)
class Command:
    """Hold what goes to the drivers; ``abort`` says why the episode must end, or is empty."""

    pose: Pose
    opened: bool
    abort: str = ""


@dataclass
class SafetyFilter:
    """Integrate actions into commanded poses and keep them within limits, counting every intervention.

    A non-finite action holds; ``limits.nonfinite_abort`` of them in a row abort. Each component is clipped to [-1, 1],
    the commanded point to the workspace box, the tool axis to a cone about straight down. A command that would run
    further than the leash ahead of the measured pose, and further than it already is, is not integrated.
    """

    limits: Limits = field(default_factory=Limits)
    counts: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COUNTS, 0))

    def reset(self, measured: Pose) -> None:
        """Start an episode at the measured pose with an open gripper and no counts.

        Raises:
            ValueError: if the tool starts outside the workspace box.
        """
        if (measured.position < self.limits.low).any() or (measured.position > self.limits.high).any():
            raise ValueError(
                f"expected a start inside the workspace box {self.limits.low} to {self.limits.high}, "
                f"given {measured.position.round(3).tolist()}"
            )
        self.pose = measured
        self.opened = True
        self.counts = dict.fromkeys(COUNTS, 0)
        self._nonfinite = 0
        self._wish = 0
        self._dwell = 0

    def __call__(self, action: np.ndarray, measured: Pose, *, age: float = 0.0) -> Command:
        """Filter one action of shape ``(7,)``, given the measured pose and the age of the newest picture in seconds."""
        if not np.isfinite(action).all():
            self.counts["nonfinite"] += 1
            self._nonfinite += 1
            many = self._nonfinite >= self.limits.nonfinite_abort
            return self._hold(f"{self._nonfinite} actions in a row were not finite" if many else "")
        self._nonfinite = 0
        if age > self.limits.frame_hold:
            self.counts["stale"] += 1
            old = age > self.limits.frame_abort
            return self._hold(f"the newest picture is {age:.2f} s old" if old else "")
        self._gripper(bool(action[6] > 0))
        wanted = self._tilt(self._box(self.pose @ self._delta(action[:6])))
        self.pose = self._leash(wanted, measured)
        return Command(self.pose, self.opened)

    def _hold(self, abort: str) -> Command:
        return Command(self.pose, self.opened, abort)

    def _delta(self, arm: np.ndarray) -> Pose:
        clipped = arm.clip(-1, 1)
        self.counts["clip"] += int((clipped != arm).any())
        return Pose.from_euler_xyz(clipped[3:] * MAX_ROTATION, clipped[:3] * MAX_TRANSLATION)

    def _box(self, wanted: Pose) -> Pose:
        inside = wanted.position.clip(self.limits.low, self.limits.high)
        if (inside == wanted.position).all():
            return wanted
        self.counts["workspace"] += 1
        return Pose.of(inside, wanted.rotation)

    def _tilt(self, wanted: Pose) -> Pose:
        before, after = (math.acos(np.clip(-pose.rotation[2, 2], -1, 1)) for pose in (self.pose, wanted))
        if after <= self.limits.tilt or after <= before:
            return wanted
        self.counts["tilt"] += 1
        return Pose.of(wanted.position, self.pose.rotation)

    def _leash(self, wanted: Pose, measured: Pose) -> Pose:
        """Freeze position or rotation where it would run ahead of the robot."""
        ahead, now = measured.distance(wanted), measured.distance(self.pose)
        far = [a > limit and a > n for a, n, limit in zip(ahead, now, self._leashes, strict=True)]
        if not any(far):
            return wanted
        self.counts["leash"] += 1
        return Pose.of((self.pose if far[0] else wanted).position, (self.pose if far[1] else wanted).rotation)

    @property
    def _leashes(self) -> tuple[float, float]:
        return self.limits.leash_position, self.limits.leash_rotation

    def _gripper(self, opened: bool) -> None:
        self._dwell = max(self._dwell - 1, 0)
        if opened == self.opened:
            self._wish = 0
            return
        self._wish += 1
        if self._wish < self.limits.gripper_ticks or self._dwell:
            self.counts["debounce"] += 1
            return
        self.opened, self._wish, self._dwell = opened, 0, self.limits.gripper_dwell


def gripper_sign(opened: bool) -> float:
    """Give the state's gripper entry: +1 open, -1 closed."""
    return GRIPPER_OPEN if opened else -GRIPPER_OPEN
