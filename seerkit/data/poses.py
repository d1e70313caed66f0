"""Poses of a tool as six numbers: position in metres, extrinsic-xyz Euler angles in radians."""

from __future__ import annotations

import numpy as np


def matrices(poses: np.ndarray) -> np.ndarray:
    """Turn poses into homogeneous matrices.

    Shape:
        poses: ``(..., 6)``; further numbers are ignored.
        returns: float64 ``(..., 4, 4)``.
    """
    poses = np.asarray(poses, np.float64)
    (cx, cy, cz), (sx, sy, sz) = (np.moveaxis(turn(poses[..., 3:6]), -1, 0) for turn in (np.cos, np.sin))
    rows = [
        [cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx, poses[..., 0]],
        [sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx, poses[..., 1]],
        [-sy, cy * sx, cy * cx, poses[..., 2]],
        [np.zeros_like(cx), np.zeros_like(cx), np.zeros_like(cx), np.ones_like(cx)],
    ]
    return np.stack([np.stack(row, axis=-1) for row in rows], axis=-2)


def sixes(matrices: np.ndarray) -> np.ndarray:
    """Turn homogeneous matrices into poses; the pitch lies in [-pi/2, pi/2], and at its ends the yaw is 0.

    Shape:
        matrices: ``(..., 4, 4)``.
        returns: float64 ``(..., 6)``.
    """
    turn = matrices[..., :3, :3]
    level = np.hypot(turn[..., 0, 0], turn[..., 1, 0])
    locked = level < 1e-9
    roll = np.where(
        locked,
        np.arctan2(-turn[..., 1, 2], turn[..., 1, 1]),
        np.arctan2(turn[..., 2, 1], turn[..., 2, 2]),
    )
    pitch = np.arctan2(-turn[..., 2, 0], level)
    yaw = np.where(locked, 0.0, np.arctan2(turn[..., 1, 0], turn[..., 0, 0]))
    return np.concatenate([matrices[..., :3, 3], np.stack([roll, pitch, yaw], axis=-1)], axis=-1)


def steps_between(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Express poses in the frames of others: the motion from one to the other, as the tool sees it.

    Seer's ``inv(T_before) @ T_after`` (``compute_delta_action``).

    Shape:
        before, after: ``(..., 6)``.
        returns: float64 ``(..., 6)``.
    """
    return sixes(np.linalg.inv(matrices(before)) @ matrices(after))


def follow(start: np.ndarray, steps: np.ndarray) -> np.ndarray:
    """Undo `steps_between` along a path.

    Shape:
        start: ``(6,)``, the pose before the first step.
        steps: ``(L, 6)``, each in the frame that the one before led to.
        returns: float64 ``(L, 6)``, the pose after each step.
    """
    reached, path = matrices(start), []
    for step in matrices(steps):
        reached = reached @ step
        path.append(reached)
    return sixes(np.stack(path))
