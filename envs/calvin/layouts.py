"""Random tables on which a task can be done."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from seerkit.envs.calvin.plans import IN_DRAWER, ON_TABLE, WITH_BLOCK, cupboard, link
from seerkit.envs.calvin.protocol import BLOCKS, Condition, conditions, feasible, initial_state
from seerkit.envs.calvin.scene import Scene
from seerkit.envs.calvin.world import World

EDGE, DEPTH = 0.02, (-0.15, -0.06)
"""Blocks are put on the table this far within the scene's own surface along x, and between these y: within reach, and
clear of handle and switch, metres."""
APART = 0.095
"""Smallest distance between the middles of two blocks on the table: a hand with open fingers fits, metres."""
SHOVE = 0.15
"""How far a block must be able to go that is to be pushed, metres."""
TRIES = 1000


def layout(world: World, task: str, rng: np.random.Generator) -> dict[str, Any]:
    """Draw a table on which a task can be done, as options of the environment's reset.

    One of the benchmark's initial conditions gives doors, lights and the blocks' whereabouts. Blocks on the table get
    random places and any yaw; those in the cupboard are shifted by up to 2 cm. ``tasks`` first asks for what the task
    needs: to lift a block that is to be put down, to stack what is to be taken apart. No condition has a block in the
    drawer; for its lifts one is put there.

    Args:
        world: whose table it is; it stays as it is.
        task: any of the 34.
        rng: draws it.

    Returns:
        ``robot_obs``, ``scene_obs`` and ``tasks`` (the last is ``task``).
    """
    tasks = _tasks(task, rng)
    found = [condition for condition in conditions() if _allows(condition, tasks)]
    condition = found[int(rng.integers(len(found)))]
    robot, scene = initial_state(condition)
    places = _names(world.scene)
    poses = {block: scene[6:].reshape(3, 6)[place] for block, place in places.items()}
    spots = _spots(world.scene, task, [block for block in BLOCKS if condition[block] == "table"], rng)
    halves = cupboard(world.scene)
    for block, pose in poses.items():
        if block in spots:
            pose[:3], pose[5] = (*spots[block], ON_TABLE), rng.uniform(-math.pi, math.pi)
        else:
            pose[:3] = halves[str(condition[block]).removeprefix("slider_")]
            pose[:2] += rng.uniform(-1, 1, 2) * (0.02, 0.01)
            pose[5] = rng.uniform(3 / 8 * math.pi, 5 / 8 * math.pi)
    if task.endswith("_drawer") and task.startswith("lift"):
        x, z = link(world, "drawer")[0], IN_DRAWER[2]
        aside = rng.uniform(-1, 1, 2) * (0.1, 0.03)
        poses[_subject(task)][:3] = x + aside[0], IN_DRAWER[1] - scene[1] + aside[1], z
    return {"robot_obs": robot, "scene_obs": scene, "tasks": tasks}


def _tasks(task: str, rng: np.random.Generator) -> tuple[str, ...]:
    if task == "unstack_block":
        return *_tasks("stack_block", rng), task
    if task not in WITH_BLOCK:
        return (task,)
    return f"lift_{BLOCKS[int(rng.integers(len(BLOCKS)))]}_table", task


def _allows(condition: Condition, tasks: tuple[str, ...]) -> bool:
    task = tasks[-1]
    if task.startswith("lift") and task.endswith("_drawer"):
        return condition["drawer"] == "open" and condition[_subject(task)] == "table"
    return feasible(condition, tasks)


def _subject(task: str) -> str:
    """Name the block a task is about, as the protocol does; empty if any will do."""
    return next((block for block in BLOCKS if block in task), "")


def _names(scene: Scene) -> dict[str, int]:
    """Give the place of each block, as the protocol names it, in the scene's own order."""
    colors = [name.removeprefix("block_") for name in scene.blocks]
    return {block: colors.index(block.removesuffix("_block")) for block in BLOCKS}


def _spots(scene: Scene, task: str, blocks: list[str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw places on the table until nothing is in the way."""
    low, high = scene.surfaces["table"][:, 0]
    for _ in range(TRIES):
        spots = {block: rng.uniform((low + EDGE, DEPTH[0]), (high - EDGE, DEPTH[1])) for block in blocks}
        points = list(spots.values())
        apart = all(np.linalg.norm(a - b) >= APART for i, a in enumerate(points) for b in points[:i])
        if apart and (not task.startswith("push_") or task == "push_into_drawer" or _way(scene, task, spots)):
            return spots
    raise RuntimeError(f"expected to find places for {blocks} within {TRIES} tries for {task}, found none")


def _way(scene: Scene, task: str, spots: dict[str, np.ndarray]) -> bool:
    side, subject = (1 if task.endswith("right") else -1), _subject(task)
    others = [point - spots[subject] for block, point in spots.items() if block != subject]
    return free(scene, spots[subject], side, others)


def free(scene: Scene, start: np.ndarray, side: int, others: Sequence[np.ndarray]) -> bool:
    """Say whether a block can be shoved along x without leaving reach or meeting another.

    Args:
        scene: whose table it is.
        start: where the block is, ``(2,)`` or ``(3,)`` metres.
        side: 1 for the right, -1 for the left.
        others: ways from it to the other blocks.
    """
    low, high = scene.surfaces["table"][:, 0]
    inside = low - 0.02 <= start[0] + side * SHOVE <= high + 0.01
    return inside and all(abs(way[1]) > APART or not 0 < way[0] * side < SHOVE + APART for way in others)
