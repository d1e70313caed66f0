"""Scripted experts: what to do next as a function of the measured scene alone, so that a policy can learn it."""

from typing import Any

import gymnasium
import numpy as np

from seerkit.envs.contract import ACTION_DIM, GRIPPER_CLOSED, GRIPPER_OPEN, MAX_ROTATION, MAX_TRANSLATION
from seerkit.envs.pose import Pose
from seerkit.envs.tabletop.plans import Plan, Wish

GAIN = 0.4
"""Share of the remaining way that one step commands: below 0.5 the lagging arm does not overshoot."""
BURST_CHANCE = 0.06
BURST_STEPS = (2, 6)


class Expert:
    """Act like a careful teleoperator, and stumble now and then if asked to.

    The wish depends only on the measured scene: nothing is remembered between steps, so a push, a slip or a burst of
    noise is answered by whatever the new situation calls for. A burst adds one random motion to a few consecutive
    actions; between bursts the executed action is the expert's own.

    Args:
        plan: the task's rule from scene to wish.
        rng: draws the bursts.
        noise: size of a burst as a share of the action's range; 0 never stumbles.

    Attributes:
        label: the undisturbed action of the last ``act``: what a policy should learn.
        disturbed: whether the last ``act`` returned something else.
    """

    def __init__(self, plan: Plan, rng: np.random.Generator, noise: float = 0.0) -> None:
        if not noise >= 0:
            raise ValueError(f"expected noise to be at least 0, given {noise}")
        self._plan = plan
        self._rng = rng
        self._noise = noise
        self._burst = np.zeros(ACTION_DIM)
        self._left = 0
        self.label = np.zeros(ACTION_DIM, np.float32)
        self.disturbed = False

    def act(self, env: gymnasium.Env[Any, Any]) -> np.ndarray:
        """Give the next action ``(7,)`` float32 for a tabletop env (wrapped or not)."""
        task = env.unwrapped.task  # type: ignore[attr-defined] - any wrapper of a TabletopEnv
        self.label = towards(task.world.tool, self._plan(task))
        self.disturbed = self._stumble()
        return np.clip(self.label + self._burst, -1, 1).astype(np.float32) if self.disturbed else self.label

    def _stumble(self) -> bool:
        if self._noise == 0:
            return False
        if self._left == 0 and self._rng.random() < BURST_CHANCE:
            self._left = int(self._rng.integers(*BURST_STEPS))
            self._burst = np.zeros(ACTION_DIM)
            self._burst[:6] = self._rng.uniform(-self._noise, self._noise, 6) * (1, 1, 1, 0.5, 0.5, 0.5)
        disturbed = self._left > 0
        self._left = max(self._left - 1, 0)
        return disturbed


def towards(tool: Pose, wish: Wish) -> np.ndarray:
    """Turn a wish into an action ``(7,)`` float32 in the tool's frame; its directions survive the limits."""
    gap = tool.inverse() @ wish.pose
    move = GAIN * gap.position / MAX_TRANSLATION
    turn = GAIN * gap.to_rotvec() / MAX_ROTATION
    action = np.zeros(ACTION_DIM, np.float32)
    action[:3] = move * min(1.0, wish.speed / max(np.abs(move).max(), 1e-9))
    action[3:6] = turn * min(1.0, 0.8 / max(np.abs(turn).max(), 1e-9))
    action[6] = GRIPPER_OPEN if wish.opened else GRIPPER_CLOSED
    return action
