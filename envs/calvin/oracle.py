"""Tell which of the benchmark's 34 tasks were done between two moments.

The thresholds and names come from the benchmark's own table of tasks. What each test asks, and where that surprises, is
written at each function; all of them were compared with the original step by step.
"""

import difflib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from seerkit.envs.calvin.world import BlockState, Situation
from seerkit.envs.pose import Pose

TABLE = "conf/new_playtable_tasks.yaml"
SENTENCES = "conf/new_playtable_validation.yaml"
TILT = 30.0
"""Degrees a rotated block may be turned about x and about y."""
SHIFT = 0.1
"""Metres a rotated block may move."""
SPEED = 1.0
"""m/s and rad/s below which a stack counts, along and about every axis."""
Test = Callable[..., bool]


class Oracle:
    """Compare two moments of one episode.

    Args:
        tasks: test and arguments of each task, as in the benchmark's table.
        sentences: what a policy is told for each task.

    Attributes:
        sentences: see above; the order is the table's.
    """

    def __init__(self, tasks: Mapping[str, list[Any]], sentences: Mapping[str, str]) -> None:
        self._tests = {name: (TESTS[test], arguments) for name, (test, *arguments) in tasks.items()}
        self.sentences = {name: sentences[name] for name in self._tests}

    def done(self, start: Situation, end: Situation, tasks: Collection[str] | None = None) -> set[str]:
        """Name the tasks that were done between two moments.

        Args:
            start: how everything was when the task was given.
            end: how everything is now.
            tasks: those to ask for; all if left out.

        Raises:
            ValueError: if there is no such task; names the nearest.
        """
        asked = self._tests if tasks is None else [self.check(task) for task in tasks]
        return {task for task in asked if self._test(task, start, end)}

    def check(self, task: str) -> str:
        """Return a task's name if there is such a task.

        Raises:
            ValueError: if there is none; names the nearest.
        """
        if task not in self._tests:
            near = difflib.get_close_matches(task, self._tests, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"expected a task of {tuple(self._tests)}, given {task!r}{hint}")
        return task

    def _test(self, task: str, start: Situation, end: Situation) -> bool:
        test, arguments = self._tests[task]
        return test(start, end, *arguments)


def read_oracle(assets: Path) -> Oracle:
    """Read the table of tasks and their sentences from the folder of assets."""
    tasks = yaml.safe_load((assets / TABLE).read_text(encoding="utf-8"))["tasks"]
    sentences = yaml.safe_load((assets / SENTENCES).read_text(encoding="utf-8"))
    return Oracle(tasks, {task: first for task, (first, *_) in sentences.items()})


def rotated(start: Situation, end: Situation, block: str, degrees: float) -> bool:
    """Test whether a block was turned about z, at its place, while it rests on something that is not the robot."""
    before, after = start.blocks[block], end.blocks[block]
    turn = Pose.from_quat_xyzw(after.turn) @ Pose.from_quat_xyzw(before.turn).inverse()
    x, y, z = np.degrees(turn.to_euler_xyz())
    stayed = np.linalg.norm(after.position - before.position) <= SHIFT
    level = abs(x) < TILT and abs(y) < TILT
    enough = degrees < z < 180 if degrees > 0 else -180 < z < degrees
    return bool(stayed and level and enough and after.touched - {start.robot})


def pushed(start: Situation, end: Situation, block: str, x: float, y: float) -> bool:
    """Test whether a block was moved along x or y (one of the two is 0) and still touches all it lay on."""
    before, after = start.blocks[block], end.blocks[block]
    lay, lies = _without(before, start.robot), _without(after, start.robot)
    if not (lay and lies and lay <= lies):
        return False
    moved = after.position - before.position
    return _beyond(moved[0], x) if x else _beyond(moved[1], y)


def lifted(start: Situation, end: Situation, block: str, height: float, _: str, link: str) -> bool:
    """Test whether a block that lay on a link of the table is higher now and touches the robot alone."""
    before, after = start.blocks[block], end.blocks[block]
    higher = after.position[2] - before.position[2] > height
    return bool(higher and after.touched == {start.robot} and (start.table, start.links[link]) in before.contacts)


def placed(start: Situation, end: Situation, _: str, link: str) -> bool:
    """Test whether the block in the robot's hand at the start lies on a link of the table and was let go.

    At the start the robot must touch that block alone, and the block the robot alone.
    """
    held = [name for name, block in start.blocks.items() if start.robot_touches == {block.body}]
    if not held or start.blocks[held[0]].touched != {start.robot}:
        return False
    after = end.blocks[held[0]]
    return after.body not in end.robot_touches and (end.table, end.links[link]) in after.contacts


def pushed_into(start: Situation, end: Situation, blocks: list[str], *place: str) -> bool:
    """Test whether any of the blocks lay on one link of the table, touching nothing else, and now touches another.

    ``place`` is table, link, table, link. The original means to ask, too, that the robot does not touch the block at
    the end; it looks for a body among pairs of body and link, so it never finds one, and scores depend on that.
    """
    _, source, _, goal = place
    lay, lies = {(start.table, start.links[source])}, (end.table, end.links[goal])
    return any(start.blocks[name].contacts == lay and lies in end.blocks[name].contacts for name in blocks)


def moved(start: Situation, end: Situation, door: str, distance: float) -> bool:
    """Test whether a door went at least so far, in the direction of the sign."""
    return _beyond(end.doors[door] - start.doors[door], distance)


def toggled(start: Situation, end: Situation, light: str, before: int, after: int) -> bool:
    """Test whether a light was as given before and is as given now."""
    return start.lights[light] == before and end.lights[light] == after


def stacked(start: Situation, end: Situation) -> bool:
    """Test whether a block that touched no other now touches blocks alone, and is nearly at rest."""
    pairs = [(start.blocks[name], end.blocks[name]) for name in start.blocks]
    bodies = {before.body for before, _ in pairs}
    return any(not before.touched & bodies and _on(after, bodies) for before, after in pairs)


def unstacked(start: Situation, end: Situation) -> bool:
    """Test whether a block that touched blocks alone, nearly at rest, now touches no other block."""
    pairs = [(start.blocks[name], end.blocks[name]) for name in start.blocks]
    bodies = {before.body for before, _ in pairs}
    return any(_on(before, bodies) and not after.touched & bodies for before, after in pairs)


def _beyond(moved: float, limit: float) -> bool:
    return bool(moved > limit if limit > 0 else moved < limit)


def _without(block: BlockState, robot: int) -> set[tuple[int, int]]:
    return {(body, link) for body, link in block.contacts if body != robot}


def _on(block: BlockState, bodies: set[int]) -> bool:
    return bool(block.touched and block.touched <= bodies and (np.abs(block.velocity) < SPEED).all())


TESTS: dict[str, Test] = {
    "rotate_object": rotated,
    "push_object": pushed,
    "lift_object": lifted,
    "place_object": placed,
    "push_object_into": pushed_into,
    "move_door_rel": moved,
    "toggle_light": toggled,
    "stack_objects": stacked,
    "unstack_objects": unstacked,
}
"""The tests the benchmark's table names."""
