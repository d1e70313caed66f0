"""What an evaluation runs in: an environment, how it is made and how long an episode may last."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import gymnasium as gym

from seerkit import envs

if TYPE_CHECKING:
    from seerkit.eval.in_a_row import Sentences

TWIN, CALVIN = "seerkit/Tabletop-", "seerkit/Calvin-"
ROUNDINGS = ("float16",)
EnvFactory = Callable[[], gym.Env]


@dataclass(frozen=True)
class Scene:
    """Name an environment and the options that make it.

    Args:
        env: an id (``"seerkit/Tabletop-Reach-v0"``), a task's name (``"Reach"``) or a function that makes one.
        options: keyword arguments of the environment; only with an id.
        horizon: steps after which an episode counts as failed; None takes the environment's own limit. Of CALVIN's
            sequences: steps for each task.
        start: how worker processes start: ``spawn`` is safe beside GL, CUDA and threads and needs the usual
            ``if __name__ == "__main__":`` in a script; ``fork`` is quicker.
        round_actions: ``"float16"`` rounds actions before they are executed, as the official Seer on CALVIN does.
        sentences: what CALVIN's tasks are asked for with; None: the benchmark's own. See `in_a_row.read_sentences`.

    Raises:
        ValueError: if the id is unknown (names the nearest), options come with a function, the horizon is below 1,
            there is no such rounding, or sentences are given for something else than CALVIN.
    """

    env: str | EnvFactory
    options: Mapping[str, Any] = field(default_factory=dict)
    horizon: int | None = None
    start: str = "spawn"
    round_actions: str | None = None
    sentences: "Sentences | None" = None

    def __post_init__(self) -> None:
        if self.options and not isinstance(self.env, str):
            raise ValueError(f"expected options only with an environment id, given a function and {dict(self.options)}")
        if self.horizon is not None and self.horizon < 1:
            raise ValueError(f"expected a horizon of at least 1 step, given {self.horizon}")
        if isinstance(self.env, str):
            object.__setattr__(self, "env", envs.env_id(self.env))
        if self.round_actions not in (None, *ROUNDINGS):
            raise ValueError(f"expected round_actions of {ROUNDINGS} or none, given {self.round_actions!r}")
        if self.sentences is not None and not self.in_a_row:
            raise ValueError(f"expected sentences only for CALVIN's tasks, given some for {self.name}")

    @property
    def name(self) -> str:
        """Give the id, or the function's name."""
        return self.env if isinstance(self.env, str) else getattr(self.env, "__name__", type(self.env).__name__)

    @property
    def task(self) -> str:
        """Give a short name for tables: ``Reach`` for ``seerkit/Tabletop-Reach-v0``, ``Calvin-D``."""
        last = self.name.rsplit("/", 1)[-1]
        parts = last.split("-")
        if self.in_a_row:
            return "-".join(parts[:-1])
        return "-".join(parts[1:-1]) if len(parts) > 2 else last

    @property
    def in_a_row(self) -> bool:
        """Whether an episode is one of CALVIN's sequences of tasks."""
        return self.name.startswith(CALVIN)

    @property
    def task_steps(self) -> int:
        """Give the steps each task of a sequence may take."""
        from seerkit.envs.calvin.protocol import EPISODE_STEPS

        return self.horizon or self.options.get("task_steps") or EPISODE_STEPS

    @property
    def limit(self) -> int | None:
        """Give the steps an episode may last: the horizon, else the registered limit, None if there is neither."""
        if self.in_a_row:
            from seerkit.envs.calvin.protocol import LENGTH

            return LENGTH * self.task_steps
        if self.horizon is not None or not isinstance(self.env, str):
            return self.horizon
        return gym.spec(self.env).max_episode_steps

    def prepare(self) -> None:
        """Settle once, before workers start, what each would otherwise find out for itself: the GL library."""
        if isinstance(self.env, str) and self.env.startswith(TWIN):
            from seerkit.envs.tabletop.render import choose_library

            choose_library()

    def make(self) -> gym.Env:
        """Build the environment.

        Raises:
            ValueError: if it does not take an option.
        """
        try:
            return self._make()
        except TypeError as error:
            if not self.options or "keyword argument" not in str(error):
                raise
            raise ValueError(f"{self.name} does not take all of {dict(self.options)}: {error}") from error

    def _make(self) -> gym.Env:
        if self.in_a_row:
            from seerkit.eval.in_a_row import InARow

            options = {**self.options, "task_steps": self.task_steps, "max_episode_steps": self.limit}
            return InARow(envs.make(self.name, **options), sentences=self.sentences)
        return envs.make(self.env, **self.options) if isinstance(self.env, str) else self.env()


def as_scene(env: "str | EnvFactory | Scene") -> Scene:
    """Wrap an id or a function into a `Scene`; leave a `Scene` alone."""
    return env if isinstance(env, Scene) else Scene(env)
