"""Write CALVIN's official layout: one ``.npz`` file per step, and tables beside them (Mees et al., 2022)."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import yaml

from seerkit.data.readers.calvin import SENTENCES, TABLE

EMBEDDING = 384
"""Length of the official sentence embeddings (MiniLM); ours are zeros."""
LARGEST = np.array([0.02] * 3 + [0.05] * 3)
"""What a relative action of 1 stands for: metres and radians per step."""
NORMALIZE = "calvin_agent.utils.transforms.NormalizeVector"
"""What the official training code looks for in ``statistics.yaml``."""
GRIPPER = 14
"""Where ``robot_obs`` holds the last gripper command."""


@dataclasses.dataclass(frozen=True)
class Sentence:
    """Say what is done in a span of frames.

    Attributes:
        first, last: numbers of the frames' files, both included.
        text: the sentence.
        task: the task's name.
    """

    first: int
    last: int
    text: str
    task: str


@dataclasses.dataclass(frozen=True)
class Vectors:
    """Hold what an episode's statistics are taken of.

    Attributes:
        actions: ``(T, 7)``.
        robot_obs: ``(T, 15)``.
        scene_obs: ``(T, 24)``.
    """

    actions: np.ndarray
    robot_obs: np.ndarray
    scene_obs: np.ndarray


def absolute_action(after: np.ndarray) -> np.ndarray:
    """Give the official absolute action: pose and gripper command as the next frame measures them.

    Shape:
        after: ``(15,)`` ``robot_obs`` of the next frame.
        returns: ``(7,)``.
    """
    return np.concatenate([after[:6], after[GRIPPER:]])


def relative_action(action: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Give the official relative action: what was measured to have moved, cut at 0.02 m and 0.05 rad, over those.

    It is not what was commanded: the arm lags behind the commands, and what it moves beyond the limits is lost.

    Shape:
        action: ``(7,)`` the absolute action.
        before: ``(15,)`` ``robot_obs`` of the frame itself.
        returns: ``(7,)``, the first six in [-1, 1].
    """
    moved = action[:6] - before[:6]
    moved[3:] = (moved[3:] + np.pi) % (2 * np.pi) - np.pi
    return np.concatenate([np.clip(moved / LARGEST, -1, 1), action[6:]])


def write_step(
    folder: Path,
    number: int,
    images: dict[str, np.ndarray],
    robot: np.ndarray,
    scene: np.ndarray,
    *,
    after: np.ndarray,
) -> np.ndarray:
    """Write one frame and return its absolute action.

    Args:
        folder: of the split.
        number: the file's.
        images: ``primary`` and ``wrist``, ``(3, H, W)`` uint8.
        robot: ``(15,)`` ``robot_obs`` of this frame.
        scene: ``(24,)`` ``scene_obs`` of this frame.
        after: ``(15,)`` ``robot_obs`` of the next frame.
    """
    action = absolute_action(after)
    np.savez_compressed(
        folder / f"episode_{number:07d}.npz",
        actions=action,
        rel_actions=relative_action(action, robot),
        robot_obs=robot,
        scene_obs=scene,
        rgb_static=images["primary"].transpose(1, 2, 0),
        rgb_gripper=images["wrist"].transpose(1, 2, 0),
    )
    return action


def write_tables(
    folder: Path,
    *,
    bounds: Sequence[tuple[int, int]],
    scene: str,
    sentences: Sequence[Sentence],
    vectors: Sequence[Vectors],
) -> None:
    """Write everything beside the frames of a split.

    ``emb`` of the sentences is zeros: the official ones come from a language model. ``embeddings.npy`` of the official
    validation split is left out, because zeros there would make a policy deaf without an error.

    Args:
        folder: of the split.
        bounds: first and last file of each episode, in order.
        scene: such as ``calvin_scene_D``.
        sentences: what is said of which frames.
        vectors: of each episode, for ``statistics.yaml``.
    """
    np.save(folder / TABLE, np.array(bounds, np.int64))
    np.save(folder / "scene_info.npy", np.array({scene: [bounds[0][0], bounds[-1][1]]}), allow_pickle=True)
    notes = {
        "language": {
            "ann": [sentence.text for sentence in sentences],
            "task": [sentence.task for sentence in sentences],
            "emb": np.zeros((len(sentences), 1, EMBEDDING), np.float32),
        },
        "info": {"episodes": [], "indx": [(sentence.first, sentence.last) for sentence in sentences]},
    }
    file = folder / SENTENCES[0]
    file.parent.mkdir()
    np.save(file, np.array(notes), allow_pickle=True)
    (folder / "statistics.yaml").write_text(yaml.safe_dump(_statistics(vectors), sort_keys=False), encoding="utf-8")


def _statistics(vectors: Sequence[Vectors]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("robot_obs", "scene_obs"):
        values = np.concatenate([getattr(one, name) for one in vectors])
        numbers = {"mean": values.mean(0).tolist(), "std": values.std(0).tolist()}
        found[name] = [{"_target_": NORMALIZE, **numbers}]
    actions = np.concatenate([one.actions for one in vectors])
    return {**found, "act_min_bound": actions.min(0).tolist(), "act_max_bound": actions.max(0).tolist()}
