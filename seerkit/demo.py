"""The demonstration: record an expert on the twin, train a small Seer on it, evaluate, write the report page."""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from seerkit.collect import Recording

if TYPE_CHECKING:
    from seerkit.eval.evaluate import Progress
    from seerkit.eval.report import Report


@dataclasses.dataclass(frozen=True, kw_only=True)
class Lesson:
    """One store and what is learned from it.

    Args:
        task: a task of the tabletop twin.
        recording: how the expert is recorded.
        episodes: how many episodes are stored.
        updates: length of the training.
        lr: peak learning rate; the recipe's if not given.
    """

    task: str
    recording: Recording
    episodes: int
    updates: int
    lr: float | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Demo:
    """What a demonstration does: lessons one after the other, each beginning with the weights of the one before.

    Args:
        lessons: what is recorded and learned; the last one's task is evaluated.
        overrides: changes to the recipe ``seer_tabletop``.
        trials: episodes of the evaluation, on layouts nobody has seen.
        seed: of everything.
    """

    lessons: tuple[Lesson, ...]
    overrides: tuple[str, ...] = ()
    trials: int = 50
    seed: int = 0

    @property
    def task(self) -> str:
        """The task that is evaluated."""
        return self.lessons[-1].task


REACH = Lesson(task="Reach", recording=Recording(noise=0.6, random_start=0.8), episodes=800, updates=900)
COLOURS = Lesson(
    task="ReachColor",
    recording=Recording(noise=1.0, random_start=1.0, chain=1, ask=1.0),
    episodes=50000,
    updates=2000,
)
PICK = Lesson(
    task="PickPlace",
    recording=Recording(noise=0.4, random_start=0.5, chain=1),
    episodes=1200,
    updates=1000,
    lr=5e-4,
)
LISTEN = ("losses.foresight.weight=0.1", "trunk.start=bare", "encoders.image.module.vit.depth=0")
"""Where the sentence matters: actions before pictures of the future, and nothing between colours and trunk."""
PRESETS: dict[str, Demo] = {
    "reach": Demo(lessons=(REACH,)),
    "language": Demo(lessons=(COLOURS,), overrides=LISTEN),
    # words and colours are learned on the short task, then reused: from nothing, picking did not learn to listen
    "pick_place": Demo(lessons=(COLOURS, PICK), overrides=LISTEN),
}


def choose(preset: str | None, task: str | None) -> Demo:
    """Return a preset, or the preset of a task; other tasks are taught as PickPlace is.

    Raises:
        ValueError: for an unknown preset or task, or both at once; names the nearest.
    """
    from seerkit.envs import TASKS

    for value, known, what in ((preset, [*PRESETS], "preset"), (task, [*TASKS], "task")):
        if value is not None and value not in known:
            near = difflib.get_close_matches(value, known, n=1)
            raise ValueError(f"no {what} {value!r}{f'; did you mean {near[0]!r}?' if near else ''}; known: {known}")
    if preset is not None and task is not None:
        raise ValueError(f"give a preset or a task, not both: got {preset!r} and {task!r}")
    if task is None:
        return PRESETS[preset or "reach"]
    own = [demo for demo in PRESETS.values() if demo.task == task]
    last = Lesson(task=task, recording=Recording(noise=0.3), episodes=600, updates=2500)
    return own[0] if own else Demo(lessons=(last,))


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
        out: gets ``data/``, ``run/`` (numbered if there are several lessons) and ``report/``.
        say: told in a sentence what happens next.
        workers: processes of the simulator; one per core if not given.
        progress: handed to `seerkit.eval.evaluate`.

    Returns:
        The evaluation's report, which is also written to ``out/report``.
    """
    from seerkit.eval.evaluate import evaluate, plan_of
    from seerkit.policy import Policy

    start = time.monotonic()
    workers = workers or len(os.sched_getaffinity(0))
    checkpoint: Path | None = None
    folder = out / "run"
    for number, lesson in enumerate(demo.lessons):
        several = len(demo.lessons) > 1
        folder = out / (f"run-{number + 1}" if several else "run")
        data = out / (f"data-{_first_with_data_of(demo, number) + 1}" if several else "data")
        _record(demo, lesson, data, say=say, workers=workers)
        say(f"training for {lesson.updates} updates on {lesson.task}")
        checkpoint = _learn(demo, lesson, data, folder, checkpoint)
    say(f"evaluating on {demo.trials} unseen layouts of {demo.task}: trained, expert, random")
    policy = Policy.from_pretrained(str(checkpoint))
    plan = plan_of(policy.recipe.config, env=demo.task, episodes=demo.trials, workers=workers)
    title = f"A small Seer learns {demo.task} on the embedded Franka twin"
    metrics = folder / "metrics.jsonl"
    with one_thread():
        report = evaluate(str(checkpoint), plan, out=out / "report", metrics=metrics, title=title, progress=progress)
    if report.recordings:
        report.write_still(out / "report" / "foresight.png", moments=6)
    say(f"done in {time.monotonic() - start:.0f} s")
    return report


def _first_with_data_of(demo: Demo, number: int) -> int:
    """Return the first lesson that is recorded like this one: a task practised twice is recorded once."""
    recorded = [(lesson.task, lesson.recording, lesson.episodes) for lesson in demo.lessons]
    return recorded.index(recorded[number])


def _record(demo: Demo, lesson: Lesson, data: Path, *, say: Callable[[str], None], workers: int) -> None:
    from seerkit.collect import collect

    if not data.exists():
        say(f"recording {lesson.episodes} episodes of {lesson.task} by the scripted expert")
        what = {"recording": lesson.recording, "env_options": {"image_size": image_size(demo)}}
        collect(lesson.task, data, episodes=lesson.episodes, seed=demo.seed, workers=workers, **what)


def _learn(demo: Demo, lesson: Lesson, data: Path, run: Path, before: Path | None) -> Path:
    import torch

    from seerkit.policy import build_policy
    from seerkit.train.loop import train

    settings = [f"train.updates={lesson.updates}", f"train.seed={demo.seed}", f"eval.env={lesson.task}"]
    settings += [f"train.lr={lesson.lr}"] if lesson.lr else []
    torch.manual_seed(demo.seed)
    if before is None:
        policy = build_policy("seer_tabletop", *settings, *demo.overrides)
    else:
        policy = build_policy(str(before), *settings)
    result = train(policy, data, run, resume=(run / "checkpoints").exists())
    if result.interrupted:
        raise KeyboardInterrupt
    return result.checkpoint


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let torch use one thread: small policies act faster so, beside simulators that use the other cores."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def image_size(demo: Demo) -> int:
    """Return the side of the images the demonstration's recipe reads; the twin renders just that."""
    from seerkit.recipe import load_recipe

    return load_recipe("seer_tabletop", *demo.overrides).config["image_size"]
