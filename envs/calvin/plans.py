"""How an operator would do each task: a list of moves, written when the task begins, from where things are then.

The four tables differ in where along x their parts are; heights and depths are the same.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from seerkit.envs.calvin.moves import REST_YAW, Move, pointing, shifted
from seerkit.envs.calvin.scene import Scene
from seerkit.envs.calvin.world import World

Plan = Callable[[World], Iterator[Move]]
TRAVEL = 0.57
"""Height of the tool at which nothing on the table is in its way, metres."""
HANDLE = 0.14
"""How far along x the sliding door's handle is from its link, metres."""
BAR = (-0.015, 0.020, 0.527)
"""The middle of the switch's bar while it is down; along x from its link, metres."""
UPWARD = (0.0, 0.5, math.sqrt(0.75))
"""The direction in which the switch goes up."""
LEAN = 0.9
"""Lean of the fingers at the switch, which is out of reach of an upright hand, radians."""
CUPBOARD_TILT = 0.5
"""Lean of the fingers with which the hand fits through the cupboard's sloping front, radians."""
IN_DRAWER = (0.0, -0.06, 0.361)
"""Where a block lies in the shut drawer so that the hand can fetch it from the open one; along x from its link."""
IN_CUPBOARD = (0.09, 0.461)
"""Depth and height of a block in the cupboard, metres."""
ON_TABLE = 0.46
"""Height of a block on the table, metres."""
SIDE = 0.04
"""Height of a block and the shortest of its sides, metres."""


class ImpossibleError(ValueError):
    """What a task needs is not there."""


def clear(world: World, *, holding: bool) -> Iterator[Move]:
    """Leave whatever the last task left the tool at: let go, draw back along the fingers, rise.

    Args:
        world: the table.
        holding: whether the task goes on with the block in the hand.
    """
    tool, angles = (np.array(measured) for measured in world.robot.tool())
    yaw, tilt = float(angles[2]), -float(angles[1])
    if held(world) and not holding:
        yield Move(tool, yaw, tilt, opened=True, rest=6)
    opened = world.robot.gripper > 0
    if tool[2] < 0.52 or tool[1] > -0.05:
        yield Move(tool - 0.10 * pointing(yaw, tilt), yaw, tilt, opened=opened, near=0.03)
        place = np.array(world.robot.tool()[0])
        yield Move(np.array([place[0], min(place[1], -0.10), max(place[2], TRAVEL)]), opened=opened, near=0.03)


def pull_drawer(world: World, *, opening: bool) -> Iterator[Move]:
    """Put the closed fingers between the drawer and its handle and take it along."""
    drawer = world.table.observe()[1]
    gap, goal = np.array([link(world, "drawer")[0], -0.21 - drawer, 0.365]), 0.21 if opening else -0.012
    yield Move(shifted(gap, 0, 0, 0.135), near=0.02)
    yield Move(gap)
    yield Move(shifted(gap, 0, drawer - goal, 0), speed=0.5)
    yield Move(shifted(gap, 0, drawer - goal, 0.135), near=0.03)


def push_slider(world: World, *, left: bool) -> Iterator[Move]:
    """Go beside the handle of the sliding door with closed fingers and push it to the other side."""
    side, moved = (1 if left else -1), world.table.observe()[0]
    handle = np.array([link(world, "slide")[0] + HANDLE, -0.01, 0.525])
    beside = shifted(handle, 0.075 * side, 0, 0)
    goal = shifted(handle, moved - (0.29 if left else -0.01) + 0.035 * side, 0, 0)
    yield Move(np.array([beside[0], -0.10, TRAVEL]), near=0.02)
    yield Move(beside)
    yield Move(goal, speed=0.5)
    yield Move(shifted(goal, 0.04 * side, -0.09, 0.045), near=0.03)


def press_button(world: World) -> Iterator[Move]:
    """Press the button with closed fingers and let it come up again."""
    x, y, _ = link(world, "button")
    yield Move(np.array([x, y, 0.53]), near=0.015)
    yield Move(np.array([x, y, 0.455]), speed=0.4)
    yield Move(np.array([x, y, 0.53]), near=0.02)


def push_switch(world: World, *, up: bool) -> Iterator[Move]:
    """Push the switch's bar with leaning, closed fingers: up from below, or down from above."""
    along, moved = np.array(UPWARD), world.table.observe()[3]
    bar = shifted(moved * along + BAR, link(world, "switch")[0], 0, 0)
    if up:
        yield Move(shifted(bar, 0, -0.09, 0.03), tilt=LEAN, near=0.015)
        yield Move(shifted(bar, 0, -0.07, -0.04), tilt=LEAN)
        yield Move(shifted(bar, 0, 0, -0.035), tilt=LEAN, speed=0.4)
        yield Move(shifted(bar + 0.085 * along, 0, 0, -0.03), tilt=LEAN, speed=0.4)
        yield Move(shifted(bar, 0, -0.10, 0.0), tilt=LEAN, near=0.03)
    else:
        yield Move(shifted(bar, 0, -0.05, 0.08), tilt=LEAN, near=0.02)
        yield Move(shifted(bar, 0, 0, 0.045), tilt=LEAN)
        yield Move(shifted(bar - (moved + 0.02) * along, 0, 0, 0.02), tilt=LEAN, speed=0.4)
        yield Move(shifted(bar, 0, -0.10, 0.07), tilt=LEAN, near=0.03)


