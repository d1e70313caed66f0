"""The benchmark's play table as a gymnasium environment."""

import functools
from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np

from seerkit.assets import require
from seerkit.envs.calvin.experts import Expert, Follower
from seerkit.envs.calvin.layouts import layout
from seerkit.envs.calvin.oracle import read_oracle
from seerkit.envs.calvin.original import Original
from seerkit.envs.calvin.painter import NEAR, SIZES
from seerkit.envs.calvin.play import wander
from seerkit.envs.calvin.protocol import EPISODE_STEPS, after, conditions, initial_state
from seerkit.envs.calvin.render import RENDERERS, Renderer
from seerkit.envs.calvin.scene import Scene, read_scene
from seerkit.envs.calvin.table import BUTTONS
from seerkit.envs.calvin.world import ROBOT_SIZE, SCENE_SIZE, World
from seerkit.envs.contract import GRIPPER_CLOSED, GRIPPER_OPEN, STATES, action_space, check_action, observation_space
from seerkit.envs.instruction import check_instruction

OPTIONS = ("robot_obs", "scene_obs", "tasks", "layout", "start")
STARTS = ("rest", "random")
OWN = "seerkit"
BACKENDS = (OWN, "calvin_env")


class CalvinEnv(gymnasium.Env[dict[str, Any], np.ndarray]):
    """Play on CALVIN's table, told one task after another.

    An episode asks for one task or for several in a row, as the benchmark does. The table is not touched in between;
    each task is measured against the moment it was asked for and has ``task_steps`` steps. The reward is 1 at the step
    that does a task, so an episode's return is how many were done. Physics and oracle repeat the original's numbers to
    the last bit from a freshly loaded world, and every reset loads one.

    An action moves the commanded pose along the axes of the world, not of the tool: 1 is 0.02 m, or 0.05 rad added to
    an extrinsic ``xyz`` Euler angle. As in the original, nothing holds larger numbers back.

    Args:
        scene: ``A`` to ``D``.
        renderer: ``"auto"``, ``"egl"``, ``"tiny"`` or ``"none"``, which leaves ``image`` out of the observation; see
            :class:`seerkit.envs.calvin.render.Renderer`.
        nearval: distance of the standing camera's near plane, metres; see there.
        button: ``"head"`` or ``"1431a46"``; see :class:`seerkit.envs.calvin.table.Table`.
        task_steps: control steps for each task.
        backend: ``"seerkit"``, our world, or ``"calvin_env"``: the original simulator if it is installed, whose button
            is that of its version and whose resets do not forget; see :class:`seerkit.envs.calvin.original.Original`.
        render_mode: ``None`` or ``"rgb_array"``: the standing camera's picture.

    Raises:
        FileNotFoundError: if the benchmark's files are not there, or are not the benchmark's.
        ModuleNotFoundError: if the original is asked for and not installed; says what to install.
        ValueError: if an argument is none of those above.

    Attributes:
        axes: along which an arm action moves.
        draws_layouts: that :meth:`reset` knows the option ``layout``.
        drawing: whether steps draw. Set it to ``False`` while a chunk is executed without looking: frames are then
            black, and cost nothing; :meth:`look` gives the present observation with pictures.
        asked: how many tasks have been asked for since the environment was made.
        settings: which near plane and button, for reports; the original's button is that of its version.
        oracle: tells which tasks were done, and holds the sentences.
        renderer: the renderer and the device that draw the pictures.
        simulator: the original and its commit, if it simulates; else None.
    """

    axes = "world's axes"
    draws_layouts = True
    state_names = STATES["pose_gripper"]
    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012 - gymnasium's own declaration

    def __init__(
        self,
        scene: str,
        *,
        renderer: str = "auto",
        nearval: float = NEAR,
        button: str = "head",
        task_steps: int = EPISODE_STEPS,
        backend: str = OWN,
        render_mode: str | None = None,
    ) -> None:
        _check(renderer, render_mode, button, task_steps, backend)
        assets = require("calvin")
        self.render_mode = render_mode
        self.settings: dict[str, Any] = {"nearval": nearval} | ({"button": button} if backend == OWN else {})
        self.task_steps = task_steps
        self.oracle = read_oracle(assets)
        for sentence in self.oracle.sentences.values():
            check_instruction(sentence)
        described = read_scene(scene, assets)
        self._renderer = None if renderer == "none" else Renderer(scene, assets, renderer=renderer, near=nearval)
        self.renderer = self._renderer.name if self._renderer else "none"
        self._table = self._own(described, button) if backend == OWN else self._original(scene, nearval)
        self.drawing = True
        self.action_space = action_space()
        self.observation_space = observation_space(SIZES, tuple(SIZES) if self._renderer else ())
        self._tasks: tuple[str, ...] = ()
        self.asked = 0

    def _own(self, scene: Scene, button: str) -> World:
        world, self.simulator = World(scene, button=button), None
        if self._renderer is not None:
            self._draw = functools.partial(self._renderer.draw, world)
        return world

    def _original(self, scene: str, near: float) -> Original:
        """Open the original; our renderer has shown what draws here, without ending this process where EGL cannot."""
        if self._renderer is not None:
            self._renderer.close()
        original = Original(scene, renderer=self.renderer.partition(":")[0], near=near)
        self.simulator, self._draw = original.version, original.draw
        return original

    @property
    def world(self) -> World:
        """The simulated table.

        Raises:
            TypeError: if the original simulates, which experts, layouts and play do not know.
        """
        if not isinstance(self._table, World):
            raise TypeError(f"expected backend={OWN!r} for what reads the world itself, given {self.simulator}")
        return self._table

    @property
    def goals(self) -> tuple[str, ...]:
        """All tasks."""
        return tuple(self.oracle.sentences)

    @property
    def goal(self) -> str:
        """The task now asked for; once all are done, the last."""
        return self._tasks[min(self._completed, len(self._tasks) - 1)]

    def set_goal(self, goal: str) -> str:
        """Ask for this task alone from now on and return its instruction; the next observation carries it."""
        self._tasks, self._completed = (self.oracle.check(goal),), 0
        self._begin_task()
        return self.oracle.sentences[goal]

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Load the table anew and begin an episode.

        Args:
            seed: of what is drawn: one of the benchmark's initial conditions and a task that can be done in it.
            options: ``robot_obs`` ``(15,)`` and ``scene_obs`` ``(24,)``: the state to begin in, as the benchmark writes
                it. ``tasks``: what to ask for, a name or several in a row; with a given state and no tasks, any one.
                ``layout`` instead of these: a task, to be asked for on a random table of this scene on which it can be
                done (:func:`seerkit.envs.calvin.layouts.layout`). ``start``: ``"rest"`` (default), or ``"random"``: the
                hand first goes to random places, and what is asked for begins there.

        Raises:
            ValueError: if an option or a task is unknown, a state has another shape or is not finite, or a layout is to
                be drawn beside a given state or tasks.
        """
        super().reset(seed=seed)
        given = _known(options or {})
        if "layout" in given:
            given |= layout(self.world, self.oracle.check(given["layout"]), self.np_random)
        condition = conditions()[int(self.np_random.integers(len(conditions())))]
        own = ("robot_obs" in given, "scene_obs" in given)
        possible = self.goals if any(own) else [task for task in self.goals if len(after(condition, task)) == 1]
        drawn = possible[int(self.np_random.integers(len(possible)))]
        tasks = self._named(given.get("tasks", drawn))
        state = _given_state(given) if any(own) else initial_state(condition)
        self._table.reset(*state)
        if given.get("start") == "random":
            self._wander()
        self._tasks, self._completed = tasks, 0
        self._begin_task()
        robot, scene = self._table.measure()
        return self._observe(robot), self._info(robot, scene)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """Command one action, let a thirtieth of a second pass, and look.

        Args:
            action: ``(7,)``; it is not changed. The gripper opens if its number is above 0, else it closes.

        Raises:
            ValueError: if the action has a wrong shape or is not finite.
        """
        self._table.step(_as_commanded(action))
        self._steps += 1
        done = not self._finished and bool(self.oracle.done(self._start, self._table.situation(), (self.goal,)))
        late = not done and self._steps >= self.task_steps
        if done:
            self._completed += 1
            self._begin_task()
        robot, scene = self._table.measure()
        return self._observe(robot), float(done), self._finished, late, self._info(robot, scene)

    def look(self) -> dict[str, Any]:
        """Give the present observation, with pictures whatever ``drawing`` says."""
        return self._observe(self._table.measure()[0], draw=True)

    def achieved(self) -> set[str]:
        """Name every task of the benchmark that has been done since the present one was asked for."""
        return self.oracle.done(self._start, self._table.situation())

    def expert(self, rng: np.random.Generator, *, noise: float = 0.0) -> Expert:
        """Make a scripted expert that does whatever is asked for; see :class:`seerkit.envs.calvin.experts.Expert`."""
        return Expert(rng, noise=noise)

    def render(self) -> np.ndarray | None:
        """Give the standing camera's picture as ``(200, 200, 3)`` uint8, or ``None`` without a render mode."""
        if self.render_mode is None or self._renderer is None:
            return None
        return np.ascontiguousarray(self._draw()["primary"].transpose(1, 2, 0))

    def close(self) -> None:
        """Free the table and end the process that draws."""
        self._table.close()
        if self._renderer is not None:
            self._renderer.close()

    @property
    def _finished(self) -> bool:
        return self._completed == len(self._tasks)

    def _named(self, tasks: str | Sequence[str]) -> tuple[str, ...]:
        several = (tasks,) if isinstance(tasks, str) else tuple(tasks)
        if not several:
            raise ValueError("expected at least one task, given none")
        return tuple(self.oracle.check(task) for task in several)

    def _wander(self) -> None:
        follower = Follower(wander(self.world, self.np_random))
        while (action := follower.act(self.world)) is not None:
            self.world.step(_as_commanded(action))

    def _begin_task(self) -> None:
        self._start, self._steps = self._table.situation(), 0
        self.asked += 1

    def _observe(self, robot: np.ndarray, *, draw: bool = False) -> dict[str, Any]:
        seen = {"image": self._see(draw=draw or self.drawing)} if self._renderer else {}
        return {
            **seen,
            "state": np.concatenate([robot[:6], robot[-1:]]).astype(np.float32),
            "language_instruction": self.oracle.sentences[self.goal],
        }

    def _see(self, *, draw: bool) -> dict[str, np.ndarray]:
        if self._renderer is None or not draw:
            return {name: np.zeros((3, size, size), np.uint8) for name, size in SIZES.items()}
        return self._draw()

    def _info(self, robot: np.ndarray, scene: np.ndarray) -> dict[str, Any]:
        return {
            "is_success": np.bool_(self._finished),
            "task": self.goal,
            "completed": self._completed,
            "robot_obs": robot,
            "scene_obs": scene,
        }


