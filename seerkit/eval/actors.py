"""Who acts in an evaluation: a trained agent, chance, or the environment's own expert."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.vector import AsyncVectorEnv, SyncVectorEnv, VectorEnv

Observation = Mapping[str, Any]
"""A batched gymnasium observation: image, camera ``(n, 3, H, W)`` uint8; state ``(n, S)``; n instructions."""


@runtime_checkable
class Actor(Protocol):
    """Anything that answers a batch of observations with a batch of actions; `seerkit.Agent` is one.

    An actor that can foresee also takes ``act(observation, foresee=True)`` and then holds ``foresight``: a dict from
    camera to uint8 ``(n, 3, H, W)``.
    """

    def reset(self, rows: np.ndarray | None = None) -> None:
        """Forget the past of the rows that are True (None: all)."""
        ...

    def act(self, observation: Observation) -> np.ndarray:
        """Give one action per row, ``(n, A)`` float32."""
        ...


@runtime_checkable
class EpisodeActor(Protocol):
    """An actor whose answers depend on the episode's seed or on the environment itself."""

    def begin(self, envs: VectorEnv, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        """Start new episodes in the rows that are True."""
        ...

    def act(self, observation: Observation) -> np.ndarray:
        """Give one action per row, ``(n, A)`` float32."""
        ...


class RandomActor:
    """Draw every action uniformly from the action space; the draw is a function of the episode's seed alone."""

    def __init__(self) -> None:
        self._low = self._high = np.zeros(0)
        self._draws: list[np.random.Generator] = []

    def begin(self, envs: VectorEnv, rows: np.ndarray, seeds: Sequence[int | None]) -> None:
        """Seed the rows that begin an episode."""
        space = envs.single_action_space
        self._low, self._high = np.asarray(space.low), np.asarray(space.high)  # pyright: ignore[reportAttributeAccessIssue]
        if len(self._draws) != len(rows):
            self._draws = [np.random.default_rng(0) for _ in rows]
        for row in np.flatnonzero(rows).tolist():
            self._draws[row] = np.random.default_rng((seeds[row] or 0, 2))

    def act(self, observation: Observation) -> np.ndarray:  # noqa: ARG002 - chance looks at nothing
        """Draw one action per row, ``(n, A)`` float32."""
        return np.stack([draw.uniform(self._low, self._high) for draw in self._draws]).astype(np.float32)


class ExpertActor:
    """Ask the scripted expert inside each environment's own process.

    Args:
        noise: passed to ``env.expert(rng, noise=...)``; 0 is the undisturbed expert.
    """

    def __init__(self, *, noise: float = 0.0) -> None:
        self.noise = noise
        self._envs: AsyncVectorEnv | SyncVectorEnv | None = None

    def begin(self, envs: VectorEnv, rows: np.ndarray, seeds: Sequence[int | None]) -> None:  # noqa: ARG002 - the seats know
        """Remember where the experts live; every seat makes a new one for a new episode."""
        if not isinstance(envs, AsyncVectorEnv | SyncVectorEnv):
            raise TypeError(f"expected a gymnasium vector environment with call(), given {type(envs).__name__}")
        self._envs = envs

    def act(self, observation: Observation) -> np.ndarray:  # noqa: ARG002 - the expert measures for itself
        """Collect one action per row, ``(n, A)`` float32."""
        if self._envs is None:
            raise RuntimeError("expected begin() before act()")
        return np.stack(self._envs.call("expert_action", self.noise)).astype(np.float32)
