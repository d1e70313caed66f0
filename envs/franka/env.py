"""One gymnasium environment over any arm, gripper, cameras and clock."""

import math
from typing import Any, Literal

import gymnasium
import numpy as np

from seerkit.envs.contract import STATES, action_space, check_action, check_shape, observation_space
from seerkit.envs.franka.drivers import ArmReading, Drivers, Frame, GripperReading, Task
from seerkit.envs.franka.safety import SafetyFilter, gripper_sign
from seerkit.envs.instruction import check_instruction

BadAction = Literal["raise", "hold"]


class FrankaEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Drive a Franka, real or simulated, with Seer's actions.

    The commanded pose starts at the measured one and is integrated from actions (``command @ delta``), never
    re-anchored to the measurement; the safety filter keeps it near. Proprioception is read before the pictures.
    A fault of the arm, too many non-finite actions or an old picture stop the arm and truncate the episode, with the
    reason in ``info["abort"]``; recovery is for a person.

    Args:
        drivers: arm, gripper, cameras, clock.
        task: instruction, scene and success.
        image_size: side of the pictures the cameras deliver, pixels.
        safety: the filter between actions and commands.
        render_mode: ``None`` or ``"rgb_array"`` (the primary camera).
        on_bad_action: what to do with NaN or infinity: ``"raise"`` a ValueError, or ``"hold"`` still (for robots).
        roll_positive: report roll in [0, 2 pi) instead of (-pi, pi]: continuous for a tool that points down, where the
            raw angle jumps between its two ends.
        state: what ends the state: the gripper's sign (``"pose_gripper"``) or its openings (``"pose_fingers"``).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(
        self,
        drivers: Drivers,
        task: Task,
        *,
        image_size: int,
        safety: SafetyFilter | None = None,
        render_mode: str | None = None,
        on_bad_action: BadAction = "raise",
        roll_positive: bool = False,
        state: str = "pose_gripper",
    ) -> None:
        for name, value, known in (
            ("render_mode", render_mode, (None, "rgb_array")),
            ("on_bad_action", on_bad_action, ("raise", "hold")),
        ):
            if value not in known:
                raise ValueError(f"expected {name} to be one of {known}, given {value!r}")
        self.drivers = drivers
        self.task = task
        self.safety = safety or SafetyFilter()
        self.render_mode = render_mode
        self.on_bad_action = on_bad_action
        self.roll_positive = roll_positive
        self.observation_space = observation_space(image_size, tuple(drivers.cameras), state)
        self.state_names = STATES[state]
        self._fingers = state == "pose_fingers"
        self.action_space = action_space()
        self._frames: dict[str, Frame] = {}

    @property
    def instruction(self) -> str:
        """What the robot is asked to do."""
        return self.task.instruction

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Lay the scene out, go to the start pose, open the gripper and look."""
        super().reset(seed=seed)
        self.task.reset(self.np_random, options or {})
        self.drivers.gripper.reset()
        self.drivers.arm.reset()
        self.drivers.clock.reset()
        self._frames = {}
        self._age = 0.0
        self._arm = self.drivers.arm.read()
        self.safety.reset(self._arm.pose)
        observation = self._observe()
        return observation, self._info(self.task.success(), "")

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Command one action, let one control period pass, and look.

        Raises:
            ValueError: if the action has a wrong shape, or is not finite and ``on_bad_action`` is ``"raise"``.
        """
        checked = check_action(action) if self.on_bad_action == "raise" else check_shape(action)
        command = self.safety(checked, self._arm.pose, age=self._age)
        abort = command.abort or (self._arm.fault or "")
        if abort:
            self.drivers.arm.stop()
        else:
            self.drivers.arm.command(command.pose)
            self.drivers.gripper.command(command.opened)
        self.drivers.clock.tick()
        observation = self._observe()
        if self._arm.fault and not abort:
            abort = self._arm.fault
            self.drivers.arm.stop()
        success = self.task.success() and not abort
        return observation, float(success), success, bool(abort), self._info(success, abort)

    def render(self) -> np.ndarray | None:
        """Give the newest primary picture as ``(H, W, 3)`` uint8, or ``None`` without a render mode."""
        if self.render_mode is None or not self._frames:
            return None
        return np.ascontiguousarray(next(iter(self._frames.values())).image.transpose(1, 2, 0))

    def close(self) -> None:
        """Close every driver."""
        self.drivers.close()

    def _observe(self) -> dict[str, Any]:
        self._arm = self.drivers.arm.read()
        gripper = self.drivers.gripper.read()
        self._see()
        return {
            "image": {name: frame.image for name, frame in self._frames.items()},
            "state": self._state(self._arm, gripper),
            "language_instruction": check_instruction(self.task.instruction),
        }

    def _see(self) -> None:
        """Read every camera; a picture whose number has not advanced keeps its old time, so its age grows."""
        for name, camera in self.drivers.cameras.items():
            frame, last = camera.read(), self._frames.get(name)
            self._frames[name] = frame if last is None or frame.number > last.number else last
        now = self.drivers.clock.now()
        self._age = max((now - frame.time for frame in self._frames.values()), default=0.0)

    def _state(self, arm: ArmReading, gripper: GripperReading) -> np.ndarray:
        angles = arm.pose.to_euler_xyz()
        if self.roll_positive:
            angles[0] %= 2 * math.pi
        opened = gripper.openings if self._fingers else (gripper_sign(gripper.is_open),)
        return np.concatenate([arm.pose.position, angles, opened]).astype(np.float32)

    def _info(self, success: bool, abort: str) -> dict[str, Any]:
        return {"is_success": np.bool_(success), "abort": abort, "safety": dict(self.safety.counts)}
