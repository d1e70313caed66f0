"""How an operator would do each task, as a list of moves written when it begins, from where things are then."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from seerkit.envs.calvin.world import World

TRAVEL = 0.57
"""Height of the tool at which nothing on the table is in its way, metres."""
REST_YAW = 1.5
"""Yaw of the tool at rest, radians: its fingers close along x."""
HALF_TURN = math.pi


@dataclass(frozen=True)
class Move:
    """Say where the tool goes next.

    Attributes:
        position: ``(3,)`` metres.
        yaw: about the vertical, radians; at half of pi the fingers close along x.
        tilt: how far the fingertips lean towards the table's back (+y), radians.
        opened: whether the fingers are open.
        speed: largest component of the translation, as a share of the action's range.
        near: distance at which it has arrived, metres.
        rest: steps to stay once it has arrived.
        patience: steps after which the next move begins all the same.
    """

    position: tuple[float, float, float]
    yaw: float = REST_YAW
    tilt: float = 0.0
    opened: bool = False
    speed: float = 0.6
    near: float = 0.01
    rest: int = 0
    patience: int = 60


Plan = Callable[[World], Iterator[Move]]


def pull_drawer(world: World, *, opening: bool) -> Iterator[Move]:
    """Put the closed fingers between the drawer and its handle and take it along."""
    out = world.situation().doors["base__drawer"]
    x, gap, low = 0.18, -0.21, 0.365
    yield Move((x, gap - out, 0.50), near=0.02)
    yield Move((x, gap - out, low))
    goal = 0.21 if opening else -0.012
    yield Move((x, gap - goal, low), speed=0.5)
    yield Move((x, gap - goal, 0.50))


def push_slider(world: World, *, left: bool) -> Iterator[Move]:
    """Go beside the handle of the sliding door with closed fingers and push it to the other side."""
    handle = 0.04 - world.situation().doors["base__slide"]
    side = 1 if left else -1
    y, z = -0.01, 0.525
    beside = handle + 0.075 * side
    goal = (-0.25 if left else 0.05) + 0.035 * side
    yield Move((beside, -0.10, TRAVEL), near=0.02)
    yield Move((beside, y, z))
    yield Move((goal, y, z), speed=0.5)
    yield Move((goal + 0.04 * side, -0.10, TRAVEL), near=0.02)


def press_button(world: World) -> Iterator[Move]:
    """Press the button with closed fingers and let it come up again."""
    x, y, _ = _link(world, "button_link")
    yield Move((x, y, 0.53), near=0.015)
    yield Move((x, y, 0.455), speed=0.4, patience=20)
    yield Move((x, y, 0.53), near=0.02)


def push_switch(world: World, *, up: bool) -> Iterator[Move]:
    """Push the switch up from below with leaning fingers, or down from above."""
    moved = world.table.observe()[3]
    along = np.array([0.0, 0.5, math.sqrt(0.75)])
    bar = np.array([0.285, 0.02, 0.527]) + moved * along
    if not up:
        yield Move(_at(bar, y=-0.01, z=0.07), near=0.015)
        yield Move(_at(bar, z=0.03))
        yield Move(_at(bar - (moved + 0.01) * along, z=0.02), speed=0.4, patience=40)
        yield Move(_at(bar, y=-0.05, z=0.07), near=0.02)
        return
    lean = 0.9
    yield Move(_at(bar, y=-0.09, z=0.03), tilt=lean, near=0.015)
    yield Move(_at(bar, y=-0.07, z=-0.04), tilt=lean)
    yield Move(_at(bar, y=0.0, z=-0.035), tilt=lean, speed=0.4, patience=40)
    yield Move(_at(bar + 0.085 * along, y=0.0, z=-0.03), tilt=lean, speed=0.4, patience=40)
    yield Move(_at(bar, y=-0.10, z=0.03), near=0.02)


def grasp(world: World, block: str, *, yaw: float | None = None, depth: float = 0.0) -> Iterator[Move]:
    """Come down on a block with open fingers and close them."""
    x, y, z = _block(world, block)
    turn = _across(world, block, REST_YAW) if yaw is None else yaw
    yield Move((x, y, max(z + 0.09, 0.55)), turn, opened=True, near=0.015)
    yield Move((x, y, z - depth), turn, opened=True, near=0.006, rest=2)
    yield Move((x, y, z - depth), turn, rest=8)


def lift(world: World, *, block: str) -> Iterator[Move]:
    """Take a block and raise it."""
    yield from grasp(world, block)
    x, y, z = _block(world, block)
    yield Move((x, y, z + 0.12), _yaw(world), near=0.02)


def push(world: World, *, block: str, side: int) -> Iterator[Move]:
    """Put the open fingers around a block and shove it along x; one that lies lengthwise is held meanwhile."""
    x, y, z = _block(world, block)
    yaw = _across(world, block, REST_YAW)
    held = abs(math.cos(yaw - HALF_TURN / 2)) < 0.6
    yield Move((x, y, 0.55), yaw, opened=True, near=0.015)
    yield Move((x, y, z), yaw, opened=True, near=0.006)
    if held:
        yield Move((x, y, z), yaw, rest=8)
    far = x + side * (0.125 if held else 0.15)
    yield Move((far, y, z), yaw, opened=not held, speed=0.4)
    yield Move((far, y, z), yaw, opened=True, rest=6)
    yield Move((far, y, 0.55), yaw, opened=True, near=0.02)


def rotate(world: World, *, block: str, degrees: float) -> Iterator[Move]:
    """Take a block, turn it where it lies and let go."""
    turn = math.radians(degrees)
    yaw = _across(world, block, REST_YAW - turn / 2)
    yield from grasp(world, block, yaw=yaw)
    place = tuple(np.array(world.robot.tool()[0]))
    yield Move(place, yaw + turn, patience=60)
    yield Move(place, yaw + turn, opened=True, rest=6)
    yield Move((place[0], place[1], 0.55), yaw + turn, opened=True, near=0.02)


def _at(point: np.ndarray, *, y: float = 0.0, z: float = 0.0) -> tuple[float, float, float]:
    return float(point[0]), float(point[1] + y), float(point[2] + z)


def _link(world: World, name: str) -> np.ndarray:
    return np.array(world.client.getLinkState(world.table.body, world.table.links[name])[0])


def _block(world: World, name: str) -> np.ndarray:
    return world.situation().blocks[name].position


def _yaw(world: World) -> float:
    return world.robot.tool()[1][2]


def _across(world: World, name: str, wanted: float) -> float:
    """Give the yaw nearest to a wanted one with which the fingers close on a block's short sides."""
    found = world.situation().blocks[name].turn
    axes = np.array(world.client.getMatrixFromQuaternion(found)).reshape(3, 3).T
    level = [axis for axis in axes if abs(axis[2]) < 0.5]
    long = level[0]
    period = HALF_TURN / 2 if "blue" in name else HALF_TURN
    yaw = math.atan2(long[1], long[0])
    return yaw - period * round((yaw - wanted) / period)


def _tasks() -> Iterator[tuple[str, Plan]]:
    for task, opening in (("open_drawer", True), ("close_drawer", False)):
        yield task, partial(pull_drawer, opening=opening)
    for side, left in (("left", True), ("right", False)):
        yield f"move_slider_{side}", partial(push_slider, left=left)
    for word in ("on", "off"):
        yield f"turn_{word}_led", press_button
        yield f"turn_{word}_lightbulb", partial(push_switch, up=word == "on")
    for color in ("red", "blue", "pink"):
        block = f"block_{color}"
        for side, sign in (("left", -1), ("right", 1)):
            yield f"push_{color}_block_{side}", partial(push, block=block, side=sign)
            yield f"rotate_{color}_block_{side}", partial(rotate, block=block, degrees=-72.0 * sign)
        for place in ("table", "slider"):
            yield f"lift_{color}_block_{place}", partial(lift, block=block)


PLANS: dict[str, Plan] = dict(_tasks())
"""The tasks that have an expert."""
