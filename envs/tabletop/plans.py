"""What a careful operator would do next in each task, as a rule from the measured scene to a wish.

Nothing is remembered: which phase a task is in follows from where things are and how wide the fingers are. So the same
rule recovers from a push or a slip, and a policy that sees the scene can learn it.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from seerkit.envs.pose import Pose
from seerkit.envs.tabletop.tasks import PickPlaceClose, StackCups, TabletopTask
from seerkit.envs.tabletop.world import FINGER_OPEN, tool_down


@dataclass(frozen=True)
class Wish:
    """Hold where the tool should be heading and whether the fingers should be open."""

    pose: Pose
    opened: bool
    speed: float = 0.9
    """Largest component of the translation, as a share of the action's range."""


Plan = Callable[[Any], Wish]


def descend(tool: Pose, target: Pose, *, height: float, opened: bool, near: float = 0.008) -> Wish:
    """Go to a target from above through a funnel: high while beside it or turned from it, down once over it.

    Args:
        tool: measured tool pose.
        target: where to end.
        height: how far above the target to travel while beside it, metres.
        opened: whether the fingers stay open on the way.
        near: sideways distance below which nothing holds the descent back, metres.
    """
    beside = target.position[:2] - tool.position[:2]
    off = float(np.linalg.norm(beside)) + 0.04 * tool.distance(target)[1]
    goal_z = target.position[2] + min(max(2.5 * (off - near), 0.0), height)
    climb = float(np.clip(1 - (goal_z - tool.position[2]) / 0.05, 0.0, 1.0))
    xy = tool.position[:2] + beside * climb
    return Wish(Pose.of((*xy, goal_z), target.rotation), opened)


def heading(direction: np.ndarray, period: float) -> float:
    """Give the smallest turn about the vertical, of those ``period`` apart, that points along a direction."""
    angle = math.atan2(direction[1], direction[0])
    return angle - period * round(angle / period)


def over(tool: Pose, target: Pose, *, beside: float = 0.012, above: float = 0.010, turned: float = 0.15) -> bool:
    """Say whether the tool is at a target: within ``beside`` and ``above`` metres and ``turned`` radians."""
    gap = tool.position - target.position
    close = math.hypot(gap[0], gap[1]) < beside and abs(gap[2]) < above
    return close and tool.distance(target)[1] < turned


def grasp(tool: Pose, width: float, target: Pose, *, height: float = 0.10) -> Wish:
    """Go to a grasp pose with open fingers and close them there; open again if they met nothing."""
    closing = over(tool, target) and width > 0.02
    return Wish(target, opened=False) if closing else descend(tool, target, height=height, opened=True)


def let_go(tool: Pose, *, lift: float = 0.0) -> Wish:
    """Open the fingers, without moving or while rising a little (metres wished for, of which a step covers 40 %)."""
    return Wish(raised(tool, lift), opened=True)


def raised(pose: Pose, height: float) -> Pose:
    """Give a pose moved straight up by some metres."""
    return Pose.of(pose.position + np.array([0.0, 0.0, height]), pose.rotation)


def reach(task: TabletopTask) -> Wish:
    """Go to the named block with open fingers."""
    x, y, z = task.world.body(task.goal).position
    return descend(task.world.tool, tool_down(x, y, z), height=0.10, opened=True)


def pick_place(task: TabletopTask) -> Wish:
    """Grasp the named block, carry it over the plate, lower it and let go."""
    world = task.world
    tool, width, block, plate = world.tool, world.width, world.body(task.goal), world.body("plate").position
    x, y, z = block.position
    if math.hypot(x - plate[0], y - plate[1]) < 0.03 and z < 0.034:
        return let_go(tool)
    if np.linalg.norm(block.position - tool.position) < 0.025 and width < 0.047:
        gap = plate + np.array([0.0, 0.0, 0.028]) - block.position  # move the block, however it is held, to its place
        return descend(tool, tool_down(*(tool.position + gap)), height=0.09, opened=False)
    flat = min(block.rotation.T[:], key=lambda axis: abs(axis[2]))
    return grasp(tool, width, tool_down(x, y, max(z, 0.018), heading(flat, math.pi / 2)))


def pick_place_close(task: PickPlaceClose) -> Wish:
    """Grasp the carrot, drop it into the drawer, go to the drawer's front and push it shut."""
    world = task.world
    tool, width, carrot = world.tool, world.width, world.body("carrot")
    drawer = world.body("drawer").position
    front = drawer[0] + 0.085
    x, y, z = carrot.position
    if task.inside():
        if width < 1.8 * FINGER_OPEN and tool.position[2] < 0.11:
            return let_go(tool, lift=0.02)
        return push(tool, tool_down(front, drawer[1], 0.05))
    spot = tool_down(drawer[0] + 0.010, drawer[1], 0.085)
    if over(tool, spot, beside=0.015, above=0.012) and math.hypot(x - tool.position[0], y - tool.position[1]) < 0.03:
        return let_go(tool)
    if np.linalg.norm(carrot.position - tool.position) < 0.028 and width < 0.036:
        return descend(tool, spot, height=0.06, opened=False)
    yaw = heading(carrot.rotation[:, 2], math.pi)
    return grasp(tool, width, tool_down(x, y, max(z - 0.001, 0.014), yaw))


def push(tool: Pose, front: Pose) -> Wish:
    """Come down before a front (its outward side is +x) and push it towards -x with the fingers."""
    ahead = tool.position - front.position
    if ahead[0] > 0.0 and abs(ahead[1]) < 0.02 and abs(ahead[2]) < 0.015 and ahead[0] < 0.08:
        return Wish(Pose.of(front.position - np.array([0.04, 0.0, 0.0]), front.rotation), opened=True, speed=0.5)
    before = Pose.of(front.position + np.array([0.05, 0.0, 0.0]), front.rotation)
    return descend(tool, before, height=0.12, opened=True)


def stack_cups(task: StackCups) -> Wish:
    """Put the yellow, then the blue cup into the red one."""
    world = task.world
    tool, width = world.tool, world.width
    left = [name for name in task.cups[1:] if not task.nested(name)]
    done = [name for name in task.cups[1:] if name not in left]
    if done and width < 1.8 * FINGER_OPEN and over(tool, rim(world.body(done[-1])), beside=0.03, above=0.02, turned=1):
        return let_go(tool)
    if not left:
        return let_go(tool, lift=0.1)
    target = rim(world.body(left[0]))
    red = rim(world.body("red"))
    if over(tool, target, beside=0.015, above=0.015, turned=1) and width < 0.068:
        return descend(tool, raised(red, 0.015), height=0.12, opened=False, near=0.004)
    return grasp(tool, width, target, height=0.14)


def rim(cup: Pose) -> Pose:
    """Give the grasp pose at a cup's rim."""
    x, y, z = cup.position
    return tool_down(x, y, z + 0.065)


PLANS: dict[str, Plan] = {
    "Reach": reach,
    "ReachColor": reach,
    "PickPlace": pick_place,
    "PickPlaceClose": pick_place_close,
    "StackCups": stack_cups,
}
