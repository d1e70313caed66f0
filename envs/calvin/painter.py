"""Draw a mirrored play table; runs in the process that :mod:`seerkit.envs.calvin.render` starts."""

import ctypes
import importlib.util
import sys
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from seerkit.envs.calvin.client import Client, pybullet
from seerkit.envs.calvin.robot import load_robot
from seerkit.envs.calvin.scene import Scene, read_scene
from seerkit.envs.calvin.table import paint_lights
from seerkit.envs.calvin.world import World

SIZES = {"primary": 200, "wrist": 84}
"""Side of each camera's square picture, pixels."""
NEAR, FAR, WRIST_FAR = 0.01, 10.0, 2.0
FIELD, WRIST_FIELD = 10.0, 75.0
EYE = (2.871459009488717, -2.166602199425597, 2.555159848480571)
LOOKS_AT = (-0.026242351159453392, -0.0302329882979393, 0.3920000493526459)
UP = (0.4041403970338857, 0.22629790978217404, 0.8862616969685161)
READY = b"ready"


@dataclass(frozen=True)
class View:
    """Hold where a camera is and what it covers, as OpenGL's two matrices, column by column."""

    size: int
    view: tuple[float, ...]
    projection: tuple[float, ...]


def pose_of(world: World) -> np.ndarray:
    """Give all that decides a picture of a world, as one vector of float64 for :meth:`Painter.draw`."""
    client, robot, table = world.client, world.robot.body, world.table.body
    joints = [client.joint(body, joint) for body in (robot, table) for joint in client.movable(body)]
    blocks = [number for body in world.blocks for part in client.getBasePositionAndOrientation(body) for number in part]
    position, turn = client.getLinkState(robot, world.robot.camera)[:2]
    return np.array([*joints, *blocks, *map(float, world.table.lights.values()), *position, *turn])


class Painter:
    """Draw both cameras' pictures, in a world that takes over poses and is never simulated.

    Args:
        scene: what stands in the world.
        plugin: file of pybullet's EGL renderer; None draws with TinyRenderer.
        near: distance of the standing camera's near plane, metres.
    """

    def __init__(self, scene: Scene, *, plugin: str | None, near: float) -> None:
        size = max(SIZES.values())
        self._client = client = Client(f"--width={size} --height={size}")
        if plugin is not None and client.loadPlugin(plugin, "_eglRendererPlugin") < 0:
            raise RuntimeError(f"pybullet cannot load {plugin}")
        self._scene = scene
        self._robot = load_robot(client, scene)
        self._blocks = scene.load_blocks(client)
        self._table = scene.load_table(client)
        scene.load_floor(client)
        self._joints = [(body, joint) for body in (self._robot, self._table) for joint in client.movable(body)]
        self._lights: dict[str, bool] = {}
        self._standing = View(
            SIZES["primary"],
            pybullet.computeViewMatrix(EYE, LOOKS_AT, UP),
            pybullet.computeProjectionMatrixFOV(FIELD, 1.0, near, FAR),
        )
        for _ in range(2):  # EGL's first two pictures after a start have no shadows
            self._shoot(self._standing)

    def draw(self, pose: np.ndarray) -> list[np.ndarray]:
        """Draw what the cameras of :data:`SIZES` see, each ``(size, size, 3)`` uint8, RGB, first row at the top."""
        parts = np.cumsum([len(self._joints), 7 * len(self._blocks), len(self._scene.lights)])
        joints, blocks, lights, camera = np.split(pose, parts)
        for (body, joint), value in zip(self._joints, joints, strict=True):
            self._client.resetJointState(body, joint, value)
        for body, where in zip(self._blocks, blocks.reshape(-1, 7), strict=True):
            self._client.resetBasePositionAndOrientation(body, where[:3], where[3:])
        self._light(dict(zip(self._scene.lights, map(bool, lights), strict=True)))
        return [self._shoot(self._standing), self._shoot(_wrist(camera))]

    def _light(self, lights: dict[str, bool]) -> None:
        if lights != self._lights:
            self._lights = lights
            paint_lights(self._client, self._table, self._scene, lights)

    def _shoot(self, view: View) -> np.ndarray:
        mask = pybullet.ER_NO_SEGMENTATION_MASK  # it takes a third of the time, and nobody asks for it
        picture = self._client.getCameraImage(view.size, view.size, view.view, view.projection, flags=mask)
        return np.ascontiguousarray(np.asarray(picture[2], np.uint8).reshape(view.size, view.size, 4)[..., :3])


def _wrist(camera: np.ndarray) -> View:
    """Look along the y axis of the link that carries the camera, with its z axis down."""
    position, axes = camera[:3], np.array(pybullet.getMatrixFromQuaternion(camera[3:])).reshape(3, 3)
    view = pybullet.computeViewMatrix(position, position + axes[:, 1], -axes[:, 2])
    return View(SIZES["wrist"], view, pybullet.computeProjectionMatrixFOV(WRIST_FIELD, 1.0, NEAR, WRIST_FAR))


def serve(socket: int, scene: str, assets: str, renderer: str, near: float) -> None:
    """Answer every pose with its pictures until the other side hangs up.

    Args:
        socket: number of a connected socket this process has inherited.
        scene: its name.
        assets: folder of the benchmark's files.
        renderer: ``"egl"`` or ``"tiny"``.
        near: see :class:`Painter`.
    """
    found = importlib.util.find_spec("eglRenderer") if renderer == "egl" else None
    if renderer == "egl" and (found is None or found.origin is None):
        sys.exit("pybullet came without its eglRenderer plugin")
    painter = Painter(read_scene(scene, Path(assets)), plugin=found.origin if found else None, near=near)
    ctypes.CDLL(None).fflush(None)  # what the plugin has said about the graphics device, kept back by C's stdout
    line = Connection(socket)
    line.send_bytes(READY)
    while True:
        try:
            pose = np.frombuffer(line.recv_bytes(), np.float64)
        except EOFError:
            return
        line.send_bytes(b"".join(picture.tobytes() for picture in painter.draw(pose)))