def _check(renderer: str, render_mode: str | None, button: str, task_steps: int, backend: str) -> None:
    for name, value, known in (
        ("renderer", renderer, RENDERERS),
        ("render_mode", render_mode, (None, "rgb_array") if renderer != "none" else (None,)),
        ("backend", backend, BACKENDS),
        ("button", button, BUTTONS if backend == OWN else BUTTONS[:1]),
    ):
        if value not in known:
            raise ValueError(f"expected {name} to be one of {known}, given {value!r}")
    if task_steps < 1:
        raise ValueError(f"expected task_steps of at least 1, given {task_steps}")


def _known(options: dict[str, Any]) -> dict[str, Any]:
    unknown = sorted(set(options) - set(OPTIONS))
    if unknown:
        raise ValueError(f"expected reset options of {OPTIONS}, given {unknown}")
    if options.get("start", STARTS[0]) not in STARTS:
        raise ValueError(f"expected start to be one of {STARTS}, given {options['start']!r}")
    beside = sorted(set(options) - {"layout", "start"})
    if "layout" in options and beside:
        raise ValueError(f"expected a layout to be drawn or a state and tasks to be given, given layout and {beside}")
    return dict(options)


def _given_state(options: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    found = []
    for name, size in (("robot_obs", ROBOT_SIZE), ("scene_obs", SCENE_SIZE)):
        if name not in options:
            raise ValueError(f"expected both robot_obs and scene_obs, given no {name}")
        state = np.array(options[name], np.float64)
        if state.shape != (size,) or not np.isfinite(state).all():
            raise ValueError(f"expected {name} as {size} finite numbers, given shape {state.shape}: {state.tolist()}")
        found.append(state)
    lights = found[1][4:6]
    if not np.isin(lights, (0, 1)).all():
        raise ValueError(f"expected scene_obs[4:6], lightbulb and LED, to be 0 or 1, given {lights.tolist()}")
    return found[0], found[1]


def _as_commanded(action: object) -> np.ndarray:
    """Check an action and make its gripper +1 or -1, in the precision it came in, which the original keeps, too."""
    checked = check_action(action).copy()
    checked[6] = GRIPPER_OPEN if checked[6] > 0 else GRIPPER_CLOSED
    given = getattr(action, "dtype", None)
    return checked.astype(given) if given in (np.float16, np.float32) else checked
