"""The twin's arm, gripper, cameras and clock: views of one simulated world."""

from collections.abc import Callable

import numpy as np

from seerkit.envs.contract import CONTROL_HZ
from seerkit.envs.franka.drivers import ArmReading, Drivers, Frame, GripperReading
from seerkit.envs.pose import Pose
from seerkit.envs.tabletop.render import Renderer
from seerkit.envs.tabletop.world import FINGER_OPEN, World


class SimArm:
    """Move the simulated arm through inverse kinematics and joint servos."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._stopped = False

    def reset(self) -> None:
        """Accept commands again; the task has already put the arm at its start."""
        self._stopped = False

    def read(self) -> ArmReading:
        """Measure without noise."""
        return ArmReading(self._world.tool, self._world.joints)

    def command(self, pose: Pose) -> None:
        """Set the joints the servos glide to during the next period."""
        if not self._stopped:
            self._world.target = self._world.solve(pose, self._world.target)

    def stop(self) -> None:
        """Hold the last joint targets."""
        self._stopped = True

    def close(self) -> None:
        """Do nothing."""


class SimGripper:
    """Open and close the simulated fingers."""

    def __init__(self, world: World) -> None:
        self._world = world

    def reset(self) -> None:
        """Open fully."""
        self.command(True)

    def read(self) -> GripperReading:
        """Measure the width."""
        return GripperReading(self._world.width, 2 * FINGER_OPEN, self._world.fingers)

    def command(self, opened: bool) -> None:
        """Set where the fingers travel to."""
        self._world.finger_target = FINGER_OPEN if opened else 0.0

    def close(self) -> None:
        """Do nothing."""


class SimCamera:
    """Draw what one camera of the world sees, each time it is read."""

    def __init__(self, world: World, name: str, renderer: Callable[[], Renderer]) -> None:
        self._world = world
        self._name = name
        self._renderer = renderer
        self._number = 0

    def read(self) -> Frame:
        """Draw now."""
        self._number += 1
        return Frame(self._renderer().draw(self._world.data, self._name), self._number, self._world.time)

    def close(self) -> None:
        """Do nothing: the renderer belongs to the env."""


class VirtualClock:
    """Let simulated time pass, as fast as the machine can."""

    period = 1 / CONTROL_HZ

    def __init__(self, world: World) -> None:
        self._world = world

    def reset(self) -> None:
        """Do nothing: the world's time restarts with the world."""

    def now(self) -> float:
        """Give simulated seconds."""
        return self._world.time

    def tick(self) -> None:
        """Simulate one control period."""
        self._world.advance()


def sim_drivers(world: World, cameras: tuple[str, ...], renderer: Callable[[], Renderer]) -> Drivers:
    """Compose the drivers of one world; the renderer is made when the first picture is asked for."""
    views = {name: SimCamera(world, name, renderer) for name in cameras}
    return Drivers(SimArm(world), SimGripper(world), views, VirtualClock(world))


def solve_start(world: World, pose: Pose, *, tolerance: float = 2e-3) -> np.ndarray:
    """Find joint angles for a start pose.

    Raises:
        ValueError: if the arm cannot reach it.
    """
    joints = world.solve(pose, world.joints, iterations=80)
    world.move(joints)
    metres, radians = world.tool.distance(pose)
    if metres > tolerance or radians > 0.02:
        raise ValueError(f"expected a start pose within reach, given {pose.position.round(3).tolist()}")
    return joints
