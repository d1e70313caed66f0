"""How fast is our CALVIN, with pictures beside the original simulator, and without them?

With two cameras: our environment against the original's own step, each in a process of its own (two EGL clients in one
process draw with each other's textures), in turn, from the same start with the same actions. What is compared is equal
first. The original draws depth and a segmentation mask with every picture; it is timed as it is, and without masks.
Without cameras: free motion and every recorded episode, and what Bullet alone takes for the same steps. Times are CPU
times, of a process and of the one that draws for it, and medians of rounds.
"""

from __future__ import annotations

import importlib.util
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from measure import arguments, report, rounded

from seerkit.envs import make
from seerkit.envs.calvin.original import CAMERAS, Original
from seerkit.envs.calvin.painter import NEAR
from seerkit.envs.calvin.protocol import conditions, initial_state
from seerkit.envs.calvin.world import SUBSTEPS

GOALS = {"ratio": 1.4, "value": 300.0}
GOLDEN = Path(os.environ.get("SEERKIT_GOLDEN", Path(__file__).parents[2] / "shared/golden")) / "calvin"
STEPS = 20
CPU_CLOCK = 2
"""The Linux clock that counts all threads of a process."""
START = initial_state(conditions()[0])
KINDS = ("ours", "original", "original without masks")
Step = tuple[np.ndarray, list[np.ndarray]]
"""What the robot measures, and both pictures ``(side, side, 3)``."""


def draw_actions(steps: int, *, down: float) -> np.ndarray:
    """Draw random actions with an open hand, which sinks if asked to."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (steps, 7))
    drawn[:, 2] -= down
    drawn[:, 6] = 1
    return drawn


def options(robot: np.ndarray, scene: np.ndarray) -> dict[str, Any]:
    """Begin in a state, and ask for something."""
    return {"robot_obs": robot, "scene_obs": scene, "tasks": "stack_block"}


class Ours:
    """Step our environment, with everything a policy and the protocol get of it."""

    def __init__(self) -> None:
        self.env = make("calvin_d", renderer="egl")
        self.said = self.env.unwrapped.renderer

    def reset(self) -> None:
        """Begin at the start."""
        self.env.reset(options=options(*START))

    def step(self, action: np.ndarray) -> Step:
        """Step, and give what was seen."""
        seen, *_, info = self.env.step(action)
        return info["robot_obs"], [seen["image"][name].transpose(1, 2, 0) for name in CAMERAS.values()]


class Theirs:
    """Step the original as the official evaluation does: its own step draws both cameras."""

    def __init__(self, *, masks: bool) -> None:
        self.original, self.masks = Original("D", renderer="egl", near=NEAR), masks
        self.said = self.original.version
        self.original.env.cameras = [*self.original.cameras.values()]

    def reset(self) -> None:
        """Begin at the start."""
        self.original.env.reset(robot_obs=START[0], scene_obs=START[1])

    def step(self, action: np.ndarray) -> Step:
        """Step, and give what was seen."""
        if self.masks:
            seen = self.original.env.step(action)[0]
        else:
            with self.original.maskless():
                seen = self.original.env.step(action)[0]
        return seen["robot_obs"], [seen["rgb_obs"][f"rgb_{name}"] for name in CAMERAS]


def serve(kind: str, line: Connection) -> None:
    """Play from the start whenever told so, for as many steps; answer with times and what was seen."""
    player = Ours() if kind == KINDS[0] else Theirs(masks=kind == KINDS[1])
    line.send(player.said)
    while steps := line.recv():
        player.reset()
        moves, cpu, wall = draw_actions(steps, down=0.5), cpu_seconds(), time.perf_counter()
        seen = [player.step(move) for move in moves]
        line.send((cpu_seconds() - cpu, time.perf_counter() - wall, seen))


def cpu_seconds() -> float:
    """Count the CPU seconds of this process and of those it has started."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return time.process_time() + sum(time.clock_gettime(~int(pid) << 3 | CPU_CLOCK) for pid in children)


def with_cameras(*, rounds: int, steps: int) -> dict[str, Any]:
    """Compare, then time all kinds in turn; give steps per second of CPU and of wall time."""
    context, lines, said = multiprocessing.get_context("spawn"), {}, {}
    for kind in KINDS:
        lines[kind], theirs = context.Pipe()
        context.Process(target=serve, args=(kind, theirs), daemon=True).start()
        theirs.close()  # so that its end is noticed
        said[kind] = lines[kind].recv()
    played: dict[str, list[Any]] = {kind: [] for kind in KINDS}
    for _ in range(rounds + 1):  # the first is compared, and not counted
        for kind, line in lines.items():
            line.send(steps)
            played[kind].append(line.recv())
    for line in lines.values():
        line.send(0)
    equal = {kind: compare(played[KINDS[0]][0][2], played[kind][0][2]) for kind in KINDS[1:]}
    median = {
        unit: {kind: statistics.median(one[i] for one in played[kind][1:]) / steps for kind in KINDS}
        for i, unit in enumerate(("cpu", "wall"))
    }
    return {
        "ratio": {unit: rounded({k: t[k] / t[KINDS[0]] for k in KINDS[1:]}) for unit, t in median.items()},
        "ms per step": {unit: rounded({k: 1000 * t[k] for k in KINDS}) for unit, t in median.items()},
        "pixels within one level": equal,
        "who": said,
    }


