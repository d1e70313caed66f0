"""A tiny env with the interface of the tabletop ones: walk along a line to the goal."""

from __future__ import annotations

import os
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

GOALS = ("left", "right", "middle")
PLACES = {"left": -1.0, "right": 1.0, "middle": 0.0}


class LineExpert:
    def __init__(self, rng: np.random.Generator, noise: float) -> None:
        self.rng, self.noise = rng, noise
        self.label = np.zeros(7, np.float32)

    def act(self, env: gymnasium.Env[Any, Any]) -> np.ndarray:
        base: Any = env.unwrapped
        self.label = np.full(7, np.clip(PLACES[base.goal] - base.place, -0.1, 0.1), np.float32)
        return self.label + self.rng.uniform(-self.noise, self.noise, 7).astype(np.float32)


class LineEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Succeed at the goal; ``lazy`` seeds have an expert that never arrives, seed ``broken`` kills the process."""

    metadata = {"render_fps": 10}  # noqa: RUF012
    goals = GOALS

    def __init__(self, *, side: int = 4, lazy: int = 0, broken: int = -1) -> None:
        frame = spaces.Box(0, 255, (3, side, side), np.uint8)
        state = spaces.Box(-np.inf, np.inf, (7,), np.float32)
        words = spaces.Text(20)
        image = spaces.Dict({"primary": frame})
        self.observation_space = spaces.Dict({"image": image, "state": state, "language_instruction": words})
        self.action_space = spaces.Box(-1, 1, (7,), np.float32)
        self.side, self.lazy, self.broken = side, lazy, broken

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        if seed == self.broken:
            os._exit(7)
        self.stuck = bool(self.lazy and seed is not None and seed % self.lazy == 0)
        self.place = 0.5 if (options or {}).get("start") == "random" else 0.0
        self.goal = GOALS[int(self.np_random.integers(2))]
        return self._see(), {"is_success": np.bool_(False)}

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.place += 0.0 if self.stuck else float(action[0])
        done = abs(self.place - PLACES[self.goal]) < 0.05
        return self._see(), float(done), done, False, {"is_success": np.bool_(done)}

    def set_goal(self, goal: str) -> str:
        self.goal = goal
        return f"go {goal}"

    def expert(self, rng: np.random.Generator, *, noise: float = 0.0) -> LineExpert:
        return LineExpert(rng, noise)

    def _see(self) -> dict[str, Any]:
        level = np.uint8(128 + 50 * np.clip(self.place, -2, 2))
        frame = np.full((3, self.side, self.side), level, np.uint8)
        state = np.full(7, self.place, np.float32)
        return {"image": {"primary": frame}, "state": state, "language_instruction": f"go {self.goal}"}
