"""One moment of a policy's life: what it is given, and what then came."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from tensordict import NonTensorStack, TensorDict
from torch import Tensor

from seerkit import keys
from seerkit.asked import read_goal
from seerkit.data.source import Source
from seerkit.train.windows import every_window

if TYPE_CHECKING:
    from seerkit.eval.scene import Scene
    from seerkit.policy import Policy


@dataclass(frozen=True)
class Moment:
    """What a policy is given, and what came.

    Args:
        td: one window as `Policy.forward` reads it, batch size ``(1,)``.
        at: the step of the window that is looked at.
        later: per camera the frame ``ahead`` steps after it, uint8 ``(3, H, W)``; empty if the episode was over.
        title: where it is from.
        instruction: what the robot was told.
        ahead: how many steps later ``later`` is; 0 if the policy foresees nothing.
        rate: control steps per second.
    """

    td: TensorDict
    at: int
    later: Mapping[str, Tensor]
    title: str
    instruction: str
    ahead: int
    rate: float


def from_data(policy: Policy, source: Source, window: int) -> Moment:
    """Take a window of recorded episodes, and look at the last step of it that is trained on.

    Raises:
        IndexError: if there is no such window.
        StoreError: if the data lacks what the policy reads, or is too slow to read in place.
        ConventionError: if its numbers mean something else than the recipe's.
        ValueError: if the window is too short for a policy whose goal lies some steps later.
    """
    windows = every_window(policy, source)
    if not 0 <= window < len(windows):
        raise IndexError(f"{source.path}: expected a window in 0..{len(windows) - 1}, given {window}")
    td = windows.gather(torch.tensor([window]))
    padded = td.get(keys.STEP_IS_PAD, None)
    steps = policy.steps if padded is None else int((~padded).sum())
    at = policy.supervised_steps(steps) - 1
    if at < 0:
        raise ValueError(
            f"{source.path}: window {window} has {steps} steps, but the policy's goal is the state "
            f"{policy.goal_ahead} steps later; choose another window"
        )
    later = {}
    if policy.ahead and not bool(td[keys.FUTURE_IS_PAD][0, at]):
        for name in policy.cameras:
            frames = torch.cat([td[keys.under(keys.IMAGE, name)], td[keys.under(keys.FUTURE, name)]], dim=1)
            later[name] = frames[0, at + policy.ahead]
    return Moment(
        td=_cut(td, policy, steps),
        at=at,
        later=later,
        title=f"{source.path.name}, window {window} of {len(windows)}",
        instruction=td[keys.INSTRUCTION][0],
        ahead=policy.ahead,
        rate=float(source.conventions.frame_rate),
    )


def from_episode(policy: Policy, scene: Scene, *, seed: int, step: int) -> Moment:
    """Let the policy act up to a step of an episode and look there; it goes on acting until what it foresees has come.

    It is played as `seerkit eval` does it: actions are rounded, the episode is cut and the policy forgets what was
    before a task as there. ``seed`` is the number of a sequence on CALVIN.

    Raises:
        ValueError: if the episode is over before that step, the step is negative, or the policy predicts no actions.
        IndexError: if CALVIN has no sequence of that number.
    """
    if step < 0:
        raise ValueError(f"expected a step of 0 or more, given {step}")
    env = scene.make()
    try:
        seen, begun = _play(policy, scene, env, seed=seed, steps=step + policy.ahead)
        rate = float(env.metadata.get("render_fps", 15.0))
    finally:
        env.close()
    number = f"{'sequence' if scene.in_a_row else 'seed'} {seed}"
    if len(seen) <= step:
        raise ValueError(f"the episode of {number} was over after {len(seen) - 1} steps, before step {step}")
    first, then = max(begun[step], step + 1 - policy.steps), step + policy.ahead
    came = policy.ahead and then < len(seen)
    return Moment(
        td=_window(policy, seen[first : step + 1]),
        at=step - first,
        later={name: _tensor(seen[then]["image"][name]) for name in policy.cameras} if came else {},
        title=f"{scene.name}, {number}, step {step}",
        instruction=str(seen[step].get("language_instruction", "")),
        ahead=policy.ahead,
        rate=rate,
    )


def _cut(td: TensorDict, policy: Policy, steps: int) -> TensorDict:
    """Keep what the policy reads, and of windows the first steps."""
    cut = TensorDict({}, batch_size=[1])
    for key in policy.inputs:
        value = td.get(key)
        cut[key] = value[:, :steps] if key[0] == keys.STATE[0] else value
    return cut


def _play(
    policy: Policy,
    scene: Scene,
    env: Any,  # noqa: ANN401 - a gymnasium env
    *,
    seed: int,
    steps: int,
) -> tuple[list[dict[str, Any]], list[int]]:
    """Play until the episode is over.

    Returns:
        What was observed, at the beginning and after every step; and for each of these when its task began.
    """
    agent = policy.agent(batch_size=1)
    agent.reset(seeds=[seed])
    observation, info = env.reset(seed=seed)
    seen, begun, limit = [observation], [0], scene.limit
    for step in range(1, steps + 1):
        action = agent.act(observation)
        done = info.get("completed", 0)
        executed = action if scene.round_actions is None else action.astype(scene.round_actions)
        observation, _, terminated, truncated, info = env.step(executed)
        again = info.get("completed", 0) > done
        if again:
            agent.reset([True])
        seen.append(observation)
        begun.append(step if again else begun[-1])
        if terminated or truncated or step == limit:
            break
    return seen, begun


def _window(policy: Policy, observations: Sequence[Mapping[str, Any]]) -> TensorDict:
    td, newest = TensorDict({}, batch_size=[1]), observations[-1]
    for name in policy.cameras:
        td[keys.under(keys.IMAGE, name)] = torch.stack([_tensor(one["image"][name]) for one in observations])[None]
    if keys.STATE in policy.inputs:
        td[keys.STATE] = torch.stack([_tensor(one["state"]).float() for one in observations])[None]
    if keys.INSTRUCTION in policy.inputs:
        td[keys.INSTRUCTION] = NonTensorStack.from_list([str(newest["language_instruction"])])
    for key, value in read_goal(newest, policy.inputs, rows=1, single=True).items():
        td[key] = value
    return td


def _tensor(value: object) -> Tensor:
    return torch.from_numpy(np.array(value))
