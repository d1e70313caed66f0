"""Random tables on which a task can be done."""

import math
from typing import Any

import numpy as np

from seerkit.envs.calvin.plans import DRAWER, WITH_BLOCK
from seerkit.envs.calvin.protocol import BLOCKS, Condition, conditions, feasible, initial_state

REGION = ((0.02, -0.15), (0.33, -0.06))
"""Two opposite corners of where blocks are put on the table: within reach, and clear of handle and button, metres."""
APART = 0.095
"""Smallest distance between the middles of two blocks on the table: a hand with open fingers fits, metres."""
SHOVE = 0.15
"""How far a block must be able to go that is to be pushed, metres."""
TRIES = 1000


def layout(task: str, rng: np.random.Generator) -> dict[str, Any]:
    """Draw a table on which a task can be done, as options of the environment's reset.

    One of the benchmark's initial conditions gives doors, lights and the blocks' whereabouts. Blocks on the table get
    random places and any yaw; those in the cupboard are shifted by up to 2 cm. ``tasks`` first asks for what the task
    needs: to lift a block that is to be put down, to stack what is to be taken apart. No condition has a block in the
    drawer; for its lifts one is put there.

    Args:
        task: any of the 34.
        rng: draws it.

    Returns:
        ``robot_obs``, ``scene_obs`` and ``tasks`` (the last is ``task``).
    """
    tasks = _tasks(task, rng)
    found = [condition for condition in conditions() if _allows(condition, tasks)]
    condition = found[int(rng.integers(len(found)))]
    robot, scene = initial_state(condition)
    poses = dict(zip(BLOCKS, scene[6:].reshape(3, 6), strict=True))
    spots = _spots(task, [block for block in BLOCKS if condition[block] == "table"], rng)
    for block, pose in poses.items():
        if block in spots:
            pose[:2], pose[5] = spots[block], rng.uniform(-math.pi, math.pi)
        else:
            pose[:2] += rng.uniform(-1, 1, 2) * (0.02, 0.01)
    if task.endswith("_drawer") and task.startswith("lift"):
        x, y, z = DRAWER
        poses[_subject(task)][:3] = x + rng.uniform(-0.1, 0.1), y - scene[1] + rng.uniform(-0.03, 0.03), z
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


def _spots(task: str, blocks: list[str], rng: np.random.Generator) -> dict[str, np.ndarray]:
    """Draw places on the table until nothing is in the way."""
    for _ in range(TRIES):
        spots = {block: rng.uniform(*REGION) for block in blocks}
        points = list(spots.values())
        apart = all(np.linalg.norm(a - b) >= APART for i, a in enumerate(points) for b in points[:i])
        if apart and (not task.startswith("push_") or task == "push_into_drawer" or _way(task, spots)):
            return spots
    raise RuntimeError(f"expected to find places for {blocks} within {TRIES} tries for {task}, found none")


def _way(task: str, spots: dict[str, np.ndarray]) -> bool:
    """Say whether a block can be shoved to its side without leaving reach or meeting another."""
    side, subject = (1 if task.endswith("right") else -1), _subject(task)
    start = spots[subject]
    if not -0.02 <= start[0] + side * SHOVE <= 0.36:
        return False
    ways = [point - start for block, point in spots.items() if block != subject]
    return all(abs(way[1]) > APART or not 0 < way[0] * side < SHOVE + APART for way in ways)
