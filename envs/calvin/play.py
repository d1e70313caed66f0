"""Undirected play: whatever can be done next, one thing after another, with wandering in between."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from seerkit.envs.bursts import Bursts
from seerkit.envs.calvin.experts import Follower
from seerkit.envs.calvin.layouts import free
from seerkit.envs.calvin.moves import REST_YAW, Move
from seerkit.envs.calvin.plans import ImpossibleError, clear, cupboard, held, in_drawer, on_table, plan
from seerkit.envs.calvin.world import World

if TYPE_CHECKING:
    from seerkit.envs.calvin.env import CalvinEnv

WANDER = 0.3
"""Share of the choices that are to go somewhere at random."""
SPACE = ((-0.20, -0.35, 0.50), (0.28, -0.12, 0.66))
"""Two opposite corners of where the hand wanders, metres."""
DEPTH = (-0.17, -0.04)
"""Between which y the hand can take a block off the table, metres."""
SIDES = (("left", -1), ("right", 1))
DOOR_ENDS, DRAWER_ENDS = (0.05, 0.23), (0.08, 0.15)
"""Below the first a door counts as shut (the sliding door: to the right), beyond the second as open, metres."""


class Player:
    """Play with the table.

    What can be done follows from where things are. Tasks are drawn kind by kind, so that there is as much opening and
    switching as there is lifting, and every plan is carried to its end whether or not the task succeeds.

    Args:
        rng: draws everything.
        noise: size of the bursts that disturb it; see :class:`seerkit.envs.bursts.Bursts`.

    Attributes:
        task: what it is at; empty while it wanders.
    """

    def __init__(self, rng: np.random.Generator, *, noise: float = 0.0) -> None:
        self._rng, self._bursts = rng, Bursts(rng, noise)
        self._follower = Follower(iter(()))
        self.task = ""

    def act(self, env: CalvinEnv) -> np.ndarray:
        """Give the next action ``(7,)`` float32 and, when it begins a task, make that the one ``env`` asks for."""
        action = self._next(env.world)
        while action is None:
            self._choose(env)
            action = self._next(env.world)
        burst = self._bursts.draw()
        return action if burst is None else np.clip(action + burst, -1, 1).astype(np.float32)

    def _next(self, world: World) -> np.ndarray | None:
        try:
            return self._follower.act(world)
        except ImpossibleError:  # the block slipped out of the hand on the way
            return None

    def _choose(self, env: CalvinEnv) -> None:
        kinds: dict[str, list[str]] = {}
        for task in possible(env.world):
            kinds.setdefault(_kind(task), []).append(task)
        if not kinds or self._rng.random() < WANDER:
            self.task, self._follower = "", Follower(wander(env.world, self._rng))
            return
        kind = list(kinds.values())[int(self._rng.integers(len(kinds)))]
        self.task = kind[int(self._rng.integers(len(kind)))]
        env.set_goal(self.task)
        try:
            self._follower = Follower(plan(env.world, self.task))
        except ImpossibleError:
            self._follower = Follower(iter(()))


def _kind(task: str) -> str:
    verb, _, rest = task.partition("_")
    return rest.rpartition("_")[2] if verb == "turn" else verb


def wander(world: World, rng: np.random.Generator) -> Iterator[Move]:
    """Go to up to three random places above the table; a block in the hand stays there."""
    holding = held(world) is not None
    yield from clear(world, holding=holding)
    for _ in range(int(rng.integers(1, 4))):
        opened = not holding and bool(rng.random() < 0.5)
        yield Move(rng.uniform(*SPACE), REST_YAW + rng.uniform(-0.6, 0.6), opened=opened, near=0.03)


def possible(world: World) -> list[str]:
    """Name the tasks that can be begun from where things are now."""
    door, drawer = world.table.observe()[:2]
    opened = drawer > DRAWER_ENDS[1]
    lying = [name for name in world.scene.blocks if on_table(world, name)]
    block = held(world)
    if block is not None:
        doable = ((door < DOOR_ENDS[0] or door > DOOR_ENDS[1], "place_in_slider"), (opened, "place_in_drawer"))
        return [*_true(*doable, (any(name != block for name in lying), "stack_block"))]
    lights = [f"turn_{'off' if on else 'on'}_{light}" for light, on in world.table.lights.items()]
    doors = (
        (drawer < DRAWER_ENDS[0], "open_drawer"),
        (opened, "close_drawer"),
        (door < DOOR_ENDS[1], "move_slider_left"),
        (door > DOOR_ENDS[0], "move_slider_right"),
    )
    return [*lights, *_true(*doors), *(task for name in world.scene.blocks for task in _with_block(world, name))]


def _with_block(world: World, name: str) -> Iterator[str]:
    door, drawer = world.table.observe()[:2]
    blocks = world.situation().blocks
    at, color = blocks[name].position, name.removeprefix("block_")
    others = [blocks[other].position - at for other in blocks if other != name]
    if on_table(world, name) and any(math.hypot(*way[:2]) < 0.03 for way in others):
        yield "unstack_block"
    elif on_table(world, name) and _within(world, at):
        yield from (f"lift_{color}_block_table", f"rotate_{color}_block_left", f"rotate_{color}_block_right")
        yield from (f"push_{color}_block_{word}" for word, side in SIDES if free(world.scene, at, side, others))
        yield from _true((drawer > DRAWER_ENDS[1], "push_into_drawer"))
    half = "left" if door < DOOR_ENDS[0] else "right" if door > DOOR_ENDS[1] else ""
    if half and np.abs(at - cupboard(world.scene)[half])[[0, 2]].max() < 0.07 and 0.04 < at[1] < 0.14:
        yield f"lift_{color}_block_slider"
    if drawer > DRAWER_ENDS[1] and (np.abs(at - in_drawer(world)) < (0.14, 0.085, 0.04)).all():
        yield f"lift_{color}_block_drawer"


def _within(world: World, at: np.ndarray) -> bool:
    low, high = world.scene.surfaces["table"][:, 0]
    return bool(low - 0.05 <= at[0] <= high and DEPTH[0] <= at[1] <= DEPTH[1])


def _true(*pairs: tuple[bool, str]) -> list[str]:
    return [name for holds, name in pairs if holds]
