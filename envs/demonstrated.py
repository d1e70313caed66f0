"""Show what is to be reached: the scripted expert finishes every layout before the policy may try."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

NOISE = 0.3
"""Size of the bursts that disturb the expert after its first failure, so that it takes another way."""


class DemonstratedGoal(gymnasium.Wrapper[dict[str, Any], np.ndarray, dict[str, Any], np.ndarray]):
    """Add ``observation["goal"]``: the frames and the state in which the expert finished the same layout.

    Every reset lays the table out, lets the expert finish, and lays the same table out again. What is shown is a
    function of the reset's seed and options alone; a reset without a seed draws one. A changed goal in mid-episode does
    not change what is shown.

    Args:
        env: a layout must follow from the reset's seed; its ``unwrapped`` must have ``expert(rng, noise=...)`` and its
            observations ``image`` and ``state``. For simulators: on a robot the demonstration would be carried out.
        horizon: steps the expert may take; the env's own limit if that is shorter.
        tries: how often the expert may try a layout, from the second time on with disturbances.

    Raises:
        TypeError: if the env has no expert, or its observations lack image or state.
        ValueError: if a number is below 1.

    Example:
        ```python
        env = DemonstratedGoal(make("ReachColor", image_size=64))
        observation, info = env.reset(seed=1)
        picture = observation["goal"]["image"]["primary"]  # the hand at the block
        ```
    """

    def __init__(self, env: gymnasium.Env[dict[str, Any], np.ndarray], *, horizon: int = 1000, tries: int = 4) -> None:
        super().__init__(env)
        if horizon < 1 or tries < 1:
            raise ValueError(f"expected horizon and tries to be at least 1, given {horizon} and {tries}")
        if not hasattr(env.unwrapped, "expert"):
            raise TypeError(f"expected an env with a scripted expert to show the goal, given {env.unwrapped}")
        space = env.observation_space
        if not isinstance(space, spaces.Dict) or not {"image", "state"} <= space.keys():
            raise TypeError(f"expected observations with image and state, given {space}")
        shown = spaces.Dict({name: space[name] for name in ("image", "state")})
        self.observation_space = spaces.Dict({**space.spaces, "goal": shown})
        self.horizon, self.tries = horizon, tries
        self._goal: dict[str, Any] = {}
        self._seeds = np.random.default_rng()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Show the goal and begin; ``info["demonstration"]`` says how many tries and steps the expert took.

        Raises:
            RuntimeError: if the expert fails at every try; names the seed.
        """
        if seed is not None:
            self._seeds = np.random.default_rng([seed, 3])
        drawn = int(self._seeds.integers(2**31)) if seed is None else seed
        shown = self._demonstrate(drawn, options)
        observation, info = self.env.reset(seed=drawn, options=options)
        return self._with_goal(observation), {**info, "demonstration": shown}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Step the env; the goal stays as it is."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_goal(observation), float(reward), terminated, truncated, info

    def _demonstrate(self, seed: int, options: dict[str, Any] | None) -> dict[str, int]:
        for attempt in range(self.tries):
            steps = self._attempt(seed, options, attempt)
            if steps is not None:
                return {"tries": attempt + 1, "steps": steps}
        raise RuntimeError(
            f"expected an expert that reaches the goal of {self.unwrapped} with seed {seed} and options {options or {}}; "
            f"it failed {self.tries} times, so there is no picture of the goal"
        )

    def _attempt(self, seed: int, options: dict[str, Any] | None, attempt: int) -> int | None:
        """Let the expert play once; keep what it saw last and return its steps, or None if it failed."""
        observation, info = self.env.reset(seed=seed, options=options)
        base: Any = self.unwrapped
        expert = base.expert(np.random.default_rng([seed, 3, attempt]), noise=NOISE if attempt else 0.0)
        steps, over = 0, False
        while not info["is_success"]:
            if over or steps >= self.horizon:
                return None
            observation, _, terminated, truncated, info = self.env.step(expert.act(self.env))
            steps, over = steps + 1, bool(terminated or truncated)
        images = {camera: np.array(frame) for camera, frame in observation["image"].items()}
        self._goal = {"image": images, "state": np.array(observation["state"])}
        return steps

    def _with_goal(self, observation: dict[str, Any]) -> dict[str, Any]:
        goal = {"image": {name: frame.copy() for name, frame in self._goal["image"].items()}}
        return {**observation, "goal": {**goal, "state": self._goal["state"].copy()}}
