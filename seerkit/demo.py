"""The demonstration: record an expert on the twin, train a small Seer on it, evaluate, write the report page."""

from __future__ import annotations

import dataclasses
import difflib
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from seerkit.collect import Recording

if TYPE_CHECKING:
    from seerkit.eval.evaluate import Progress
    from seerkit.eval.report import Report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """What a demonstration does.

    Args:
        task: a task of the tabletop twin.
        recording: how the expert is recorded.
        episodes: how many episodes are stored.
        updates: length of the training.
        overrides: changes to the recipe ``seer_tabletop``.
        trials: episodes of the evaluation, on layouts nobody has seen.
        seed: of everything.
    """

    task: str
    recording: Recording
    episodes: int
    updates: int
    overrides: tuple[str, ...] = ()
    trials: int = 50
    seed: int = 0


PRESETS: dict[str, Demo] = {
    "reach": Demo(task="Reach", recording=Recording(noise=0.6, random_start=0.8), episodes=500, updates=450),
    "language": Demo(
        task="ReachColor", recording=Recording(noise=0.6, random_start=0.9, chain=4), episodes=6000, updates=1500
    ),
    "pick_place": Demo(
        task="PickPlace", recording=Recording(noise=0.4, random_start=0.5, chain=2), episodes=1500, updates=5000
    ),
}


def choose(preset: str | None, task: str | None) -> Demo:
    """Return a preset, or the preset of a task; other tasks get the settings of the longest one.

    Raises:
        ValueError: for an unknown preset or task; names the nearest.
    """
    from seerkit.envs import TASKS

    for value, known, what in ((preset, [*PRESETS], "preset"), (task, [*TASKS], "task")):
        if value is not None and value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            raise ValueError(f"no {what} {value!r}{f'; did you mean {near[0]!r}?' if near else ''}; known: {known}")
    if preset is not None:
        return dataclasses.replace(PRESETS[preset], **({"task": task} if task else {}))
    if task is None:
        return PRESETS["reach"]
    own = [demo for demo in PRESETS.values() if demo.task == task]
    return own[0] if own else dataclasses.replace(PRESETS["pick_place"], task=task, recording=Recording(noise=0.3))


def run(
    demo: Demo,
    out: Path,
    *,
    say: Callable[[str], None],
    workers: int | None = None,
    progress: Progress | None = None,
) -> Report:
    """Collect, train and evaluate into the folder ``out``; what is already there is not done again.

    Args:
        demo: what to do.
        out: gets ``data/``, ``run/`` and ``report/``.
        say: told in a sentence what happens next.
        workers: processes of the simulator; one per core if not given.
        progress: handed to `seerkit.eval.evaluate`.

    Returns:
        The evaluation's report, which is also written to ``out/report``.
    """
    import torch

    from seerkit.collect import collect
    from seerkit.eval.evaluate import evaluate, plan_of
    from seerkit.policy import build_policy
    from seerkit.train.loop import train

    workers = workers or len(os.sched_getaffinity(0))
    start = time.monotonic()
    data, folder = out / "data", out / "run"
    if not data.exists():
        say(f"1/3  recording {demo.episodes} episodes of {demo.task} by the scripted expert")
        size = {"image_size": image_size(demo)}
        what = {"recording": demo.recording, "env_options": size}
        collect(demo.task, data, episodes=demo.episodes, seed=demo.seed, workers=workers, **what)
    say(f"2/3  training seer_tabletop for {demo.updates} updates ({time.monotonic() - start:.0f} s so far)")
    torch.manual_seed(demo.seed)
    policy = build_policy("seer_tabletop", f"train.updates={demo.updates}", f"train.seed={demo.seed}", *demo.overrides)
    result = train(policy, data, folder, resume=(folder / "checkpoints").exists())
    if result.interrupted:
        raise KeyboardInterrupt
    say(f"3/3  {demo.trials} unseen layouts: trained, expert, random ({time.monotonic() - start:.0f} s so far)")
    plan = plan_of(policy.recipe.config, env=demo.task, episodes=demo.trials, workers=workers)
    title = f"A small Seer learns {demo.task} on the embedded Franka twin"
    metrics = folder / "metrics.jsonl"
    return evaluate(str(result.checkpoint), plan, out=out / "report", metrics=metrics, title=title, progress=progress)


def image_size(demo: Demo) -> int:
    """Return the side of the images the demonstration's recipe reads; the twin renders just that."""
    from seerkit.recipe import load_recipe

    return load_recipe("seer_tabletop", *demo.overrides).config["image_size"]
