"""A small CALVIN folder, written in the official layout from the episodes of `tests.data.made`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.data.made import episodes

LENGTHS = (30, 24, 41)
FIRST = (17, 47, 120)
"""Number of the first file of each episode: the second follows the first at once, the third after a gap."""
SENTENCES = (
    (0, 3, 17, "push the red block to the left", "push_red_block_left"),
    (0, 10, 25, "go push the red block left", "push_red_block_left"),
    (1, 0, 19, "open the drawer", "open_drawer"),
    (2, 14, 40, "turn on the light bulb", "turn_on_lightbulb"),
)
"""Episode, first and last step in it (both included), sentence, task."""
BETWEEN = ((0, 0, 2), (0, 26, 29), (1, 20, 23), (2, 0, 13))
"""Episode, first and last step of every span that no sentence touches."""


def write_calvin(
    folder: Path,
    *,
    lengths: Sequence[int] = LENGTHS,
    first: Sequence[int] = FIRST,
    sentences: Sequence[tuple[int, int, int, str, str]] = SENTENCES,
    seed: int = 0,
    size: tuple[int, int] = (20, 20),
    wrist: tuple[int, int] = (12, 12),
) -> list[dict[str, Any]]:
    """Write a split and return its episodes, as `tests.data.made.episodes` gives them, with ``depth`` in metres."""
    made = episodes(len(lengths), lengths, size=size, wrist=wrist, seed=seed)
    folder.mkdir(parents=True)
    for episode, start in zip(made, first, strict=True):
        grey = {name: frames[:, 0] for name, frames in episode["images"].items()}
        episode["depth"] = {name: (0.5 + frame / 128).astype(np.float32) for name, frame in grey.items()}
        for step in range(len(episode["state"])):
            np.savez_compressed(folder / f"episode_{start + step:07d}.npz", **arrays(episode, step))
    ends = np.array(first) + np.array(lengths) - 1
    np.save(folder / "ep_start_end_ids.npy", np.stack([first, ends], axis=1).astype(np.int64))
    scenes = {"calvin_scene_A": [first[0], int(ends[0])], "calvin_scene_B": [int(ends[0]) + 1, int(ends[-1]) + 1]}
    np.save(folder / "scene_info.npy", np.array(scenes), allow_pickle=True)
    write_sentences(folder, first, sentences)
    return made


def arrays(episode: dict[str, Any], step: int) -> dict[str, np.ndarray]:
    """Return what one file holds: double-precision vectors, pictures of height, width, channels, depth in metres."""
    pose, gripper = episode["state"][step, :6], episode["state"][step, 6]
    observed = np.concatenate([pose, [0.08 * (gripper > 0)], np.linspace(-1, 1, 7), [gripper]])
    moved = np.concatenate([pose + 0.01, [gripper]])
    return {
        "actions": moved.astype(np.float64),
        "rel_actions": episode["action"][step].astype(np.float64),
        "robot_obs": observed.astype(np.float64),
        "scene_obs": np.linspace(0, 1, 24),
        "rgb_static": episode["images"]["primary"][step].transpose(1, 2, 0),
        "rgb_gripper": episode["images"]["wrist"][step].transpose(1, 2, 0),
        "rgb_tactile": np.zeros((4, 3, 6), np.uint8),
        "depth_static": episode["depth"]["primary"][step],
        "depth_gripper": episode["depth"]["wrist"][step],
        "depth_tactile": np.zeros((4, 3, 2), np.float32),
    }


def write_sentences(folder: Path, first: Sequence[int], sentences: Sequence[tuple[int, int, int, str, str]]) -> None:
    """Write ``lang_annotations/auto_lang_ann.npy`` with embeddings, which no reader of ours needs."""
    notes = {
        "language": {
            "ann": [text for *_, text, _ in sentences],
            "task": [task for *_, task in sentences],
            "emb": [np.full((1, 4), index, np.float32) for index in range(len(sentences))],
        },
        "info": {"episodes": [], "indx": [(first[e] + a, first[e] + b) for e, a, b, *_ in sentences]},
    }
    file = folder / "lang_annotations" / "auto_lang_ann.npy"
    file.parent.mkdir(exist_ok=True)
    np.save(file, np.array(notes), allow_pickle=True)


def write_between(file: Path, *, first: Sequence[int] = FIRST) -> None:
    """Write the list of spans without a sentence."""
    file.parent.mkdir(exist_ok=True)
    np.save(file, np.array([(first[e] + a, first[e] + b) for e, a, b in BETWEEN], np.int64))
