"""Random tables on which a task can be done."""

import math

import numpy as np

from seerkit.envs.calvin.protocol import BLOCKS, Condition, after, conditions, initial_state

TABLE = ((0.02, -0.15), (0.33, -0.06))
APART = 0.095
TRIES = 1000


def layout(task: str, rng: np.random.Generator) -> dict:
    possible = [c for c in conditions() if after(c, task)]
    condition = possible[int(rng.integers(len(possible)))]
    robot, scene = initial_state(condition)
    low, high = np.array(TABLE)
    for _ in range(TRIES):
        spots = {}
        for number, block in enumerate(BLOCKS):
            if condition[block] == "table":
                spots[number] = rng.uniform(low, high)
        if _fits(task, spots):
            break
    else:
        raise RuntimeError
    for number, spot in spots.items():
        pose = scene[6 + 6 * number : 12 + 6 * number]
        pose[:2] = spot
        pose[5] = rng.uniform(-math.pi, math.pi)
    for number, block in enumerate(BLOCKS):
        if condition[block] != "table":
            pose = scene[6 + 6 * number : 12 + 6 * number]
            pose[:2] += rng.uniform(-0.02, 0.02, 2) * (1, 0.5)
    return {"robot_obs": robot, "scene_obs": scene, "tasks": task}


def _fits(task, spots):
    points = list(spots.values())
    for i in range(len(points)):
        for j in range(i):
            if np.linalg.norm(points[i] - points[j]) < APART:
                return False
    verb, color, *_ = task.split("_")
    if verb == "push" and task != "push_into_drawer":
        number = [b.split("_")[0] for b in BLOCKS].index(color)
        side = 1 if task.endswith("right") else -1
        start = spots[number]
        if not 0.05 <= start[0] + side * 0.15 <= 0.36 and side > 0:
            return False
        if side < 0 and start[0] < 0.1:
            return False
        for other, point in spots.items():
            if other != number and 0 < (point[0] - start[0]) * side < 0.28 and abs(point[1] - start[1]) < 0.10:
                return False
    return True
