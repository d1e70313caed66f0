"""A tiny deterministic environment and agent that obey the contracts, for tests without a simulator."""

import os

import gymnasium as gym
import numpy as np
from gymnasium import spaces

SIZE = 16
WORDS = ("reach the red block", "reach the green block", "reach the blue block")


class FakeReach(gym.Env):
    """Move a dot to a goal drawn from the seed; the frames show both."""

    def __init__(self, *, limit: int = 40) -> None:
        self.limit = limit
        self.action_space = spaces.Box(-1.0, 1.0, (7,), np.float32)
        image = spaces.Box(0, 255, (3, SIZE, SIZE), np.uint8)
        self.observation_space = spaces.Dict(
            {
                "image": spaces.Dict({"primary": image, "wrist": image}),
                "state": spaces.Box(-np.inf, np.inf, (7,), np.float32),
                "language_instruction": spaces.Text(64, charset="abcdefghijklmnopqrstuvwxyz "),
            }
        )
        self.place, self.goal, self.steps, self.text = np.zeros(2), np.zeros(2), 0, ""

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed)
        del options
        self.place = self.np_random.uniform(-1, 1, 2)
        self.goal = self.np_random.uniform(-1, 1, 2)
        self.text = WORDS[int(self.np_random.integers(3))]
        self.steps = 0
        return self._look(), {"is_success": np.bool_(False)}

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        self.place = np.clip(self.place + 0.1 * np.asarray(action[:2], np.float64), -1, 1)
        self.steps += 1
        success = bool(np.abs(self.place - self.goal).max() < 0.06)
        truncated = not success and self.steps >= self.limit
        return self._look(), 0.0, success, truncated, {"is_success": np.bool_(success)}

    def expert(self, rng: np.random.Generator, *, noise: float = 0.0) -> "FakeExpert":
        return FakeExpert(rng, noise=noise)

    def _look(self) -> dict:
        frame = np.full((3, SIZE, SIZE), 40, np.uint8)
        for channel, point in ((0, self.goal), (1, self.place)):
            x, y = ((point + 1) / 2 * (SIZE - 3)).astype(int)
            frame[channel, y : y + 3, x : x + 3] = 255
        state = np.concatenate([self.place, self.goal, [0, 0, 1]]).astype(np.float32)
        return {
            "image": {"primary": frame, "wrist": frame[:, ::-1].copy()},
            "state": state,
            "language_instruction": self.text,
        }


class FakeExpert:
    def __init__(self, rng: np.random.Generator, *, noise: float) -> None:
        self.rng, self.noise = rng, noise

    def act(self, env: FakeReach) -> np.ndarray:
        action = np.zeros(7, np.float32)
        action[:2] = np.clip((env.goal - env.place) / 0.1, -1, 1) + self.noise * self.rng.normal(size=2)
        return np.clip(action, -1, 1)


class FakeAgent:
    """Walk to the goal at a speed that depends on how long the row has lived; remember what each row was told."""

    ahead = 3

    def __init__(self, batch_size: int, *, speed: float = 0.6) -> None:
        self.batch_size, self.speed = batch_size, speed
        self.age = np.zeros(batch_size, int)
        self.foresight: dict[str, np.ndarray] = {}
        self.heard: list[tuple[str, ...]] = []

    def reset(self, rows: np.ndarray | None = None) -> None:
        self.age[slice(None) if rows is None else rows] = 0

    def act(self, observation: dict, *, foresee: bool = False) -> np.ndarray:
        state = observation["state"]
        self.heard.append(tuple(observation["language_instruction"]))
        action = np.zeros((len(state), 7), np.float32)
        pace = np.minimum(self.speed, 0.1 * (1 + self.age))[:, None]
        action[:, :2] = np.clip((state[:, 2:4] - state[:, :2]) / 0.1, -1, 1) * pace
        self.age += 1
        if foresee:
            noise = np.random.default_rng(0).integers(-12, 12, (SIZE, SIZE))
            self.foresight = {
                camera: np.clip(batch.astype(int) + noise, 0, 255).astype(np.uint8)
                for camera, batch in observation["image"].items()
            }
        return action


class Raises(FakeReach):
    """Break in its third step."""

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        if self.steps == 2:
            raise ValueError("the drawer jammed")
        return super().step(action)


class Dies(FakeReach):
    """Take its process along in its third step."""

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        if self.steps == 2:
            os._exit(3)
        return super().step(action)
