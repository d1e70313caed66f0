"""A wish to stop a run, from outside: every process of it saves and stops after the same update."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Any

import torch
from torch import Tensor, distributed

from seerkit.train.parallel import World


class StopRequest:
    """Turn SIGTERM and Ctrl-C into a wish to save and stop; a second one stops at once.

    Args:
        world: the processes of the run; it is enough to ask one of them.

    Attributes:
        asked: whether this process was asked.
    """

    def __init__(self, world: World) -> None:
        self.asked = False
        self._world = world
        self._before: dict[int, Any] = {}
        self._vote: tuple[Tensor, distributed.Work] | None = None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._counted()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def agreed(self) -> bool:
        """Say whether all processes stop now; every process must ask once per update.

        With several processes the answer is what was wished at the update before: one number per process travels, on
        the CPU and while the next update runs, so that nobody waits for it.
        """
        if self._world.size == 1:
            return self.asked
        wished = self._counted()
        vote = torch.tensor(int(self.asked))
        work: Any = distributed.all_reduce(vote, distributed.ReduceOp.MAX, async_op=True)
        self._vote = vote, work
        return wished

    def _counted(self) -> bool:
        if self._vote is None:
            return False
        (vote, work), self._vote = self._vote, None
        work.wait()
        return bool(vote)

    def _ask(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002  (Python's signature)
        self.asked = True
        signal.signal(number, self._before[number])