def grasp(world: World, block: str, *, yaw: float | None = None, tilt: float = 0.0) -> Iterator[Move]:
    """Come upon a block along the fingers, which are open, and close them."""
    place = world.situation().blocks[block].position
    turn = across(world, block, REST_YAW) if yaw is None else yaw
    yield Move(place - 0.09 * pointing(turn, tilt), turn, tilt, opened=True, near=0.015)
    yield Move(place, turn, tilt, opened=True, near=0.006, rest=1)
    yield Move(place, turn, tilt, rest=7)


def lift(world: World, *, block: str, tilt: float = 0.0) -> Iterator[Move]:
    """Take a block and raise it."""
    yield from grasp(world, block, tilt=tilt)
    tool, angles = world.robot.tool()
    place = tool + np.array([0, 0, 0.05])
    yield Move(place, angles[2], tilt, near=0.02)
    yield Move(place - 0.09 * pointing(angles[2], tilt), angles[2], tilt, near=0.02)


def unstack(world: World) -> Iterator[Move]:
    """Take the upper block of a stack and raise it."""
    blocks = world.situation().blocks
    free = [name for name in blocks if blocks[name].position[1] < 0 and blocks[name].position[2] > ON_TABLE + SIDE / 2]
    if not free:
        raise ImpossibleError("expected a stack on the table to take apart, given none")
    yield from lift(world, block=free[0])


def push(world: World, *, block: str, side: int) -> Iterator[Move]:
    """Put the open fingers around a block and shove it along x; one that lies aslant is held meanwhile."""
    start = world.situation().blocks[block].position
    yaw = across(world, block, REST_YAW)
    aslant = abs(math.sin(yaw)) < 0.95
    yield Move(shifted(start, 0, 0, 0.09), yaw, opened=True, near=0.015)
    yield Move(start, yaw, opened=True, near=0.006)
    if aslant:
        yield Move(start, yaw, rest=7)
    goal = shifted(start, side * (0.125 if aslant else 0.14), 0, 0)
    yield Move(goal, yaw, opened=not aslant, speed=0.4)
    yield Move(goal, yaw, opened=True, rest=5)
    yield Move(shifted(goal, 0, 0, 0.09), yaw, opened=True, near=0.03)


def rotate(world: World, *, block: str, degrees: float) -> Iterator[Move]:
    """Take a block, turn it where it lies and let go."""
    turn = math.radians(degrees)
    yaw = across(world, block, REST_YAW - turn / 2)
    yield from grasp(world, block, yaw=yaw)
    place = np.array(world.robot.tool()[0])
    yield Move(place, yaw + turn)
    yield Move(place, yaw + turn, opened=True, rest=5)
    yield Move(shifted(place, 0, 0, 0.09), yaw + turn, opened=True, near=0.03)


def drop_into_drawer(world: World) -> Iterator[Move]:
    """Slide a block over the table's edge into the open drawer and let it fall."""
    blocks = world.situation().blocks
    near = [name for name in blocks if on_table(world, name)]
    if not near:
        raise ImpossibleError("expected a block on the table to push into the drawer, given none")
    block = min(near, key=lambda name: blocks[name].position[1])
    yield from grasp(world, block)
    (x, y, z), (*_, yaw) = world.robot.tool()
    middle = link(world, "drawer")[0]
    over = np.array([min(max(x, middle - 0.13), middle + 0.13), -0.27, z])
    yield Move(np.array([over[0], y, z]), yaw, speed=0.4)
    yield Move(over, yaw, speed=0.4)
    yield Move(over, yaw, opened=True, rest=8)
    yield Move(shifted(over, 0, 0, 0.09), yaw, opened=True, near=0.03)


def place_in_drawer(world: World) -> Iterator[Move]:
    """Carry the block in the hand over the open drawer, lower it and let go."""
    needed(world)
    place = in_drawer(world)
    yield Move(shifted(place, 0, 0, 0.16), near=0.02)
    yield Move(shifted(place, 0, 0, 0.015))
    yield Move(shifted(place, 0, 0, 0.015), opened=True, rest=5)
    yield Move(shifted(place, 0, 0, 0.16), opened=True, near=0.03)


def place_in_slider(world: World) -> Iterator[Move]:
    """Carry the block in the hand into the half of the cupboard that is open and let go."""
    block = needed(world)
    place = _free_spot(world, block)
    away = -0.12 * pointing(REST_YAW, CUPBOARD_TILT)
    yield Move(np.array([place[0], -0.10, TRAVEL + 0.03]), tilt=CUPBOARD_TILT, near=0.02)
    yield Move(place + away, tilt=CUPBOARD_TILT, near=0.02)
    yield Move(place, tilt=CUPBOARD_TILT, speed=0.4)
    yield Move(place, tilt=CUPBOARD_TILT, opened=True, rest=5)
    yield Move(place + away, tilt=CUPBOARD_TILT, opened=True, near=0.03)


