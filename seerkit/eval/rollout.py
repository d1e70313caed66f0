"""Vectorised rollouts: many environments, one batched actor, and episodes that depend on nothing but their seed."""

from collections.abc import Callable, Sequence

from seerkit.eval.actors import Actor, EpisodeActor
from seerkit.eval.records import Episode, Recording, Rollout
from seerkit.eval.scene import EnvFactory, Scene, as_scene
from seerkit.eval.seat import opened
from seerkit.eval.table import Table

FIRST_SEED = 1_000_000
"""First seed of `seerkit.envs.contract.EVAL_SEEDS`: layouts no demonstration has shown."""

Progress = Callable[[int, int, int], None]
"""Called with episodes done, episodes in all, and successes so far."""


def rollout(
    actor: Actor | EpisodeActor,
    env: str | EnvFactory | Scene,
    *,
    episodes: int | Sequence[int],
    seed: int = FIRST_SEED,
    workers: int = 2,
    record: int = 0,
    ahead: int = 0,
    progress: Progress | None = None,
) -> Rollout:
    """Play episodes in parallel processes and note how each went.

    Episode ``i`` is reset with ``seed + i``, whichever process plays it, so the outcome depends neither on the number
    of workers nor on the order in which episodes end. (A network's matrix products may round differently for another
    batch size; that is the one exception, and it lies with the actor.)

    Args:
        actor: answers batches of observations; reset row by row as episodes begin.
        env: an environment id, a function that makes one, or a `Scene` with options and a horizon.
        episodes: how many, or the indices to play.
        seed: added to every index.
        workers: processes, one environment each; 0 plays a single environment in this process.
        record: how many of the first episodes to keep frames of.
        ahead: how many steps ahead the actor foresees; 0 records no foresight.
        progress: told after every episode.

    Raises:
        ValueError: if there is nothing to play, the actor's ``batch_size`` is not the number of rows, or it answers
            with a wrong shape or a number that is not finite.
        RuntimeError: if a worker process dies.
    """
    indices = list(range(episodes)) if isinstance(episodes, int) else list(episodes)
    if not indices or min(indices) < 0:
        raise ValueError(f"expected at least one episode with an index of 0 or more, given {episodes}")
    scene, workers = as_scene(env), min(workers, len(indices))
    rows = max(1, workers)
    size = getattr(actor, "batch_size", rows)
    if size != rows:
        raise ValueError(f"expected an actor for {rows} rows, one per environment, given one with batch_size={size}")
    done: list[Episode] = []

    def note(episode: Episode, film: Recording | None) -> None:  # noqa: ARG001 - the table keeps the films
        done.append(episode)
        if progress is not None:
            progress(len(done), len(indices), sum(one.success for one in done))

    with opened(scene, workers=workers) as envs:
        return Table(actor, envs, indices, seed=seed, filmed=indices[:record], ahead=ahead, note=note).play(scene.task)
