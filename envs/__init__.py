"""Environments that all speak the same names and units; simulators load only when an environment is made."""

import difflib
import functools
from typing import Any

TASKS = {"Reach": 90, "ReachColor": 90, "PickPlace": 220, "PickPlaceClose": 450, "StackCups": 500}
"""Tabletop tasks and their step limits."""

CALVIN = {f"calvin_{scene.lower()}": f"seerkit/Calvin-{scene}-v0" for scene in "ABCD"}
"""Short names and ids of CALVIN's scenes."""
CALVIN_STEPS = 1800
"""Five tasks of 360 steps."""

__all__ = ["CALVIN", "TASKS", "env_id", "make", "make_vec", "register_envs"]


def register_envs() -> None:
    """Tell gymnasium about ``seerkit/Tabletop-<Task>-v0`` and ``seerkit/Calvin-<Scene>-v0``; again changes nothing."""
    from gymnasium.envs.registration import register, registry

    for name in CALVIN.values():
        if name not in registry:
            register(
                name,
                entry_point="seerkit.envs.calvin.env:CalvinEnv",
                kwargs={"scene": name.split("-")[1]},
                max_episode_steps=CALVIN_STEPS,
            )

    for task, steps in TASKS.items():
        name = f"seerkit/Tabletop-{task}-v0"
        if name not in registry:
            register(
                name,
                entry_point="seerkit.envs.tabletop.env:TabletopEnv",
                kwargs={"task": task},
                max_episode_steps=steps,
            )


def env_id(name: str) -> str:
    """Give the gymnasium id of a task's or scene's name or of an id, after registering.

    Raises:
        ValueError: if the name is unknown; names the nearest known one.
    """
    from gymnasium.envs.registration import registry

    register_envs()
    full = f"seerkit/Tabletop-{name}-v0" if name in TASKS else CALVIN.get(name, name)
    if full not in registry:
        known = [*TASKS, *CALVIN, *(spec for spec in registry if spec.startswith("seerkit/"))]
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"expected an env of {known}, given {name!r}{hint}")
    return full


def make(name: str, *, goal: str | None = None, **options: Any) -> Any:  # noqa: ANN401 - gymnasium's own signature; the env class is the task's
    """Make an env by id, such as ``seerkit/Tabletop-Reach-v0``, or by name, such as ``Reach`` or ``calvin_d``.

    Args:
        name: a gymnasium id or one of :data:`TASKS` or :data:`CALVIN`.
        goal: ``"demonstrated"`` lets the expert show what is to be reached, as ``observation["goal"]``; see
            :class:`seerkit.envs.demonstrated.DemonstratedGoal`.
        options: passed on to ``gymnasium.make`` (``image_size``, ``state``, ``start``, ``max_episode_steps``, ...).

    Raises:
        ValueError: if the name or the goal is unknown; names the nearest known one.
    """
    import gymnasium

    if goal not in (None, "demonstrated"):
        raise ValueError(f"expected goal to be None or 'demonstrated', given {goal!r}")
    env = gymnasium.make(env_id(name), **options)
    if goal is None:
        return env
    from seerkit.envs.demonstrated import DemonstratedGoal

    return DemonstratedGoal(env)


def make_vec(name: str, count: int, *, autoreset: str = "NextStep", context: str = "spawn", **options: Any) -> Any:  # noqa: ANN401 - see make
    """Make ``count`` envs that step in processes of their own (``count=1``: in this one).

    Args:
        name: see :func:`make`.
        count: how many.
        autoreset: gymnasium's ``NextStep``, ``SameStep`` or ``Disabled``.
        context: how processes start; ``spawn`` is safe beside GL, CUDA and threads, and needs the usual
            ``if __name__ == "__main__":`` in a script.
        options: see :func:`make`.
    """
    from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv

    if env_id(name).startswith("seerkit/Tabletop-"):
        from seerkit.envs.tabletop.render import choose_library

        choose_library()  # once here, not once in every process
    makers = [functools.partial(make, name, **options)] * count
    mode = AutoresetMode(autoreset)
    if count == 1:
        return SyncVectorEnv(makers, autoreset_mode=mode)
    return AsyncVectorEnv(makers, context=context, autoreset_mode=mode)
