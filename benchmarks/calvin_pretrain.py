"""Does pre-training on undirected play help a tiny policy that has few demonstrations of CALVIN's tasks?

Play and demonstrations are recorded in scenes A, B and C. One policy is pre-trained on the play; then, for every
training seed, one is fine-tuned from it and its twin is trained from nothing, on the same demonstrations, for as many
updates. Both play the same random tables of scene D, which neither has seen. All but the playing is done by commands a
user would type; what is found in ``--out`` is not done again, so a stopped run goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

from measure import report, rounded

from seerkit import Agent, Policy
from seerkit.envs import make
from seerkit.envs.contract import EVAL_SEEDS
from seerkit.eval.difference import mcnemar
from seerkit.eval.statistics import stratified_bootstrap, wilson

TASKS = ("turn_on_led", "open_drawer", "move_slider_left")
"""They need no block, so that a centimetre matters less; each part is where it is in D in one of A to C, too."""
TRAINED, UNSEEN = "abc", "d"
ARMS = ("scratch", "finetuned")
POLICY = ("chunk=6", "ensemble=receding", "trunk.start=bare", "encoders.image.module.vit.depth=0")
"""Six actions are executed before the next look; what the twin's small policies needed to listen to a sentence."""
LEARN = ("train.batch_size=16", "losses.foresight.weight=0.1")
"""How demonstrations are learned, by both arms: actions before pictures of the future."""
STEPS = 150
"""Steps a task may take; the expert's longest from a random start take about 80."""


