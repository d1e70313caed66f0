"""One place of a vectorised evaluation: plays one seeded episode per reset, then waits for the next."""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv, VectorEnv

from seerkit.envs import contract
from seerkit.eval.scene import Scene

INSTRUCTION = "language_instruction"
IN_A_ROW = ("task", "completed", "asked")
"""What an environment that asks for several tasks in a row says: which now, how many are done, and of how many."""


class Seat(gym.Wrapper):
    """Play one episode per reset; once it is over, stand still until the next reset.

    The instruction travels in ``info["instruction"]``, not in the observation: gymnasium reads a `Text` space from
    shared memory only once, when the vector environment is made, so an instruction there would never change.

    Args:
        env: follows `seerkit.envs.contract`; ``info["is_success"]`` must be there at every reset and step.
        horizon: steps after which the episode is cut; None leaves that to the environment.
        round_actions: what actions are rounded to before they are executed; None: nothing.

    Raises:
        ValueError: if neither ``horizon`` nor the environment limits an episode, or ``is_success`` is missing.
    """

    def __init__(self, env: gym.Env, *, horizon: int | None = None, round_actions: str | None = None) -> None:
        super().__init__(env)
        self.round_actions = round_actions
        limit = horizon or getattr(env.spec, "max_episode_steps", None)
        if limit is None:
            raise ValueError(f"{env} has no limit of steps; expected Scene(..., horizon=...)")
        self.horizon: int = limit
        if not isinstance(env.observation_space, spaces.Dict):
            raise ValueError(f"expected a Dict observation space, given {env.observation_space}")
        kept = {name: space for name, space in env.observation_space.spaces.items() if name != INSTRUCTION}
        self.observation_space = spaces.Dict(kept)
        self._over, self._steps, self._seed = True, 0, 0
        self._observation: dict[str, Any] = _blank(self.observation_space)
        self._info: dict[str, Any] = {}
        self._expert: Any = None

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """Begin the episode that ``seed`` stands for."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._over, self._steps, self._seed, self._expert = False, 0, seed or 0, None
        self._keep(observation, info)
        return self._observation, self._info

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Step the episode, or repeat its last observation if it is over."""
        if self._over:
            return self._observation, 0.0, False, False, self._info
        executed = action if self.round_actions is None else action.astype(self.round_actions)
        observation, reward, terminated, truncated, info = self.env.step(executed)
        self._keep(observation, info)
        self._steps += 1
        truncated = bool(truncated) or (not terminated and self._steps >= self.horizon)
        self._over = bool(terminated) or truncated
        return self._observation, float(reward), bool(terminated), truncated, self._info

    def expert_action(self, noise: float = 0.0) -> np.ndarray:
        """Ask the environment's scripted expert; zeros once the episode is over.

        Raises:
            TypeError: if the environment has no expert.
        """
        if self._over:
            return np.zeros(self.action_space.shape or (), np.float32)
        if self._expert is None:
            make = getattr(self.unwrapped, "expert", None)
            if make is None:
                raise TypeError(f"{self.unwrapped} has no scripted expert; expected a method expert(rng, noise=...)")
            self._expert = make(np.random.default_rng((self._seed, 1)), noise=noise)
        return np.asarray(self._expert.act(self.unwrapped), np.float32)

    def described(self) -> dict[str, Any]:
        """Say in plain values what the numbers of this environment are, by the names of a recipe's ``data`` section.

        ``settings`` is what else decides how it goes on, by name, defaults included.

        Returns:
            ``frames``: camera -> size; ``state``: the name of its layout, or the names of its entries, None if not
            said; ``fps``; ``action_scale``, ``gripper`` and ``axes``; ``renderer``: what draws, and
            ``simulator``: who simulates if it is not seerkit, None if not said.
        """
        base: Any = self.unwrapped
        space = self.observation_space
        images: Any = space.spaces.get("image", {}) if isinstance(space, spaces.Dict) else {}
        names = tuple(getattr(base, "state_names", ()))
        layouts = {entries: name for name, entries in contract.STATES.items()}
        drawn_by, run_by = getattr(base, "renderer", None), getattr(base, "simulator", None)
        return {
            "settings": dict(getattr(base, "settings", {})),
            "frames": {camera: list(box.shape) for camera, box in images.items()},
            "state": layouts.get(names) or list(names) or None,
            "fps": float(self.metadata.get("render_fps", contract.CONTROL_HZ)),
            "action_scale": [contract.MAX_TRANSLATION, contract.MAX_ROTATION],
            "gripper": f"{contract.GRIPPER_OPEN:+g} open, {contract.GRIPPER_CLOSED:+g} closed",
            "axes": getattr(base, "axes", contract.AXES),
            "renderer": drawn_by if isinstance(drawn_by, str) else None,
            "simulator": run_by if isinstance(run_by, str) else None,
        }

    def _keep(self, observation: dict[str, Any], info: dict[str, Any]) -> None:
        if "is_success" not in info:
            raise ValueError(f"expected 'is_success' in info, given {sorted(info)} from {self.unwrapped}")
        self._observation = {name: value for name, value in observation.items() if name != INSTRUCTION}
        said = {name: info[name] for name in IN_A_ROW if name in info}
        instruction = str(observation.get(INSTRUCTION, ""))
        self._info = {"is_success": np.bool_(info["is_success"]), "instruction": instruction, **said}


