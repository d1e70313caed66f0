"""The tabletop tasks: what is on the table, what the instruction says, and when it is done."""

import difflib
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from seerkit.envs.pose import Pose
from seerkit.envs.tabletop.drivers import solve_start
from seerkit.envs.tabletop.world import World, tool_down

AREA = np.array([[0.40, -0.22], [0.62, 0.22]])
"""Corners of the workspace in which objects lie: x and y in metres."""
PLATE_AREA = np.array([[0.42, -0.17], [0.60, 0.17]])
HOME = (0.43, 0.0, 0.24, 0.0)
"""Start pose of the tool: x, y, z in metres and yaw in radians, pointing down."""
START_LOW, START_HIGH = (0.38, -0.22, 0.10, -0.35), (0.62, 0.22, 0.30, 0.35)
"""Bounds of random start poses."""
COLORS = ("red", "green", "blue")
OPTIONS = ("goal", "keep_layout", "start")


def spread(rng: np.random.Generator, areas: list[np.ndarray], apart: float) -> np.ndarray:
    """Draw a point in each area, each at least ``apart`` metres from the others: ``(count, 2)``."""
    low, high = np.stack(areas, axis=1)
    while True:
        points = rng.uniform(low, high)
        gaps = np.linalg.norm(points[:, None] - points, axis=-1)[np.triu_indices(len(areas), 1)]
        if (gaps >= apart).all():
            return points


def place_blocks(world: World, names: tuple[str, ...], points: np.ndarray, rng: np.random.Generator) -> None:
    """Put blocks on the table at points ``(count, 2)``, each turned by up to 0.4 rad."""
    for name, (x, y), yaw in zip(names, points, rng.uniform(-0.4, 0.4, len(points)), strict=True):
        world.place(name, Pose.from_euler_xyz((0, 0, yaw), (x, y, 0.02)))


class TabletopTask:
    """Lay a scene out from a seed, name a goal and judge it; each task fills in the four hooks at the end.

    Layout, start pose and goal are drawn from independent streams of the reset seed, so a reset with the same seed and
    another ``goal`` shows the same table. Reset options:

    - ``goal``: the name of a goal instead of a random one.
    - ``keep_layout``: ``True`` lays out the same table again, whatever the seed.
    - ``start``: ``"home"``, ``"random"``, or ``(x, y, z, yaw)`` of the tool.

    Args:
        world: the simulation.
        start: the default for the option ``start``.
    """

    scene: ClassVar[str]
    goals: ClassVar[tuple[str, ...]]
    hold: ClassVar[int] = 3
    """Steps in a row for which the goal must be met."""

    def __init__(self, world: World, start: str = "home") -> None:
        self.world = world
        self.start = start
        self.goal = self.goals[0]
        self._layout: int | None = None
        self._held = 0

    @property
    def instruction(self) -> str:
        """What to do, in words."""
        return self.describe(self.goal)

    def reset(self, rng: np.random.Generator, options: Mapping[str, Any]) -> None:
        """Lay out the table, put the arm at its start, choose a goal and let everything settle.

        Raises:
            ValueError: if an option or goal is unknown, or the start cannot be reached.
        """
        for name in options:
            _known("reset option", name, OPTIONS)
        layout, start, goal = rng.spawn(3)
        drawn = int(layout.integers(2**32))
        self._layout = self._layout if options.get("keep_layout") and self._layout is not None else drawn
        self.world.reset()
        self.arrange(np.random.default_rng(self._layout))
        self.world.move(solve_start(self.world, self._start(start, options.get("start", self.start))))
        drawn_goal = self.goals[int(goal.integers(len(self.goals)))]
        self.set_goal(options.get("goal", drawn_goal))
        self.world.advance()

    def set_goal(self, goal: str) -> None:
        """Ask for another goal from now on.

        Raises:
            ValueError: if the task has no such goal.
        """
        self.goal = _known("goal", goal, self.goals)
        self._held = 0

    def success(self) -> bool:
        """Say whether the goal has been met for ``hold`` steps in a row; asked once per step."""
        self._held = self._held + 1 if self.met() else 0
        return self._held >= self.hold

    def _start(self, rng: np.random.Generator, start: Any) -> Pose:  # noqa: ANN401 - a name or numbers, checked here
        drawn = rng.uniform(START_LOW, START_HIGH)
        if isinstance(start, str):
            return tool_down(*(HOME if _known("start", start, ("home", "random")) == "home" else drawn))
        values = np.asarray(start, dtype=float)
        if values.shape != (4,):
            raise ValueError(f"expected start to be 'home', 'random' or (x, y, z, yaw), given {start!r}")
        return tool_down(*values)

    def describe(self, goal: str) -> str:
        """Put a goal into words."""
        raise NotImplementedError

    def arrange(self, rng: np.random.Generator) -> None:
        """Put the objects on the table."""
        raise NotImplementedError

    def met(self) -> bool:
        """Say whether the goal is met in this very step."""
        raise NotImplementedError


