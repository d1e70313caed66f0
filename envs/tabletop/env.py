"""The tabletop twin: the Franka environment with MuJoCo drivers."""

import difflib
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from seerkit.envs.contract import CAMERAS
from seerkit.envs.franka.env import FrankaEnv
from seerkit.envs.franka.safety import Limits, SafetyFilter
from seerkit.envs.tabletop import tasks
from seerkit.envs.tabletop.drivers import sim_drivers
from seerkit.envs.tabletop.experts import Expert
from seerkit.envs.tabletop.model import Look
from seerkit.envs.tabletop.plans import PLANS
from seerkit.envs.tabletop.render import Renderer
from seerkit.envs.tabletop.world import World

LIMITS = Limits(gripper_ticks=1, gripper_dwell=0)
"""The twin's gripper obeys at once; a robot's is debounced."""


class TabletopEnv(FrankaEnv):
    """Simulate an FR3 over a table, with the interface of the real robot.

    Args:
        task: ``Reach``, ``ReachColor``, ``PickPlace``, ``PickPlaceClose`` or ``StackCups``.
        image_size: side of the square pictures in pixels.
        start: where an episode starts unless its reset says otherwise: ``"home"`` or ``"random"``.
        render_mode: ``None`` or ``"rgb_array"``: the primary view, ``look.render_size`` pixels.
        roll_positive: report the tool's roll in [0, 2 pi), continuous for a tool that points down; ``False`` is raw.
        state: ``"pose_gripper"`` or ``"pose_fingers"``; see :data:`seerkit.envs.contract.STATES`.
        look: cameras, shadows, multisampling, meshes; a :class:`Look` or a dictionary of its fields.
        limits: of the safety filter.
    """

    def __init__(
        self,
        task: str,
        *,
        image_size: int = 64,
        start: str = "home",
        render_mode: str | None = None,
        roll_positive: bool = True,
        state: str = "pose_gripper",
        look: Look | Mapping[str, Any] | None = None,
        limits: Limits = LIMITS,
    ) -> None:
        if task not in PLANS:
            near = difflib.get_close_matches(task, PLANS, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"expected a task of {tuple(PLANS)}, given {task!r}{hint}")
        self._look = look if isinstance(look, Look) else replace(Look(), **(look or {}))
        self._plan = PLANS[task]
        self._image_size = image_size
        self._renderers: dict[int, Renderer] = {}
        kind: type[tasks.TabletopTask] = getattr(tasks, task)
        self.world = World(kind.scene, self._look, image_size)
        self.task: tasks.TabletopTask
        super().__init__(
            sim_drivers(self.world, CAMERAS, lambda: self._renderer(image_size)),
            kind(self.world, start),
            image_size=image_size,
            safety=SafetyFilter(limits),
            render_mode=render_mode,
            roll_positive=roll_positive,
            state=state,
        )

    @property
    def renderer(self) -> str:
        """The GL library and device that draw the pictures."""
        return self._renderer(self._image_size).name

    @property
    def goals(self) -> tuple[str, ...]:
        """The goals this task knows."""
        return self.task.goals

    @property
    def goal(self) -> str:
        """The goal now asked for."""
        return self.task.goal

    def set_goal(self, goal: str) -> str:
        """Ask for another goal in mid-episode and return its instruction; the next step's observation carries it."""
        self.task.set_goal(goal)
        return self.task.instruction

    def expert(self, rng: np.random.Generator | None = None, *, noise: float = 0.0) -> Expert:
        """Give a scripted expert for this task; see :class:`Expert` for ``noise``."""
        return Expert(self._plan, rng or np.random.default_rng(), noise)

    def render(self) -> np.ndarray | None:
        """Draw the primary view as ``(render_size, render_size, 3)`` uint8, or ``None`` without a render mode."""
        if self.render_mode is None:
            return None
        picture = self._renderer(self._look.render_size).draw(self.world.data, "primary")
        return np.ascontiguousarray(picture.transpose(1, 2, 0))

    def close(self) -> None:
        """Free the renderers."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers = {}
        super().close()

    def _renderer(self, size: int) -> Renderer:
        if size not in self._renderers:
            self._renderers[size] = Renderer(self.world.model, size)
        return self._renderers[size]