def _blank(space: Any) -> Any:  # noqa: ANN401 - a Dict of boxes, whose type gymnasium's stubs do not tell
    """Give what a place shows that nobody has sat down at: zeros."""
    if isinstance(space, spaces.Dict):
        return {name: _blank(inner) for name, inner in space.spaces.items()}
    return np.zeros(space.shape, space.dtype)


def take_seat(scene: Scene) -> Seat:
    """Make a scene's environment, ready for one place."""
    horizon = scene.limit if scene.in_a_row else scene.horizon
    return Seat(scene.make(), horizon=horizon, round_actions=scene.round_actions)


def seats(scene: Scene, *, workers: int) -> VectorEnv:
    """Open ``workers`` processes with one environment each; 0 keeps a single one in this process (to debug).

    Episodes are reset explicitly, row by row, each with its own seed: automatic resets are off.

    Raises:
        ValueError: if ``workers`` is negative.
    """
    if workers < 0:
        raise ValueError(f"expected 0 or more workers, given {workers}")
    make: Callable[[], gym.Env] = partial(take_seat, scene)
    scene.prepare()
    if workers == 0:
        return SyncVectorEnv([make], autoreset_mode=AutoresetMode.DISABLED)
    return AsyncVectorEnv([make] * workers, context=scene.start, autoreset_mode=AutoresetMode.DISABLED)


def abandon(envs: VectorEnv) -> list[int]:
    """End all worker processes at once, whatever they do; give the statuses of those that ended by themselves.

    gymnasium's own ``close`` asks the workers first, and fails if one of them is gone.
    """
    if not isinstance(envs, AsyncVectorEnv):
        envs.close()
        return []
    for process in envs.processes:
        process.join(0.2)
    gone = [process.exitcode for process in envs.processes if process.exitcode]
    for process in envs.processes:
        process.kill()
        process.join()
    for pipe in envs.parent_pipes:
        if pipe is not None:
            pipe.close()
    envs.closed = True
    return gone


def _check_alike(envs: VectorEnv, scene: Scene) -> None:
    """Refuse environments that are not the same: one whose GPU renderer did not start may have chosen another."""
    first, *others = envs.call("described")  # pyright: ignore[reportAttributeAccessIssue]
    for said in others:
        changed = [name for name in first if said[name] != first[name]]
        if changed:
            told = "; ".join(f"{name}: {first[name]!r} and {said[name]!r}" for name in changed)
            raise RuntimeError(f"expected the same environment {scene.name} in every worker, given {told}")


@contextlib.contextmanager
def opened(scene: Scene, *, workers: int) -> Iterator[VectorEnv]:
    """Open `seats` and close them whatever happens.

    Raises:
        RuntimeError: if a worker process dies, or its environment is not the others'.
    """
    envs = seats(scene, workers=workers)
    try:
        _check_alike(envs, scene)
        yield envs
    except (EOFError, ConnectionError) as error:
        raise RuntimeError(f"a worker process of {scene.name} ended by itself, status {abandon(envs)}") from error
    except BaseException:
        abandon(envs)
        raise
    envs.close()
