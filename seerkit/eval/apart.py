"""Several environments, each acted for by itself."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from seerkit.agent import Agent
from seerkit.eval.actors import Observation

if TYPE_CHECKING:
    from seerkit.policy import Policy


class Apart:
    """Ask a policy about one environment after another, never about several at once.

    A matrix product over more rows may round differently, and contacts magnify the last digit. Asked one by one, a row
    depends on nothing but itself: not on how many there are, on who else is filmed, or on where a run was resumed. On a
    CPU this costs little; on an accelerator it costs most of what a batch gains.

    Args:
        policy: put into evaluation mode; its weights are shared.
        batch_size: how many environments.

    Attributes:
        foresight: as `Agent.foresight`; black in rows not asked for.
    """

    def __init__(self, policy: "Policy", *, batch_size: int) -> None:
        self.batch_size = batch_size
        self.foresight: dict[str, np.ndarray] = {}
        self._agents = [Agent(policy) for _ in range(batch_size)]

    @property
    def looking(self) -> np.ndarray:
        """Whose next action depends on the next observation: bool ``(n,)``."""
        return np.concatenate([agent.looking for agent in self._agents])

    def reset(self, rows: np.ndarray | None = None, *, seeds: Sequence[int | None] | None = None) -> None:
        """Begin new episodes in the rows that are True (None: all); see `Agent.reset`."""
        for row, agent in enumerate(self._agents):
            if rows is None or rows[row]:
                agent.reset(seeds=None if seeds is None else [seeds[row]])

    def act(
        self, observation: Observation, *, foresee: bool | Sequence[bool] = False, rows: Sequence[bool] | None = None
    ) -> np.ndarray:
        """Give one action per row, ``(n, A)`` float32.

        Args:
            observation: batched.
            foresee: whether to foresee, too; or in which rows.
            rows: which to act for (None: all); the others get zeros.
        """
        wanted = [foresee] * self.batch_size if isinstance(foresee, bool) else foresee
        acting = [row for row in range(self.batch_size) if rows is None or rows[row]]
        answers = {row: self._agents[row].act(_only(observation, row), foresee=wanted[row])[0] for row in acting}
        drawn = {row: self._agents[row].foresight for row in acting if wanted[row]}
        self.foresight = _stacked(drawn, self.batch_size)
        return _spread(answers, self.batch_size)


def _only(tree: Any, row: int) -> Any:  # noqa: ANN401 - arrays, sequences, or mappings of them
    if isinstance(tree, Mapping):
        return {name: _only(branch, row) for name, branch in tree.items()}
    return tree[row : row + 1]


def _stacked(drawn: Mapping[int, Mapping[str, np.ndarray]], rows: int) -> dict[str, np.ndarray]:
    cameras = next(iter(drawn.values()), {})
    return {name: _spread({row: seen[name][0] for row, seen in drawn.items()}, rows) for name in cameras}


def _spread(values: Mapping[int, np.ndarray], rows: int) -> np.ndarray:
    blank = np.zeros_like(next(iter(values.values())))
    return np.stack([values.get(row, blank) for row in range(rows)])
