"""A scripted expert: it reads the simulator and acts through the environment's own actions."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from seerkit.envs.bursts import Bursts
from seerkit.envs.calvin.moves import Move, arrived, commanded, towards
from seerkit.envs.calvin.plans import plan
from seerkit.envs.calvin.world import World
from seerkit.envs.contract import ACTION_DIM


class Follower:
    """Command moves one after another.

    Args:
        moves: drawn one at a time, each when the one before has ended, so that it may read where things are by then.
    """

    def __init__(self, moves: Iterator[Move]) -> None:
        self._moves = moves
        self._move = next(moves, None)
        self._lag = self._stayed = 0

    def act(self, world: World) -> np.ndarray | None:
        """Give the next action ``(7,)`` float32, or ``None`` after the last move."""
        while self._move is not None and self._ended(world, self._move):
            self._move = next(self._moves, None)
            self._lag = self._stayed = 0
        return None if self._move is None else towards(world.robot, self._move)

    def _ended(self, world: World, move: Move) -> bool:
        if arrived(world.robot, move):
            self._stayed += 1
            return self._stayed > move.rest
        self._lag += commanded(world.robot, move)
        return self._lag > move.patience


class Expert:
    """Do whatever task the environment asks for, again and again until it is done, and stumble now and then.

    The moves of a task follow from where things are when it begins; they go through the environment's own actions, from
    the pose commanded so far. After a change of task the tool is first drawn out of where the last one left it.

    Args:
        rng: draws the bursts.
        noise: size of the bursts that disturb it; see :class:`seerkit.envs.bursts.Bursts`.

    Attributes:
        label: the undisturbed action of the last ``act``.
        disturbed: whether the last ``act`` returned something else.
    """

    def __init__(self, rng: np.random.Generator, noise: float = 0.0) -> None:
        self._bursts = Bursts(rng, noise)
        self._asked: Any = None
        self._follower = Follower(iter(()))
        self.label = np.zeros(ACTION_DIM, np.float32)
        self.disturbed = False

    def act(self, env: gymnasium.Env[Any, Any]) -> np.ndarray:
        """Give the next action ``(7,)`` float32 for a CALVIN env (wrapped or not).

        Raises:
            ImpossibleError: if what the task needs is not there, such as a block in the hand.
        """
        base: Any = env.unwrapped
        world: World = base.world
        if base.asked != self._asked:
            self._asked, self._follower = base.asked, Follower(plan(world, base.goal))
        action = self._follower.act(world)
        if action is None:
            self._follower = Follower(plan(world, base.goal))
            action = self._follower.act(world)
        if action is None:
            raise ValueError(f"expected the plan of {base.goal} to have moves, given none")
        self.label, burst = action, self._bursts.draw()
        self.disturbed = burst is not None
        return action if burst is None else np.clip(action + burst, -1, 1).astype(np.float32)
