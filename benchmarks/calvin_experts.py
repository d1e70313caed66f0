"""How often does CALVIN's expert do each task, and in how many steps, on random layouts of a scene?

Layouts follow from their numbers, and so does everything else: two runs agree in every step. The oracle judges; a task
that is preceded by others (a lift, before a block is put down) counts its own steps only. No pictures are drawn.
"""

from __future__ import annotations

import argparse
import statistics
from typing import Any

import numpy as np
from measure import report

from seerkit.envs import make
from seerkit.envs.calvin.layouts import layout
from seerkit.envs.calvin.plans import PLANS

GOAL = 0.9
QUICK = ("open_drawer", "lift_red_block_table")


def attempt(env: Any, task: str, number: int, noise: float) -> int | None:  # noqa: ANN401
    """Return the steps a task took on a layout, or ``None`` if it was not done."""
    env.reset(options=layout(env.world, task, np.random.default_rng([number, 7])))
    expert, steps = env.expert(np.random.default_rng(number), noise=noise), 0
    while True:
        _, reward, done, late, _ = env.step(expert.act(env))
        steps += 1
        if done or late:
            return steps if done else None
        steps *= not reward


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", help="all 34 if none is given")
    parser.add_argument("--scene", default="D", choices=tuple("ABCD"))
    parser.add_argument("--layouts", type=int, default=50)
    parser.add_argument("--noise", type=float, default=0.0)
    parser.add_argument("--quick", action="store_true", help="two tasks on two layouts: does it run at all?")
    given = parser.parse_args()
    tasks, layouts = (QUICK, 2) if given.quick else (given.tasks or [*PLANS], given.layouts)
    env = make(f"calvin_{given.scene.lower()}", renderer="none").unwrapped
    details = {}
    for task in tasks:
        found = [attempt(env, task, number, given.noise) for number in range(layouts)]
        done = [steps for steps in found if steps is not None]
        details[task] = {
            "done": len(done),
            "median": statistics.median(done) if done else None,
            "most": max(done, default=None),
            "failed": [number for number, steps in enumerate(found) if steps is None],
        }
        print(task, details[task], flush=True)
    env.close()
    worst = min(one["done"] for one in details.values()) / layouts
    report("calvin_experts", value=worst, goal=GOAL, ok=worst >= GOAL, details={"layouts": layouts, "tasks": details})


if __name__ == "__main__":
    main()
