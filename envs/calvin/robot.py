"""The Panda beside the table: how it is loaded, commanded and measured."""

import numpy as np

from seerkit.envs.calvin.client import Client, pybullet
from seerkit.envs.calvin.scene import Scene
from seerkit.envs.contract import GRIPPER_OPEN, MAX_ROTATION, MAX_TRANSLATION

FILE = "franka_panda/panda_longer_finger.urdf"
ARM = range(7)
FINGERS = (9, 11)
FINGER_OPEN = 0.04
"""Travel of one finger, metres; the gripper opens to twice that."""
LOW = np.array([-2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973])
HIGH = np.array([2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973])
FORCE = 200.0
ARM_SPEED, FINGER_SPEED = 2.0, 1.0
NEUTRAL = 7.0
"""Bullet wants limits and ranges for its null-space term; the original gives it ones that no joint reaches."""


class Robot:
    """Load a Panda into a world and drive it with relative actions.

    A target pose is integrated from the actions in world axes, as the original does by default: nothing clips it, and
    the measurement does not correct it. It starts at the measured pose at every reset.

    Args:
        client: the world.
        scene: says where the robot stands and how it rests.

    Attributes:
        body: pybullet's number of the robot.
        camera: number of the link that carries the wrist camera.
        gripper: the last gripper command, +1 open or -1 close.
    """

    def __init__(self, client: Client, scene: Scene) -> None:
        self._client = client
        self.body = load_robot(client, scene)
        links = client.links(self.body)
        self._tool, self.camera = links["tcp"], links["gripper_cam"]
        self._keep_centred()
        freedom = client.computeDofCount(self.body)
        rest = [*scene.rest, FINGER_OPEN, FINGER_OPEN]
        self._null_space = ([-NEUTRAL] * freedom, [NEUTRAL] * freedom, [NEUTRAL] * freedom, rest)
        self.gripper = GRIPPER_OPEN
        self.reset(scene.rest, FINGER_OPEN)

    def reset(self, joints: np.ndarray, finger: float) -> None:
        """Put the arm and both fingers somewhere at once, and make that the target.

        Args:
            joints: ``(7,)`` radians.
            finger: travel of each finger, metres.
        """
        for joint, angle in zip(ARM, joints, strict=True):
            self._client.resetJointState(self.body, joint, angle)
            self._drive(joint, angle, FORCE, ARM_SPEED)
        for joint in FINGERS:
            self._client.resetJointState(self.body, joint, finger)
            self._drive(joint, finger, FORCE, FINGER_SPEED)
        position, angles = self.tool()
        self._target, self._target_angles = np.array(position), np.array(angles)

    def command(self, action: np.ndarray) -> None:
        """Move the target by a relative action and drive all motors towards it.

        Args:
            action: ``(7,)``: three times 0.02 m, three times 0.05 rad (added to extrinsic ``xyz`` Euler angles), and
                the gripper, +1 or -1. Products are taken in the action's own precision, as in the original.
        """
        self._target = self._target + action[:3] * MAX_TRANSLATION
        self._target_angles = self._target_angles + action[3:6] * MAX_ROTATION
        self.gripper = float(action[6])
        turn = pybullet.getQuaternionFromEuler(self._target_angles)
        found = self._client.calculateInverseKinematics(self.body, self._tool, self._target, turn, *self._null_space)
        for joint, angle in zip(ARM, np.clip(found[:7], LOW, HIGH), strict=True):
            self._drive(joint, angle, FORCE, ARM_SPEED)
        opening = self.gripper == GRIPPER_OPEN
        for joint in FINGERS:  # it opens with a hundredth of the force it closes with
            self._drive(joint, FINGER_OPEN if opening else 0.0, FORCE / 100 if opening else FORCE, FINGER_SPEED)

    @property
    def commanded(self) -> tuple[np.ndarray, np.ndarray]:
        """The target that the actions have moved so far: position (m) and extrinsic ``xyz`` Euler angles (rad)."""
        return self._target.copy(), self._target_angles.copy()

    def tool(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Measure the tool: position (m) and extrinsic ``xyz`` Euler angles (rad)."""
        position, turn = self._client.getLinkState(self.body, self._tool)[:2]
        return position, pybullet.getEulerFromQuaternion(turn)

    def observe(self) -> np.ndarray:
        """Measure everything the benchmark calls ``robot_obs``.

        Shape:
            ``(15,)`` float64: tool position (m) and extrinsic ``xyz`` Euler angles (rad), width between the fingers
            (m), seven joint angles (rad), the last gripper command (+1 or -1).
        """
        position, angles = self.tool()
        left, right, *arm = self._client.positions(self.body, (*FINGERS, *ARM))
        return np.array([*position, *angles, left + right, *arm, self.gripper])

    def touched(self) -> frozenset[int]:
        """Name every body the robot touches."""
        return frozenset(contact[2] for contact in self._client.getContactPoints(bodyA=self.body))

    def _keep_centred(self) -> None:
        left, right = FINGERS
        held = (pybullet.JOINT_GEAR, [1, 0, 0], [0, 0, 0], [0, 0, 0])
        gear = self._client.createConstraint(self.body, left, self.body, right, *held)
        self._client.changeConstraint(gear, gearRatio=-1, erp=0.1, maxForce=50)

    def _drive(self, joint: int, goal: float, force: float, speed: float) -> None:
        self._client.setJointMotorControl2(
            self.body, joint, pybullet.POSITION_CONTROL, targetPosition=goal, force=force, maxVelocity=speed
        )


def load_robot(client: Client, scene: Scene) -> int:
    """Load the robot and the cylinder it stands on, which is only seen; give the robot's body."""
    body = client.loadURDF(str(scene.data / FILE), scene.base, [0, 0, 0, 1], useFixedBase=True)
    x, y, height = scene.base
    shape = client.createVisualShape(
        pybullet.GEOM_CYLINDER,
        rgbaColor=[1, 1, 1, 1],
        radius=0.13,
        length=height,
        visualFramePosition=[x - 0.05, y, height / 2],
    )
    client.createMultiBody(baseVisualShapeIndex=shape)
    return body