def compare(ours: list[Step], theirs: list[Step]) -> float:
    """Give the least share of a picture's pixels that agree within one level.

    Raises:
        ValueError: if the robot's numbers differ in any bit, or pictures in more than one pixel of a hundred.
    """
    shares = []
    for step, ((robot, frames), (other, pictures)) in enumerate(zip(ours, theirs, strict=True)):
        if robot.tobytes() != other.tobytes():
            raise ValueError(f"expected the same episode, but step {step} differs by {np.abs(robot - other).max()}")
        for frame, picture in zip(frames, pictures, strict=True):
            shares.append((np.abs(frame.astype(int) - picture).max(axis=-1) <= 1).mean())
    if min(shares) < 0.99:
        raise ValueError(f"expected 99 % of the pixels within one level, but {min(shares):.2%} are")
    return float(min(shares))


def episodes() -> Iterator[tuple[str, str, tuple[np.ndarray, np.ndarray], np.ndarray]]:
    """Give name, scene, start and actions of a free motion and of every recorded episode."""
    yield "free", "D", START, draw_actions(200, down=-0.2)
    for path in sorted(GOLDEN.glob("trajectories_*.npz")):
        recorded, scene = np.load(path), path.stem[-1]
        for i, meta in enumerate(json.loads(str(recorded["meta"]))):
            yield f"{scene}{i}", scene, initial_state(meta["initial_state"]), recorded[f"{i}_actions"]


def without_cameras(*, rounds: int, steps: int | None) -> dict[str, dict[str, float]]:
    """Time every episode, and Bullet's part of it; steps per second of CPU time."""
    envs = {scene: make(f"calvin_{scene.lower()}", renderer="none") for scene in "AD"}
    found: dict[str, dict[str, list[float]]] = {}
    for _ in range(rounds):
        for name, scene, start, moves in episodes():
            played = found.setdefault(name, {"whole": [], "Bullet alone": []})
            played["whole"].append(whole(envs[scene], start, moves[:steps]))
            played["Bullet alone"].append(bullet(envs[scene].unwrapped.world, start, moves[:steps]))
    return {name: {part: 1 / statistics.median(each) for part, each in one.items()} for name, one in found.items()}


def whole(env: Any, start: tuple[np.ndarray, np.ndarray], moves: np.ndarray) -> float:  # noqa: ANN401
    """Play an episode and give the CPU seconds of a step."""
    env.reset(options=options(*start))
    begun = time.process_time()
    for move in moves:
        env.step(move)
    return (time.process_time() - begun) / len(moves)


def bullet(world: Any, start: tuple[np.ndarray, np.ndarray], moves: np.ndarray) -> float:  # noqa: ANN401
    """Play the same physics and give the CPU seconds of a step that go into pybullet's stepSimulation."""
    world.reset(*start)
    spent = 0.0
    for move in moves:
        world.robot.command(move)
        begun = time.process_time()
        for _ in range(SUBSTEPS):
            world.client.stepSimulation()
        spent += time.process_time() - begun
        world.table.advance()
    return spent / len(moves)


def main() -> None:
    """Measure and report."""
    given = arguments(__doc__)
    rounds = given.rounds or (1 if given.quick else 5)
    alone = without_cameras(rounds=min(rounds, 3), steps=10 if given.quick else None)
    beside: dict[str, Any] = {"not measured": "calvin_env, the original simulator, is not installed"}
    ratio, slowest = None, min(one["whole"] for one in alone.values())
    if importlib.util.find_spec("calvin_env") is not None:
        beside = with_cameras(rounds=rounds, steps=3 if given.quick else STEPS)
        ratio = beside["ratio"]["cpu"][KINDS[1]]
    quick_enough = slowest >= GOALS["value"]
    ok = (None if quick_enough else False) if ratio is None else quick_enough and ratio >= GOALS["ratio"]
    details = {"with cameras": beside, "steps/s without": {name: rounded(one) for name, one in alone.items()}}
    report("calvin_speed", ratio=ratio, value=slowest, goal=GOALS, ok=ok, details=details)


if __name__ == "__main__":
    main()
