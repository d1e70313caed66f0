"""The play table: a sliding door, a drawer, a button, a switch and two lights."""

import numpy as np

from seerkit.envs.calvin.client import Client, pybullet
from seerkit.envs.calvin.scene import Scene

FRICTION = 4.0
"""Force with which the motors of the table's joints hold against a push, newtons."""
BUTTONS = ("head", "1431a46")
"""Versions of the original whose button can be had; see :class:`Table`."""
OFF_COLOR = [1.0, 1.0, 1.0, 1.0]


class Table:
    """Load the table and keep the logic of its button, switch and lights.

    The button toggles its light each time it is newly pressed; the switch's light is on while it is up. Both are looked
    at once per control step.

    Args:
        client: the world.
        scene: which table.
        button: ``"head"``: after a reset the button knows whether its light is on. ``"1431a46"``: it takes the light to
            be off, so that the first press does nothing if it is on; this is the version the benchmark's repository
            has asked for since May 2023.

    Attributes:
        body: pybullet's number of the table.
        links: number of each link by name.
        lights: whether each light is on.
    """

    def __init__(self, client: Client, scene: Scene, *, button: str) -> None:
        self._client, self._scene, self._knows_light = client, scene, button == "head"
        self.body = scene.load_table(client)
        self.links = client.links(self.body)
        joints = client.joints(self.body)
        self._doors = [joints[name] for name in scene.doors]
        self._button, self._switch = joints[scene.button[0]], joints[scene.switch[0]]
        self._button_threshold, self._switch_threshold = self._middle(self._button), self._middle(self._switch)
        for joint in (*self._doors, self._switch):
            client.setJointMotorControl2(self.body, joint, pybullet.VELOCITY_CONTROL, force=FRICTION)
        client.setJointMotorControl2(
            self.body, self._button, pybullet.POSITION_CONTROL, targetPosition=0, force=FRICTION
        )
        self.lights = dict.fromkeys(scene.lights, False)
        self._toggled = self._pressed = self._up = False

    def reset(self, state: np.ndarray) -> None:
        """Put joints and lights somewhere at once.

        Args:
            state: ``(6,)``: door, drawer, button, switch (m), then each light, 0 or 1.
        """
        for joint, value in zip((*self._doors, self._button, self._switch), state[:4], strict=True):
            self._client.resetJointState(self.body, joint, value)
        self.lights = {name: bool(value) for name, value in zip(self.lights, state[4:], strict=True)}
        self._toggled = self._knows_light and self.lights[self._scene.button[1]]
        self._pressed = self._up = False

    def advance(self) -> None:
        """Let the button and the switch do what they do, once per control step."""
        button, switch = self._client.positions(self.body, (self._button, self._switch))
        pressed = button > self._button_threshold
        if pressed and not self._pressed:
            self._toggled = not self._toggled
            self.lights[self._scene.button[1]] = self._toggled
        self._pressed = pressed
        up = switch > self._switch_threshold
        if up != self._up:
            self.lights[self._scene.switch[1]] = up
        self._up = up

    def doors(self) -> dict[str, float]:
        """Measure the sliding door and the drawer, metres."""
        return dict(zip(self._scene.doors, self._client.positions(self.body, self._doors), strict=True))

    def observe(self) -> list[float]:
        """Measure door, drawer, button, switch, and each light as 0 or 1."""
        joints = self._client.positions(self.body, (*self._doors, self._button, self._switch))
        return [*joints, *map(float, self.lights.values())]

    def _middle(self, joint: int) -> float:
        low, high = self._client.getJointInfo(self.body, joint)[8:10]
        return (low + high) / 2


def paint_lights(client: Client, body: int, scene: Scene, lights: dict[str, bool]) -> None:
    """Give the lights of a table the colours of on and off."""
    links = client.links(body)
    for name, (link, color) in scene.lights.items():
        client.changeVisualShape(body, links[link], rgbaColor=color if lights[name] else OFF_COLOR)
