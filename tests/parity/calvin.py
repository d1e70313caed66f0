"""Find what was recorded from the original CALVIN simulator."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from seerkit.assets import folder
from tests.parity.golden import ROOT

FOLDER = ROOT / "calvin"
KINDS = ("trajectories", "images", "protocol")


def files() -> list[Path]:
    """Every recorded file, in order of name; without notes for people."""
    return sorted(path for path in FOLDER.iterdir() if path.suffix != ".md") if FOLDER.is_dir() else []


def kind(path: Path) -> str:
    """What a file records, told by its name; a file of no known kind is an error."""
    found = path.stem.partition("_")[0]
    if found not in KINDS:
        raise LookupError(f"{path.name} is of no known kind; known are {KINDS}")
    return found


def of_kind(wanted: str) -> list[Path]:
    return [path for path in files() if kind(path) == wanted]


def scene(path: Path) -> str:
    return path.stem.rpartition("_")[2]


def assets() -> Path:
    return folder("calvin")


@dataclass(frozen=True)
class Episode:
    """One recorded episode; `tasks[t]` is what the oracle said after action `t`, against the first state."""

    condition: dict[str, int | str]
    robot: np.ndarray
    scene: np.ndarray
    actions: np.ndarray
    tasks: list[list[str]]


@cache
def episodes(path: Path) -> tuple[Episode, ...]:
    recorded = np.load(path)
    told = json.loads(str(recorded["meta"]))
    names = ("robot_obs", "scene_obs", "actions")
    return tuple(
        Episode(meta["initial_state"], *(recorded[f"{i}_{name}"] for name in names), meta["tasks"])
        for i, meta in enumerate(told)
    )


def pictures(path: Path) -> Iterator[dict[str, np.ndarray]]:
    """Each recorded state of a file of images."""
    recorded = np.load(path)
    states = sorted({name.partition("_")[0] for name in recorded.files})
    for state in states:
        yield {
            name.removeprefix(f"{state}_"): recorded[name] for name in recorded.files if name.startswith(f"{state}_")
        }
