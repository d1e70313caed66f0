"""What stands on the play table of a scene, read from the benchmark's own scene file."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from seerkit.envs.calvin.client import Client, pybullet

SCENES = ("A", "B", "C", "D")
LOAD_SEED = 0
"""The original draws the poses at which blocks are loaded from this seed. A reset moves them at once, but the order in
which Bullet pairs bodies, and with it the last bits of every contact, remembers where they were first."""


@dataclass(frozen=True)
class Scene:
    """Hold the contents of one scene.

    Attributes:
        name: ``A`` to ``D``.
        data: the folder of URDFs and meshes.
        scaling: by which blocks and table are scaled.
        base: where the robot stands, ``(3,)`` metres.
        rest: joint angles ``(7,)`` of the arm at rest, radians.
        surfaces: two opposite corners of each region blocks may be loaded into, ``(2, 3)`` metres.
        blocks: URDF of each block; their order is that of the observation, and differs between scenes.
        table: URDF of the table.
        doors: the table's joints without an effect: the sliding door, the drawer.
        button: the button's joint and the light it toggles.
        switch: the switch's joint and the light it turns on and off.
        lights: link and RGBA colour of each light.
    """

    name: str
    data: Path
    scaling: float
    base: tuple[float, float, float]
    rest: np.ndarray
    surfaces: dict[str, np.ndarray]
    blocks: dict[str, str]
    table: str
    doors: tuple[str, ...]
    button: tuple[str, str]
    switch: tuple[str, str]
    lights: dict[str, tuple[str, list[float]]]

    def load_blocks(self, client: Client) -> list[int]:
        """Load the blocks where the original loads them and give their bodies, in order."""
        rng = np.random.default_rng(LOAD_SEED)
        bodies = []
        for file in self.blocks.values():
            low, high = self.surfaces[rng.choice(list(self.surfaces))]
            position = rng.uniform(low, high)
            turn = pybullet.getQuaternionFromEuler(rng.uniform([0, 0, -np.pi], [0, 0, np.pi]))
            bodies.append(client.loadURDF(str(self.data / file), position, turn, globalScaling=self.scaling))
        return bodies

    def load_table(self, client: Client) -> int:
        """Load the table and give its body."""
        return client.loadURDF(str(self.data / self.table), [0, 0, 0], [0, 0, 0, 1], globalScaling=self.scaling)

    def load_floor(self, client: Client) -> int:
        """Load the floor and give its body."""
        return client.loadURDF(str(self.data / "plane/plane.urdf"))


def read_scene(name: str, assets: Path) -> Scene:
    """Read a scene from the folder of assets.

    Args:
        name: ``A`` to ``D``.
        assets: holds ``conf/scene`` and ``data``; see :mod:`seerkit.assets`.

    Raises:
        ValueError: if there is no such scene.
    """
    if name not in SCENES:
        raise ValueError(f"expected a scene of {SCENES}, given {name!r}")
    given = yaml.safe_load((assets / f"conf/scene/calvin_scene_{name}.yaml").read_text(encoding="utf-8"))
    table = given["objects"]["fixed_objects"]["table"]
    blocks = given["objects"]["movable_objects"]
    return Scene(
        name=name,
        data=assets / "data",
        scaling=given["global_scaling"],
        base=tuple(given["robot_base_position"]),
        rest=np.array(given["robot_initial_joint_positions"]),
        surfaces={surface: np.array(corners) for surface, corners in given["surfaces"].items()},
        blocks={block: described["file"] for block, described in blocks.items()},
        table=table["file"],
        doors=tuple(table["joints"]),
        button=_effect(table["buttons"]),
        switch=_effect(table["switches"]),
        lights={light: (described["link"], described["color"]) for light, described in table["lights"].items()},
    )


def _effect(described: dict[str, Any]) -> tuple[str, str]:
    ((joint, given),) = described.items()
    return joint, given["effect"]
