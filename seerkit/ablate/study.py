"""What one ablation is: rows, seeds, sizes, and the jobs they come down to."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerkit.ablate.groups import Group, Row, load_group
from seerkit.ablate.job import Evaluation, Job
from seerkit.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from seerkit.collect import Recording

LABELLED, PLAY = "labelled", "play"
SEVERAL_GOALS = ("ReachColor", "PickPlace")
"""Tasks in which play can turn to another goal."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preset:
    """How much is recorded, trained and played.

    Args:
        episodes: of the labelled store.
        play: episodes of the store for pre-training.
        updates: of the training that is evaluated.
        pretrain_updates: of the pre-training.
        trials: episodes of every evaluation, on layouts nobody has trained on.
        overrides: further changes to the twin's recipes.
    """

    episodes: int
    play: int
    updates: int
    pretrain_updates: int
    trials: int
    overrides: tuple[str, ...] = ()


PRESETS: dict[str, Preset] = {
    "quick": Preset(
        episodes=300,
        play=300,
        updates=600,
        pretrain_updates=400,
        trials=40,
        overrides=("train.batch_size=32", "train.ema=0.98", "train.holdout=0.1", "train.validate_every=300"),
    ),
    "full": Preset(
        episodes=800, play=1600, updates=1000, pretrain_updates=1500, trials=100, overrides=("train.holdout=0.1",)
    ),
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """One ablation on the twin.

    Args:
        group: the table.
        rows: names of its rows; all of them for ``None``.
        preset: ``"quick"`` fits two CPU cores and a coffee break, ``"full"`` an afternoon.
        task: of the twin.
        seeds: how many trainings per row, seeded 0, 1, ...
        overrides: changes to the recipes of all rows, before the row's own.

    Raises:
        ValueError: for an unknown preset or task, or a count below 1; names the nearest.
    """

    group: Group
    rows: tuple[Row, ...]
    preset: str = "quick"
    task: str = "Reach"
    seeds: int = 3
    overrides: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        from seerkit.envs import TASKS

        for value, known, what in ((self.preset, [*PRESETS], "preset"), (self.task, [*TASKS], "task")):
            if value not in known:
                near = difflib.get_close_matches(value, known, n=1)
                raise ValueError(f"no {what} {value!r}{f'; did you mean {near[0]!r}?' if near else ''}; known: {known}")
        if self.seeds < 1:
            raise ValueError(f"expected at least 1 seed, got {self.seeds}")

    @property
    def size(self) -> Preset:
        """What the preset's name stands for."""
        return PRESETS[self.preset]

    def finetune(self, row: Row, seed: int) -> tuple[str, ...]:
        """Return the arguments of `load_recipe` for the training of a row that is evaluated."""
        return self._arguments(row.finetune, self.size.updates, seed)

    def pretrain(self, row: Row, seed: int) -> tuple[str, ...] | None:
        """Return the arguments of `load_recipe` for a row's pre-training, ``None`` without one."""
        return None if row.pretrain is None else self._arguments(row.pretrain, self.size.pretrain_updates, seed)

    def stores(self) -> dict[str, Gathering]:
        """Return what has to be recorded: the labelled store, and one for pre-training if a row needs it."""
        side = load_recipe(*self.finetune(self.rows[0], 0)).config["image_size"]
        needed = {LABELLED: Gathering(self.task, labelled_recording(self.task), self.size.episodes, side)}
        if any(row.pretrain for row in self.rows):
            # seeds apart from those of the labelled store, so that play adds layouts
            needed[PLAY] = Gathering(self.task, play_recording(self.task), self.size.play, side, seed=500_000)
        return needed

    def _arguments(self, own: tuple[str, ...], updates: int, seed: int) -> tuple[str, ...]:
        length = (f"train.updates={updates}", f"train.warmup={updates // 10}")
        play = (f"eval.env={self.task}", f"eval.episodes={self.size.trials}")
        return (own[0], *length, *play, *self.size.overrides, *self.overrides, *own[1:], f"train.seed={seed}")


@dataclasses.dataclass(frozen=True)
class Gathering:
    """One store: how the expert is recorded into it."""

    task: str
    recording: Recording
    episodes: int
    image_size: int
    seed: int = 0

    @property
    def key(self) -> str:
        """A short name of the content."""
        return digest(dataclasses.asdict(self))


def make_study(name: str, rows: Sequence[str] | None = None, **changes: Any) -> Study:  # noqa: ANN401 - fields of Study
    """Load a group and pick its rows.

    Raises:
        RecipeError: if there is no such group or row; names the nearest.
    """
    group = load_group(name)
    return Study(group=group, rows=group.pick(rows), **changes)


def plan(study: Study, out: Path, *, threads: int = 1) -> tuple[list[Job], list[Job]]:
    """Turn a study into jobs: pre-trainings, and trainings with what is evaluated after each.

    Rows that only differ in what happens after training (the ensembler) share one training; rows with the same
    pre-training share that. A folder's name tells what decides its content, so a changed setting never meets the files
    of another.

    Args:
        study: what to do.
        out: the ablation's folder.
        threads: torch threads of every job.

    Returns:
        The pre-trainings, and the trainings that may need one of them.
    """
    stores = {name: str(out / "stores" / f"{name}-{gathering.key}") for name, gathering in study.stores().items()}
    before: dict[str, Job] = {}
    trainings: dict[str, Job] = {}
    for seed in range(study.seeds):
        for row in study.rows:
            first = _pretraining(study, row, seed, out, stores, threads)
            if first is not None:
                before.setdefault(first.key, first)
            job = _training(study, row, seed, out, stores, first, threads)
            known = trainings.setdefault(job.key, job)
            if known is not job:
                trainings[job.key] = dataclasses.replace(known, evaluations=[*known.evaluations, *job.evaluations])
    return [*before.values()], [*trainings.values()]


def labelled_recording(task: str) -> Recording:
    """Return how demonstrations of a task are recorded."""
    from seerkit.collect import Recording

    known = {
        "Reach": Recording(noise=0.6, random_start=0.8),
        "ReachColor": Recording(noise=1.0, random_start=1.0, chain=1, ask=1.0),
        "PickPlace": Recording(noise=0.4, random_start=0.5, chain=1),
    }
    return known.get(task, Recording(noise=0.3))


def play_recording(task: str) -> Recording:
    """Return how play is recorded: from anywhere, pushed about, one goal after another; nobody reads its sentences."""
    from seerkit.collect import Recording

    return Recording(noise=1.0, random_start=1.0, chain=4 if task in SEVERAL_GOALS else 0)


def digest(value: object) -> str:
    """Return eight characters that stand for a plain value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()[:8]


def _pretraining(study: Study, row: Row, seed: int, out: Path, stores: Mapping[str, str], threads: int) -> Job | None:
    arguments = study.pretrain(row, seed)
    if arguments is None:
        return None
    store = stores[PLAY]
    key = digest([_trained(load_recipe(*arguments)), Path(store).name])
    folder = out / "pretrain" / f"seed-{seed}-{key}"
    name = f"pre-training of {row.name}, seed {seed}"
    return Job(name=name, key=key, recipe=[*arguments], store=store, folder=str(folder), seed=seed, threads=threads)


def _training(
    study: Study, row: Row, seed: int, out: Path, stores: Mapping[str, str], first: Job | None, threads: int
) -> Job:
    arguments = study.finetune(row, seed)
    recipe, store = load_recipe(*arguments), stores[LABELLED]
    key = digest([_trained(recipe), Path(store).name, first.key if first else None])
    result = out / "results" / f"{row.name}-seed-{seed}-{digest([key, recipe.hash])}.json"
    evaluation = Evaluation(row=row.name, recipe=[*arguments], recipe_hash=recipe.hash, result=str(result))
    return Job(
        name=f"{row.name}, seed {seed}",
        key=key,
        recipe=[*arguments],
        store=store,
        folder=str(out / "runs" / f"{row.name}-seed-{seed}-{key}"),
        seed=seed,
        threads=threads,
        before=first.folder if first else None,
        evaluations=[evaluation],
    )


def _trained(recipe: Recipe) -> dict[str, Any]:
    """Return what of a recipe decides the weights."""
    return {name: part for name, part in recipe.config.items() if name not in ("meta", "ensemble", "eval")}
