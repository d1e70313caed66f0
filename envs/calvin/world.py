"""One simulated play table: physics that repeats the original's to the last bit."""

from dataclasses import dataclass

import numpy as np

from seerkit.envs.calvin.client import Client, pybullet
from seerkit.envs.calvin.robot import Robot
from seerkit.envs.calvin.scene import Scene
from seerkit.envs.calvin.table import Table

TIMESTEP = 1 / 240
SUBSTEPS = 8
ROBOT_SIZE, SCENE_SIZE = 15, 24
Contact = tuple[int, int]
"""Body and link that something touches."""


@dataclass(frozen=True)
class BlockState:
    """Hold what the oracle asks of one block.

    Attributes:
        body: pybullet's number of it.
        position: ``(3,)`` metres.
        turn: ``(4,)`` quaternion, real part last.
        velocity: ``(6,)``: m/s, then rad/s.
        contacts: what it touches.
    """

    body: int
    position: np.ndarray
    turn: np.ndarray
    velocity: np.ndarray
    contacts: frozenset[Contact]

    @property
    def touched(self) -> frozenset[int]:
        """Name every body it touches."""
        return frozenset(body for body, _ in self.contacts)


@dataclass(frozen=True)
class Situation:
    """Hold everything the oracle compares between two moments.

    Attributes:
        blocks: each block by its name, in the scene's order.
        doors: position of the sliding door and the drawer, metres.
        lights: whether each light is on.
        robot: the robot's body.
        robot_touches: every body the robot touches.
        table: the table's body.
        links: number of each link of the table.
    """

    blocks: dict[str, BlockState]
    doors: dict[str, float]
    lights: dict[str, bool]
    robot: int
    robot_touches: frozenset[int]
    table: int
    links: dict[str, int]


class World:
    """Simulate one scene.

    Every reset loads everything anew: Bullet keeps contacts from the past, so that the same state would otherwise go on
    differently (0.1 mm at first, then chaos). Only then does an episode depend on its start and its actions alone.

    Args:
        scene: what to load.
        button: see :class:`seerkit.envs.calvin.table.Table`.

    Attributes:
        client: the world in pybullet.
        robot, table: what is in it.
        blocks: the bodies of the blocks, in the scene's order.
    """

    def __init__(self, scene: Scene, *, button: str = "head") -> None:
        self.scene, self._button = scene, button
        self.client = Client()
        self.load()

    def load(self) -> None:
        """Load everything anew, in the original's order: numbers of bodies and pairs of contacts follow from it."""
        self.client.resetSimulation()
        self.client.setTimeStep(TIMESTEP)
        self.client.setGravity(0, 0, -9.8)
        self.robot = Robot(self.client, self.scene)
        self.blocks = self.scene.load_blocks(self.client)
        self.table = Table(self.client, self.scene, button=self._button)
        self.scene.load_floor(self.client)

    def reset(self, robot: np.ndarray, scene: np.ndarray) -> None:
        """Load everything anew, put it where it shall be, and simulate one physics step, as the original does.

        Args:
            robot: ``(15,)`` as :meth:`Robot.observe` gives it; only the fingers' width and the joints are read.
            scene: ``(24,)`` as :meth:`observe` gives it.
        """
        self.load()
        self.table.reset(scene[:6])
        for body, pose in zip(self.blocks, scene[6:].reshape(-1, 6), strict=True):
            turn = pybullet.getQuaternionFromEuler(pose[3:])
            self.client.resetBasePositionAndOrientation(body, pose[:3], turn)
        self.robot.reset(robot[7:14], robot[6] / 2)
        self.client.stepSimulation()

    def step(self, action: np.ndarray) -> None:
        """Command one relative action and simulate a thirtieth of a second; see :meth:`Robot.command`."""
        self.robot.command(action)
        for _ in range(SUBSTEPS):
            self.client.stepSimulation()
        self.table.advance()

    def measure(self) -> tuple[np.ndarray, np.ndarray]:
        """Measure ``robot_obs`` ``(15,)`` and ``scene_obs`` ``(24,)``; see :meth:`Robot.observe`, :meth:`observe`."""
        return self.robot.observe(), self.observe()

    def observe(self) -> np.ndarray:
        """Measure everything the benchmark calls ``scene_obs``.

        Shape:
            ``(24,)`` float64: sliding door, drawer, button, switch (m), lightbulb and LED (0 or 1), then position (m)
            and extrinsic ``xyz`` Euler angles (rad) of each block, in the scene's order of blocks.
        """
        poses = []
        for body in self.blocks:
            position, turn = self.client.getBasePositionAndOrientation(body)
            poses += [*position, *pybullet.getEulerFromQuaternion(turn)]
        return np.array([*self.table.observe(), *poses])

    def situation(self) -> Situation:
        """Note everything the oracle may ask about this moment."""
        return Situation(
            blocks=dict(zip(self.scene.blocks, map(self._block, self.blocks), strict=True)),
            doors=self.table.doors(),
            lights=dict(self.table.lights),
            robot=self.robot.body,
            robot_touches=self.robot.touched(),
            table=self.table.body,
            links=self.table.links,
        )

    def close(self) -> None:
        """Free the world; closing again does nothing."""
        self.client.close()

    def _block(self, body: int) -> BlockState:
        position, turn = self.client.getBasePositionAndOrientation(body)
        linear, angular = self.client.getBaseVelocity(body)
        contacts = frozenset((contact[2], contact[4]) for contact in self.client.getContactPoints(bodyA=body))
        return BlockState(body, np.array(position), np.array(turn), np.array([*linear, *angular]), contacts)
