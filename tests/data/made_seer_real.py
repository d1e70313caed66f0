"""Folders with one folder per step, as Seer's scripts read and write them, by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import h5py
import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from tests.data import made_libero

Kind = Literal["robot", "droid", "libero"]
SCALE = np.array([0.02, 0.02, 0.02, 0.05, 0.05, 0.05, 1.0])


def write(path: Path, episodes: Sequence[dict[str, Any]], kind: Kind = "robot") -> Path:
    """Write episodes; numbers are kept, pictures go through JPEG.

    Args:
        path: where; one experiment ``0000`` of a real robot, or ``episodes`` of a converted data set.
        episodes: of `tests.data.made`.
        kind: whose file a step holds.
    """
    experiment = path / ("0000" if kind == "robot" else "episodes")
    for number, episode in enumerate(episodes):
        folder, commanded = experiment / f"{number:06d}", commands(episode)
        for step in range(len(episode["action"])):
            place = folder / "steps" / f"{step:04d}"
            place.mkdir(parents=True)
            for camera in ("primary", "wrist"):
                picture = Image.fromarray(episode["images"][camera][step].transpose(1, 2, 0))
                picture.save(place / f"image_{camera}.jpg", quality=95, subsampling=0)
            WRITE[kind](place, episode, step, commanded)
        if kind != "robot":
            with h5py.File(folder / "meta_info.h5", "w") as file:
                file["length"] = len(episode["action"])
    return path


def commands(episode: dict[str, Any]) -> np.ndarray:
    """The poses an episode's actions ask for, one after the other, computed by SciPy: ``(L, 7)`` with the gripper."""
    pose, reached = _matrix(episode["state"][0, :6].astype(np.float64)), []
    for action in episode["action"].astype(np.float64):
        pose = pose @ _matrix(action[:6] * SCALE[:6])
        angles = Rotation.from_matrix(pose[:3, :3]).as_euler("xyz")
        reached.append(np.concatenate([pose[:3, 3], angles, action[6:]]))
    return np.stack(reached)


def _matrix(numbers: np.ndarray) -> np.ndarray:
    pose = np.eye(4)
    pose[:3, 3], pose[:3, :3] = numbers[:3], Rotation.from_euler("xyz", numbers[3:]).as_matrix()
    return pose


def robot(place: Path, episode: dict[str, Any], step: int, commanded: np.ndarray) -> None:
    state = episode["state"][step].astype(np.float64)
    np.savez_compressed(
        place / "other.npz",
        joints=np.zeros(7),
        gripper_pose=state[:6],
        gripper_open_state=state[6:],
        action_gripper_pose=commanded[step],
        delta_cur_2_last_action=episode["action"][step] * SCALE,
        language_instruction=episode["instruction"],
    )


def droid(place: Path, episode: dict[str, Any], step: int, commanded: np.ndarray) -> None:
    state = episode["state"][step].astype(np.float64)
    with h5py.File(place / "other.h5", "w") as file:
        _say(file, episode, step)
        file["action_delta_wrist_pose"] = episode["action"][step] * SCALE
        file["action_wrist_pose"] = commanded[step]
        seen = file.create_group("observation")
        seen["gripper_pose6d"], seen["gripper_open_state"] = state[:6], state[6:]
        seen["joint_position"], seen["gripper_position"] = np.zeros(7), np.zeros(1)


def libero(place: Path, episode: dict[str, Any], step: int, commanded: np.ndarray) -> None:
    del commanded
    state = made_libero.state(episode)[step].astype(np.float64)
    with h5py.File(place / "other.h5", "w") as file:
        _say(file, episode, step)
        file["action"] = episode["action"][step].astype(np.float64)
        seen = file.create_group("observation")
        seen["proprio"], seen["tcp_pose"] = np.zeros(7), state[:6]
        seen["gripper_state"], seen["gripper_position"] = 1.0, state[6:]


def _say(file: h5py.File, episode: dict[str, Any], step: int) -> None:
    text = h5py.string_dtype(encoding="utf-8")
    file.create_dataset("language_instruction", data=np.array(episode["instruction"], dtype=text))
    file["episode_length"], file["timestep"] = len(episode["action"]), step


WRITE = {"robot": robot, "droid": droid, "libero": libero}