def stack(world: World) -> Iterator[Move]:
    """Put the block in the hand on another that lies on the table and let go."""
    block = needed(world)
    blocks = world.situation().blocks
    below = [name for name in blocks if name != block and on_table(world, name)]
    if not below:
        raise ImpossibleError("expected another block on the table to stack on, given none")
    yaw = across(world, below[0], REST_YAW)
    above = (
        blocks[below[0]].position + (0, 0, SIDE + 0.004) + (world.robot.tool()[0] - blocks[block].position) * (0, 0, 1)
    )
    yield Move(shifted(above, 0, 0, 0.09), yaw, near=0.015)
    yield Move(above, yaw, speed=0.4, near=0.005, rest=2)
    yield Move(above, yaw, opened=True, rest=6)
    yield Move(shifted(above, 0, 0, 0.09), yaw, opened=True, near=0.03)


def held(world: World) -> str | None:
    """Name the block between the closed fingers, if there is one."""
    tool, state = np.array(world.robot.tool()[0]), world.situation()
    if world.robot.gripper > 0:
        return None
    inside = [
        name
        for name, block in state.blocks.items()
        if state.robot in block.touched and np.linalg.norm(block.position - tool) < 0.035
    ]
    return inside[0] if inside else None


def needed(world: World) -> str:
    """Name the block in the hand.

    Raises:
        ImpossibleError: if there is none.
    """
    block = held(world)
    if block is None:
        raise ImpossibleError("expected a block in the hand to put down, given an empty hand; lift one first")
    return block


def on_table(world: World, name: str) -> bool:
    """Say whether a block lies on the table in front of the cupboard, alone."""
    x, y, z = world.situation().blocks[name].position
    return abs(z - ON_TABLE) < 0.015 and y < 0 and abs(x) < 0.4


def across(world: World, name: str, wanted: float) -> float:
    """Give the yaw nearest to a wanted one with which the fingers close on two short sides of a block."""
    block = world.situation().blocks[name]
    axes = np.array(world.client.getMatrixFromQuaternion(block.turn)).reshape(3, 3).T
    long = axes[0] if abs(axes[0][2]) < 0.7 else axes[1]
    cube = "small" in world.scene.blocks[name] or abs(axes[0][2]) >= 0.7
    period = math.pi / 2 if cube else math.pi
    yaw = math.atan2(long[1], long[0])
    return yaw - period * round((yaw - wanted) / period)


def link(world: World, part: str) -> np.ndarray:
    """Give where a part of the table is now, ``(3,)`` metres."""
    table = world.table
    return np.array(world.client.getLinkState(table.body, table.links[f"{part}_link"])[4])


def in_drawer(world: World) -> np.ndarray:
    """Give a place in the drawer, as far out as it is now."""
    return shifted(np.array(IN_DRAWER), link(world, "drawer")[0], -world.table.observe()[1], 0)


def cupboard(scene: Scene) -> dict[str, np.ndarray]:
    """Give the middle of each half of the cupboard; the sliding door covers one of them."""
    middle = {half: scene.surfaces[f"slider_{half}"].mean(0)[0] for half in ("left", "right")}
    return {half: np.array([x, *IN_CUPBOARD]) for half, x in middle.items()}


def _free_spot(world: World, block: str) -> np.ndarray:
    half = cupboard(world.scene)["right" if world.table.observe()[0] > 0.14 else "left"] + (0, 0, 0.01)
    others = [other.position for name, other in world.situation().blocks.items() if name != block]
    spots = [shifted(half, aside, 0, 0) for aside in (0.0, -0.06, 0.06)]
    return max(spots, key=lambda spot: min(min(np.linalg.norm(spot - other), 0.1) for other in others))


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
        for place, tilt in (("table", 0.0), ("slider", CUPBOARD_TILT), ("drawer", 0.0)):
            yield f"lift_{color}_block_{place}", partial(lift, block=block, tilt=tilt)
    yield from (("place_in_slider", place_in_slider), ("place_in_drawer", place_in_drawer))
    yield from (("stack_block", stack), ("unstack_block", unstack), ("push_into_drawer", drop_into_drawer))


PLANS: dict[str, Plan] = dict(_tasks())
"""How each of the 34 tasks is done."""
WITH_BLOCK = ("place_in_slider", "place_in_drawer", "stack_block")
"""Tasks that begin with a block in the hand."""


def plan(world: World, task: str) -> Iterator[Move]:
    """List the moves of a task, from wherever the tool is.

    Raises:
        ImpossibleError: if what the task needs is not there.
    """
    yield from clear(world, holding=task in WITH_BLOCK)
    yield from PLANS[task](world)
