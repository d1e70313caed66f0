"""LIBERO files as the benchmark's ``create_dataset.py`` writes them, by hand."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

FINGER = 41 / 1024
"""Metres, about that of the Panda's open hand."""


def write(path: Path, episodes: Sequence[dict[str, Any]]) -> Path:
    """Write a suite: one file per sentence, in the order of the episodes; every number is kept."""
    path.mkdir(parents=True)
    tasks = itertools.groupby(episodes, key=lambda episode: episode["instruction"])
    for number, (sentence, demos) in enumerate(tasks, start=1):
        name = f"KITCHEN_SCENE{number:02d}_{sentence.replace(' ', '_')}"
        with h5py.File(path / f"{name}_demo.hdf5", "w") as file:
            data = file.create_group("data")
            data.attrs["bddl_file_name"] = f"libero_90/{name}.bddl"
            data.attrs["problem_info"] = json.dumps({"language_instruction": f"Please {sentence}"})
            data.attrs["macros_image_convention"] = "opengl"
            for index, episode in enumerate(demos):
                demo = data.create_group(f"demo_{index}")
                _fill(demo, episode)
    return path


def state(episode: dict[str, Any]) -> np.ndarray:
    """What LIBERO's state says of an episode: the pose, and the fingers, which move in opposite directions."""
    left = np.where(episode["state"][:, 6:] > 0, FINGER, 0.0)
    return np.concatenate([episode["state"][:, :6], left, -left], axis=1).astype(np.float32)


def _fill(demo: h5py.Group, episode: dict[str, Any]) -> None:
    numbers, length = state(episode).astype(np.float64), len(episode["action"])
    demo.attrs["num_samples"] = length
    demo["actions"] = episode["action"].astype(np.float64)
    demo["states"], demo["robot_states"] = np.zeros((length, 92)), np.zeros((length, 9))
    demo["rewards"] = demo["dones"] = np.eye(1, length, length - 1, dtype=np.uint8)[0]
    seen = demo.create_group("obs")
    seen["agentview_rgb"] = episode["images"]["primary"].transpose(0, 2, 3, 1)
    seen["eye_in_hand_rgb"] = episode["images"]["wrist"].transpose(0, 2, 3, 1)
    seen["ee_states"], seen["ee_pos"], seen["ee_ori"] = numbers[:, :6], numbers[:, :3], numbers[:, 3:6]
    seen["gripper_states"], seen["joint_states"] = numbers[:, 6:], np.zeros((length, 7))
