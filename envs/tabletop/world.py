"""One simulated FR3 over a table: physics, inverse kinematics and where things are."""

# pyright: reportAttributeAccessIssue=false
# (mujoco's names live in compiled modules without stubs)

import mujoco
import numpy as np

from seerkit.envs.contract import CONTROL_HZ
from seerkit.envs.pose import Pose
from seerkit.envs.tabletop.model import TIMESTEP, Look, build_model

SUBSTEPS = round(1 / CONTROL_HZ / TIMESTEP)
HELD = 4
"""Physics steps between two updates of the servo targets."""
FINGER_OPEN = 0.0425
"""Travel of one finger, metres; the gripper opens to twice that."""
FINGER_SPEED = 0.10
"""Speed of one finger, m/s."""
REST = np.array([0.0, -0.35, 0.0, -2.35, 0.0, 2.0, np.pi / 4])
"""Joint angles the arm prefers among those that reach a pose."""


def tool_down(x: float, y: float, z: float, yaw: float = 0.0) -> Pose:
    """Give the pose of a tool that points straight down, turned by ``yaw`` about the vertical."""
    return Pose.from_euler_xyz((np.pi, 0.0, yaw), (x, y, z))


class World:
    """Simulate one scene.

    Args:
        scene: a file in ``scenes/``.
        look: what the cameras see.
        image_size: side of the observed pictures, pixels.
    """

    def __init__(self, scene: str, look: Look, image_size: int) -> None:
        self.model = model = build_model(scene, look, image_size)
        self.data = mujoco.MjData(model)
        self._kinematics = mujoco.MjData(model)
        joints = [model.joint(f"fr3_joint{i}") for i in range(1, 8)]
        self._position = np.array([joint.qposadr[0] for joint in joints])
        self._velocity = np.array([joint.dofadr[0] for joint in joints])
        margin = 0.02
        self._low = np.array([joint.range[0] for joint in joints]) + margin
        self._high = np.array([joint.range[1] for joint in joints]) - margin
        self._servos = np.array([model.actuator(f"joint{i}").id for i in range(1, 8)])
        self._finger_servos = [model.actuator(f"finger_{side}").id for side in ("left", "right")]
        self._finger_joints = [model.joint(f"finger_{side}").qposadr[0] for side in ("left", "right")]
        self._tool = model.site("tool").id
        self._jacobian = np.zeros((6, model.nv))
        self.reset()

    def reset(self) -> None:
        """Put everything back to how the scene file has it, with the arm at rest."""
        mujoco.mj_resetData(self.model, self.data)
        self.move(REST)

    def move(self, joints: np.ndarray) -> None:
        """Put the arm at these joint angles at once, with open fingers and at rest."""
        self.data.qpos[self._position] = joints
        self.data.qpos[self._finger_joints] = FINGER_OPEN
        self.data.qvel[:] = 0
        self.target = self._command = np.array(joints, dtype=float)
        self.finger_target = self._finger_command = FINGER_OPEN
        mujoco.mj_forward(self.model, self.data)

    @property
    def joints(self) -> np.ndarray:
        """Measured joint angles ``(7,)``, radians."""
        return self.data.qpos[self._position].copy()

    @property
    def width(self) -> float:
        """Measured distance between the pads, metres."""
        return float(self.data.qpos[self._finger_joints].sum())

    @property
    def fingers(self) -> tuple[float, float]:
        """Measured distance of the left and the right pad from the middle, metres."""
        left, right = self.data.qpos[self._finger_joints]
        return float(left), float(right)

    @property
    def tool(self) -> Pose:
        """Measured pose of the point between the finger tips; z points along the tool."""
        return self._tool_of(self.data)

    @property
    def time(self) -> float:
        """Simulated seconds since the reset."""
        return float(self.data.time)

    def body(self, name: str) -> Pose:
        """Give the pose of a named body."""
        body = self.data.body(name)
        return Pose.of(body.xpos, body.xmat.reshape(3, 3))

    def place(self, name: str, pose: Pose) -> None:
        """Put a free body somewhere, at rest; takes effect at the next ``move`` or ``advance``."""
        joint = self.model.joint(name)
        start = joint.qposadr[0]
        self.data.qpos[start : start + 7] = [*pose.position, *pose.to_quat_wxyz()]
        self.data.qvel[joint.dofadr[0] : joint.dofadr[0] + 6] = 0

    def place_fixed(self, name: str, pose: Pose) -> None:
        """Put a body that nothing moves (a ``mocap`` body) somewhere."""
        index = self.model.body(name).mocapid[0]
        self.data.mocap_pos[index] = pose.position
        self.data.mocap_quat[index] = pose.to_quat_wxyz()

    def slide(self, name: str, value: float | None = None) -> float:
        """Give the position of a one-dimensional joint, after setting it if a value is given."""
        start = self.model.joint(name).qposadr[0]
        if value is not None:
            self.data.qpos[start] = value
        return float(self.data.qpos[start])

    def solve(self, pose: Pose, joints: np.ndarray, *, iterations: int = 4) -> np.ndarray:
        """Find joint angles that put the tool at a pose, by damped least squares from a start.

        A weak pull towards ``REST`` in the null space keeps the elbow where it is comfortable.

        Args:
            pose: wanted tool pose.
            joints: ``(7,)`` start of the search, radians.
            iterations: steps of at most 0.2 rad; four follow one control period, sixty cross the workspace.
        """
        data, found = self._kinematics, joints.copy()
        data.qpos[:] = self.data.qpos
        for _ in range(iterations):
            data.qpos[self._position] = found
            mujoco.mj_kinematics(self.model, data)
            error = self._error(pose, self._tool_of(data))
            if np.abs(error).max() < 2e-5:
                break
            mujoco.mj_comPos(self.model, data)
            mujoco.mj_jacSite(self.model, data, self._jacobian[:3], self._jacobian[3:], self._tool)
            jacobian = self._jacobian[:, self._velocity]
            pull = 0.05 * (REST - found)
            square = jacobian @ jacobian.T + 1e-4 * np.eye(6)
            change = pull + jacobian.T @ np.linalg.solve(square, error - jacobian @ pull)
            found = np.clip(found + np.clip(change, -0.2, 0.2), self._low, self._high)
        return found

    def advance(self) -> None:
        """Simulate one control period while the servo targets glide to ``target`` and ``finger_target``."""
        begin, goal = self._command, self.target
        rounds = SUBSTEPS // HELD
        stride = FINGER_SPEED * TIMESTEP * HELD
        for i in range(1, rounds + 1):
            self._finger_command += float(np.clip(self.finger_target - self._finger_command, -stride, stride))
            self.data.ctrl[self._servos] = begin + (goal - begin) * (i / rounds)
            self.data.ctrl[self._finger_servos] = self._finger_command
            mujoco.mj_step(self.model, self.data, nstep=HELD)
        self._command = goal
        mujoco.mj_kinematics(self.model, self.data)

    def _tool_of(self, data: mujoco.MjData) -> Pose:
        return Pose.of(data.site_xpos[self._tool], data.site_xmat[self._tool].reshape(3, 3))

    @staticmethod
    def _error(wanted: Pose, given: Pose) -> np.ndarray:
        turn = Pose.of((0, 0, 0), wanted.rotation @ given.rotation.T)
        return np.concatenate([wanted.position - given.position, turn.to_rotvec()])
