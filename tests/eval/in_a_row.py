"""A tiny environment that asks for three goals in a row and need not draw, and sequences that went as wished."""

import numpy as np

from seerkit.eval.records import Attempt, Episode
from tests.eval.fakes import SIZE, WORDS, FakeReach

ASKED = 3


class FakeRow(FakeReach):
    """Ask for one goal after another from wherever the dot is; each may take ``limit`` steps."""

    def __init__(self, *, limit: int = 17) -> None:
        super().__init__(limit=limit)
        self.drawing, self.completed = True, 0

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        super().reset(seed=seed, options=options)
        self.completed = 0
        return self.look(), self._said()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        *_, done, late, _ = super().step(action)
        if done:
            self.completed += 1
            self.goal, self.text, self.steps = self.np_random.uniform(-1, 1, 2), WORDS[self.completed % 3], 0
        observation = self.look() if done or self.drawing else self._blind()
        return observation, float(done), self.completed == ASKED, late, self._said()

    def look(self) -> dict:
        return self._look()

    def _blind(self) -> dict:
        black = np.zeros((3, SIZE, SIZE), np.uint8)
        return {**self._look(), "image": {"primary": black, "wrist": black}}

    def _said(self) -> dict:
        over = self.completed == ASKED
        said = {"task": f"goal {self.completed}", "completed": self.completed, "asked": ASKED}
        return {"is_success": np.bool_(over), **said}


def sequence_of(index: int, completed: int, *, task: str = "Calvin-D", asked: int = 5) -> Episode:
    """A sequence that did so many tasks."""
    names = ("open_drawer", "lift_red_block_table", "turn_on_led", "stack_block", "close_drawer")
    tried = [Attempt(name, name, place < completed, 10 + place) for place, name in enumerate(names)][: completed + 1]
    steps = sum(attempt.steps for attempt in tried)
    return Episode(index, index, task, names[0], completed == asked, steps, asked, tuple(tried), f"{index}{completed}")
