"""One move of the tool, and how to command it."""

import math
from dataclasses import dataclass

import numpy as np

from seerkit.envs.calvin.robot import Robot
from seerkit.envs.contract import ACTION_DIM, GRIPPER_CLOSED, GRIPPER_OPEN, MAX_ROTATION, MAX_TRANSLATION

REST_YAW = 1.5
"""Yaw of the tool at rest, radians: its fingers close along x."""
TURNED = 0.08
"""Largest Euler angle left between the tool and a move's end once it has arrived, radians."""
TURN_SPEED = 0.9


@dataclass(frozen=True)
class Move:
    """Say where the tool goes next.

    Attributes:
        place: ``(3,)`` metres.
        yaw: about the vertical, radians; at half of pi the fingers close along x.
        tilt: how far the fingertips lean forward from straight down, radians; at a yaw of half of pi, towards the
            table's back (+y).
        opened: whether the fingers are open.
        speed: largest component of the translation, as a share of the action's range.
        near: distance at which it has arrived, metres.
        rest: steps to stay once it has arrived.
        patience: steps it may lag behind once all of it has been commanded; then the next move begins all the same.
    """

    place: np.ndarray
    yaw: float = REST_YAW
    tilt: float = 0.0
    opened: bool = False
    speed: float = 0.6
    near: float = 0.01
    rest: int = 0
    patience: int = 12

    @property
    def angles(self) -> np.ndarray:
        """The extrinsic ``xyz`` Euler angles at its end, radians."""
        return np.array([math.pi, -self.tilt, self.yaw])


def arrived(robot: Robot, move: Move) -> bool:
    """Say whether the tool is where a move ends."""
    position, angles = robot.tool()
    near = float(np.linalg.norm(position - move.place)) < move.near
    return near and bool(np.abs(wrapped(move.angles - angles)).max() < TURNED)


def commanded(robot: Robot, move: Move) -> bool:
    """Say whether a move has been commanded to its end, whether or not the tool could follow."""
    position, angles = robot.commanded
    near = float(np.linalg.norm(position - move.place)) < 0.002
    return near and bool(np.abs(wrapped(move.angles - angles)).max() < 0.01)


def towards(robot: Robot, move: Move) -> np.ndarray:
    """Give the action ``(7,)`` float32 that commands the next step of a move, straight and within [-1, 1]."""
    position, angles = robot.commanded
    way = (move.place - position) / MAX_TRANSLATION
    turn = wrapped(move.angles - angles) / MAX_ROTATION
    action = np.zeros(ACTION_DIM, np.float32)
    action[:3] = way * min(1.0, move.speed / max(np.abs(way).max(), 1e-9))
    action[3:6] = turn * min(1.0, TURN_SPEED / max(np.abs(turn).max(), 1e-9))
    action[6] = GRIPPER_OPEN if move.opened else GRIPPER_CLOSED
    return action


def pointing(yaw: float, tilt: float) -> np.ndarray:
    """Give the direction ``(3,)`` from the hand to the fingertips."""
    return np.array([math.sin(tilt) * math.cos(yaw), math.sin(tilt) * math.sin(yaw), -math.cos(tilt)])


def shifted(point: np.ndarray, x: float, y: float, z: float) -> np.ndarray:
    """Give a point ``(3,)`` moved along the world's axes, metres."""
    return point + np.array([x, y, z])


def wrapped(angles: np.ndarray) -> np.ndarray:
    """Give angles between -pi and pi, radians."""
    return (angles + math.pi) % (2 * math.pi) - math.pi