def _known(what: str, name: Any, names: tuple[str, ...]) -> str:  # noqa: ANN401 - whatever the caller passed
    if name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1)
    raise ValueError(
        f"expected {what} to be one of {names}, given {name!r}{f'; did you mean {near[0]!r}?' if near else ''}"
    )


class Reach(TabletopTask):
    """Bring the tool tip to a 4 cm block: within 3 cm of its centre for five steps in a row."""

    scene = "reach.xml"
    goals = ("red",)
    hold = 5
    radius = 0.03
    apart = 0.12

    def describe(self, goal: str) -> str:
        return f"reach the {goal} block"

    def arrange(self, rng: np.random.Generator) -> None:
        place_blocks(self.world, self.goals, spread(rng, [AREA] * len(self.goals), self.apart), rng)

    def met(self) -> bool:
        return self.world.tool.distance(self.world.body(self.goal))[0] < self.radius


class ReachColor(Reach):
    """Reach the named one of three blocks, which lie at least 12 cm apart."""

    scene = "reach_color.xml"
    goals = COLORS


class PickPlace(TabletopTask):
    """Put the named one of three blocks on the plate.

    Done when its centre is within 4.5 cm of the plate's, it stands on the plate, and the fingers are open, for three
    steps in a row.
    """

    scene = "pick_place.xml"
    goals = COLORS
    released = 0.065
    """Width of the fingers that counts as letting go, metres."""

    def describe(self, goal: str) -> str:
        return f"pick up the {goal} block and put it on the plate"

    def arrange(self, rng: np.random.Generator) -> None:
        points = spread(rng, [PLATE_AREA] + [AREA] * 3, 0.12)
        self.world.place_fixed("plate", Pose.of((*points[0], 0.0)))
        place_blocks(self.world, COLORS, points[1:], rng)

    def met(self) -> bool:
        block, plate = self.world.body(self.goal).position, self.world.body("plate").position
        beside = np.linalg.norm(block[:2] - plate[:2])
        return bool(beside < 0.045 and 0.02 < block[2] < 0.04 and self.world.width > self.released)


class PickPlaceClose(TabletopTask):
    """Put the carrot in the open drawer and close it: closed to 1.5 cm with the carrot inside, for three steps."""

    scene = "drawer.xml"
    goals = ("carrot",)
    travel = 0.13

    def describe(self, goal: str) -> str:
        return f"put the {goal} in the drawer and close the drawer"

    def arrange(self, rng: np.random.Generator) -> None:
        x, y = rng.uniform((0.40, 0.05), (0.60, 0.20))
        self.world.place("carrot", Pose.from_euler_xyz((0, np.pi / 2, rng.uniform(-0.6, 0.6)), (x, y, 0.015)))
        self.world.slide("drawer", self.travel)

    def inside(self) -> bool:
        """Say whether the carrot lies in the drawer."""
        x, y, z = self.world.body("carrot").position - self.world.body("drawer").position
        return bool(abs(x) < 0.066 and abs(y) < 0.072 and 0 < z < 0.045)

    def met(self) -> bool:
        return self.inside() and self.world.slide("drawer") < 0.015


class StackCups(TabletopTask):
    """Nest the yellow and the blue cup in the red one, and let go, for three steps in a row."""

    scene = "cups.xml"
    goals = ("cups",)
    cups = ("red", "yellow", "blue")

    def describe(self, goal: str) -> str:
        return f"stack the {goal}"

    def arrange(self, rng: np.random.Generator) -> None:
        for name, (x, y) in zip(self.cups, spread(rng, [AREA] * 3, 0.15), strict=True):
            self.world.place(name, Pose.of((x, y, 0.0)))

    def nested(self, name: str) -> bool:
        """Say whether a cup stands inside the red one."""
        red, cup = self.world.body("red"), self.world.body(name)
        x, y, z = cup.position - red.position
        return bool(np.hypot(x, y) < 0.015 and 0 < z < 0.05 and min(red.rotation[2, 2], cup.rotation[2, 2]) > 0.95)

    def met(self) -> bool:
        return self.nested("yellow") and self.nested("blue") and self.world.width > PickPlace.released