def seerkit(*words: str) -> None:
    """Run a command, unless what it writes is there."""
    print("seerkit", *words, flush=True)
    subprocess.run([sys.executable, "-m", "seerkit", *words], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def recorded(out: Path, given: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Record play and demonstrations in the scenes that are trained on; give both as options of ``seerkit train``."""
    options: tuple[list[str], list[str]] = ([], [])
    tasks = [word for task in TASKS for word in ("--task", task)]
    for number, scene in enumerate(TRAINED):
        play, store, demos = out / f"play-{scene}", out / f"store-{scene}", out / f"demos-{scene}"
        env, sizes = f"calvin_{scene}", ("--episodes", str(given.play), "--steps", str(given.play_steps))
        if not play.exists():
            seerkit("play", env, "--out", str(play), *sizes, "--seed", str(number), "--workers", str(given.workers))
        if not store.exists():
            seerkit("data", "convert", str(play), "--option", "split=training", "--out", str(store))
        if not demos.exists():
            count = ("--episodes", str(given.demos * len(TASKS)))
            seerkit("collect", env, *tasks, "--random-start", "1", "--noise", "0.3", *count, "--out", str(demos))
        for data, paths in zip((store, demos), options, strict=True):
            paths += ["--data", str(data)]
    return options


def trained(recipe: str, data: list[str], run: Path, updates: int, *settings: str) -> Path:
    """Train, or go on with it, and give the last checkpoint."""
    words = [recipe, *POLICY, *settings, f"train.updates={updates}", *data, "--out", str(run)]
    seerkit("train", *words, *["--resume"] * (run / "checkpoints").exists())
    return run / "checkpoints" / "last"


def policies(out: Path, given: argparse.Namespace) -> dict[tuple[str, int], Path]:
    """Train everything; give the checkpoint of every arm and seed."""
    play, demos = recorded(out, given)
    before = trained("seer_calvin_tiny_pretrain", play, out / "pretrain", given.pretrain_updates, "train.batch_size=8")
    found = {}
    for seed in range(given.seeds):
        begins = {"scratch": (), "finetuned": (f"init_from.checkpoint={before}",)}
        for arm in ARMS:
            run, settings = out / f"{arm}-{seed}", (*LEARN, f"train.seed={seed}", *begins[arm])
            found[arm, seed] = trained("seer_calvin_tiny", demos, run, given.updates, *settings)
    return found


def solved(env: Any, agent: Agent, task: str, number: int) -> bool:  # noqa: ANN401 - CALVIN's environment
    """Play one random table."""
    agent.reset()
    env.drawing = True
    observation, info = env.reset(seed=EVAL_SEEDS[number], options={"layout": task, "start": "random"})
    for _ in range(STEPS):
        action = agent.act(observation)
        env.drawing = bool(agent.looking[0])
        observation, *_, info = env.step(action)
        if info["is_success"]:
            return True
    return False


def played(out: Path, scene: str, found: dict[tuple[str, int], Path], layouts: int) -> list[dict[str, Any]]:
    """Play every task on the same tables with every policy; each outcome is kept as it comes."""
    file = out / f"outcomes-{scene}.jsonl"
    known = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    done = {(one["arm"], one["seed"], one["task"], one["layout"]) for one in known}
    wanted = [(*who, task, number) for number in range(layouts) for task in TASKS for who in found]
    agents: dict[tuple[str, int], Agent] = {}
    env = make(f"calvin_{scene}", renderer="egl", task_steps=STEPS).unwrapped
    for arm, seed, task, number in wanted:
        if (arm, seed, task, number) in done:
            continue
        if (arm, seed) not in agents:
            agents[arm, seed] = Agent(Policy.from_pretrained(found[arm, seed]))
        success = solved(env, agents[arm, seed], task, number)
        known.append({"arm": arm, "seed": seed, "task": task, "layout": number, "success": success})
        with file.open("a") as lines:
            lines.write(json.dumps(known[-1]) + "\n")
    env.close()
    return known


def rates(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Count how often each arm did what was asked, with Wilson's interval."""
    found = {}
    for arm in ARMS:
        solved = [one["success"] for one in outcomes if one["arm"] == arm]
        found[arm] = {"done": sum(solved), "of": len(solved), **rounded(wilson(sum(solved), len(solved)).to_dict())}
    return found


def compared(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Compare both arms table by table.

    The unit is a table: what the training seeds did on it is averaged first. The bootstrap draws tables anew within
    each task; what another training seed would have given is not in its interval, so each seed is told, too.
    """
    sides = {(one["task"], one["layout"], one["seed"], one["arm"]): one["success"] for one in outcomes}
    gains: dict[tuple[str, int], dict[int, int]] = {}
    for task, layout, seed, _ in sides:
        after, before = (sides[task, layout, seed, arm] for arm in reversed(ARMS))
        gains.setdefault((task, layout), {})[seed] = int(after) - int(before)
    strata = [[fmean(gain.values()) for (name, _), gain in gains.items() if name == task] for task in TASKS]
    every = [gain for by_seed in gains.values() for gain in by_seed.values()]
    seeds = sorted({seed for by_seed in gains.values() for seed in by_seed})
    return {
        "difference": rounded(stratified_bootstrap(strata).to_dict()),
        "alone": {"scratch": every.count(-1), "finetuned": every.count(1)},
        "mcnemar": float(f"{mcnemar(every.count(-1), every.count(1)):.2g}"),
        "per_seed": {seed: round(fmean(gain[seed] for gain in gains.values()), 3) for seed in seeds},
    }


def summary(outcomes: list[dict[str, Any]]) -> dict[str, Any]:
    """Tell what happened in a scene, together and task by task."""
    tasks = {task: rates([one for one in outcomes if one["task"] == task]) for task in TASKS}
    return {**compared(outcomes), "all": rates(outcomes), "tasks": tasks}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/calvin_pretrain"))
    parser.add_argument("--scenes", default=UNSEEN, help="letters; those trained on may be looked at before D is")
    parser.add_argument("--seeds", type=int, default=2, help="trainings of each arm")
    parser.add_argument("--layouts", type=int, default=10, help="random tables per task and scene")
    parser.add_argument("--play", type=int, default=7, help="episodes of play per scene")
    parser.add_argument("--play-steps", type=int, default=150)
    parser.add_argument("--demos", type=int, default=6, help="demonstrations per task and scene")
    parser.add_argument("--pretrain-updates", type=int, default=700)
    parser.add_argument("--updates", type=int, default=800)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="a few seconds of everything: does it run at all?")
    given = parser.parse_args()
    if given.quick:
        small = {"seeds": 1, "layouts": 1, "play": 2, "play_steps": 12, "demos": 1, "pretrain_updates": 2, "updates": 2}
        vars(given).update(small)
    return given


def main() -> None:
    """Record, train, play, report."""
    given = arguments()
    found = policies(given.out, given)
    scenes = {scene: summary(played(given.out, scene, found, given.layouts)) for scene in given.scenes}
    seen = scenes[given.scenes[-1]]["difference"]
    details = {**{name: value for name, value in vars(given).items() if name != "out"}, "scene": scenes}
    report("calvin_pretrain", value=seen["value"], goal="interval above 0", ok=seen["low"] > 0, details=details)


if __name__ == "__main__":
    main()
