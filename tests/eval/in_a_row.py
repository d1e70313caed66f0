"""A tiny environment that asks for three goals in a row and need not draw, and actors that may not look."""

import numpy as np

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
