"""Scripted experts: they read the simulator and act through the environment's own actions."""

import math
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from seerkit.envs.calvin.plans import PLANS, Move
from seerkit.envs.calvin.world import World
from seerkit.envs.contract import ACTION_DIM, GRIPPER_CLOSED, GRIPPER_OPEN, MAX_ROTATION, MAX_TRANSLATION


class Expert:
    """Do the task that is asked for, as often as it takes."""

    def __init__(self, rng: np.random.Generator, noise: float = 0.0) -> None:
        self._rng, self._noise = rng, noise
        self._task = ""
        self._moves: Iterator[Move] = iter(())
        self._move: Move | None = None
        self._since = self._stayed = 0

    def act(self, env: gymnasium.Env[Any, Any]) -> np.ndarray:
        base: Any = env.unwrapped
        world: World = base.world
        if base.goal != self._task:
            self._task, self._moves, self._move = base.goal, PLANS[base.goal](world), None
        move = self._current(world, base.goal)
        return towards(world, move)

    def _current(self, world: World, task: str) -> Move:
        if self._move is not None:
            self._since += 1
            at = arrived(world, self._move)
            self._stayed = self._stayed + 1 if at else 0
            if not (self._stayed > self._move.rest or self._since > self._move.patience):
                return self._move
        following = next(self._moves, None)
        if following is None:
            self._moves = PLANS[task](world)
            following = next(self._moves)
        self._move, self._since, self._stayed = following, 0, 0
        return following


def arrived(world, move):
    position, angles = world.robot.tool()
    gap = np.abs(wrapped(wanted(move) - np.array(angles)))
    return np.linalg.norm(np.array(position) - move.position) < move.near and gap.max() < 0.08


def wanted(move):
    return np.array([math.pi, -move.tilt, move.yaw])


def wrapped(a):
    return (np.asarray(a) + math.pi) % (2 * math.pi) - math.pi


def towards(world: World, move: Move) -> np.ndarray:
    robot = world.robot
    way = (np.array(move.position) - robot._target) / MAX_TRANSLATION
    turn = wrapped(wanted(move) - robot._target_angles) / MAX_ROTATION
    action = np.zeros(ACTION_DIM, np.float32)
    action[:3] = way * min(1.0, move.speed / max(np.abs(way).max(), 1e-9))
    action[3:6] = turn * min(1.0, 0.9 / max(np.abs(turn).max(), 1e-9))
    action[6] = GRIPPER_OPEN if move.opened else GRIPPER_CLOSED
    return action
