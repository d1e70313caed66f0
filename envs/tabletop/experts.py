"""Scripted experts: what to do next as a function of the measured scene alone, so that a policy can learn it."""

from typing import Any

import gymnasium
import numpy as np

from seerkit.envs.bursts import Bursts
from seerkit.envs.contract import ACTION_DIM, GRIPPER_CLOSED, GRIPPER_OPEN, MAX_ROTATION, MAX_TRANSLATION
from seerkit.envs.pose import Pose
from seerkit.envs.tabletop.plans import Plan, Wish

GAIN = 0.4
"""Share of the remaining way that one step commands: below 0.5 the lagging arm does not overshoot."""


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
        self._plan = plan
        self._bursts = Bursts(rng, noise)
        self.label = np.zeros(ACTION_DIM, np.float32)
        self.disturbed = False

    def act(self, env: gymnasium.Env[Any, Any]) -> np.ndarray:
        """Give the next action ``(7,)`` float32 for a tabletop env (wrapped or not)."""
        task = env.unwrapped.task  # type: ignore[attr-defined] - any wrapper of a TabletopEnv
        self.label = towards(task.world.tool, self._plan(task))
        burst = self._bursts.draw()
        self.disturbed = burst is not None
        return self.label if burst is None else np.clip(self.label + burst, -1, 1).astype(np.float32)


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
