"""Evaluate a policy: roll it out beside chance and the expert, and write the report."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from seerkit.eval.actors import EpisodeActor, ExpertActor, RandomActor
from seerkit.eval.curves import Curves, listening, read_curves, told_by
from seerkit.eval.provenance import mismatches, provenance
from seerkit.eval.published import benchmark_of
from seerkit.eval.quality import summarise
from seerkit.eval.records import Rollout
from seerkit.eval.report import EXPERT, RANDOM, TRAINED, Report
from seerkit.eval.rollout import FIRST_SEED, rollout
from seerkit.eval.scene import EnvFactory, Scene, as_scene

if TYPE_CHECKING:
    from seerkit.policy import Policy

Progress = Callable[[str, int, int, int], None]
"""Called with the actor's name, episodes done, episodes in all, and successes so far."""

BASELINES: Mapping[str, Callable[[], EpisodeActor]] = {EXPERT: ExpertActor, RANDOM: RandomActor}
METRICS = "metrics.jsonl"
FEW, PERIOD_MS = 20, 1000 / 15


@dataclass(frozen=True)
class Plan:
    """What to evaluate on.

    Args:
        env: environment ids, functions or scenes; one or several.
        episodes: per environment and actor.
        seed: episode ``i`` is reset with ``seed + i``; the default leaves out every layout of the demonstrations.
        workers: processes, one environment each.
        record: how many episodes per environment to film; if all of them succeed but others fail, one failure more.
        baselines: who plays beside the policy: ``"expert"``, ``"random"``.

    Raises:
        ValueError: if a baseline is unknown, or there is nothing to play.
    """

    env: str | EnvFactory | Scene | Sequence[str | EnvFactory | Scene]
    episodes: int = 50
    seed: int = FIRST_SEED
    workers: int = 2
    record: int = 4
    baselines: Sequence[str] = (EXPERT, RANDOM)

    def __post_init__(self) -> None:
        unknown = [name for name in self.baselines if name not in BASELINES]
        if unknown:
            raise ValueError(f"expected baselines of {sorted(BASELINES)}, given {unknown}")
        if self.episodes < 1 or not self.scenes:
            raise ValueError(f"expected at least one environment and one episode, given {self.env}, {self.episodes}")

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """Give every environment as a `Scene`."""
        several = isinstance(self.env, Sequence) and not isinstance(self.env, str)
        return tuple(map(as_scene, self.env)) if several else (as_scene(self.env),)  # pyright: ignore[reportArgumentType]

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for the report."""
        return {
            "environments": [scene.name for scene in self.scenes],
            "options": {scene.name: dict(scene.options) for scene in self.scenes},
            "horizon": {scene.name: scene.limit for scene in self.scenes},
            "episodes_per_environment": self.episodes,
            "first_seed": self.seed,
            "last_seed": self.seed + self.episodes - 1,
            "workers": self.workers,
            "success": "info['is_success'] at the episode's last step",
        }


def plan_of(config: Mapping[str, Any], **changes: Any) -> Plan:  # noqa: ANN401 - fields of Plan
    """Read a plan from a recipe's ``eval`` section (``env``, ``episodes``, ``horizon``, ``options``), then change it.

    Raises:
        ValueError: if neither the recipe nor ``changes`` names an environment.
    """
    section = {key: value for key, value in (config.get("eval") or {}).items() if value is not None}
    env: Any = changes.pop("env", None) or section.get("env")
    if not env:
        raise ValueError("expected an environment, given none: the recipe has no eval.env; pass env=...")
    names: list[Any] = [env] if isinstance(env, str | Scene) or callable(env) else list(env)
    scenes = [
        name if isinstance(name, Scene) else Scene(name, section.get("options") or {}, section.get("horizon"))
        for name in names
    ]
    known = {key: section[key] for key in ("episodes", "seed", "workers", "record") if key in section}
    return Plan(scenes, **{**known, **{key: value for key, value in changes.items() if value is not None}})


def evaluate(
    policy: "Policy | str | Path",
    plan: Plan | None = None,
    *,
    out: Path | str | None = None,
    metrics: Path | str | None = None,
    title: str | None = None,
    device: str | None = None,
    progress: Progress | None = None,
) -> Report:
    """Roll a policy out beside the baselines and report.

    Args:
        policy: a policy, or a recipe or checkpoint to load it from.
        plan: what to evaluate on; None reads the recipe's ``eval`` section.
        out: folder for ``report.json`` and ``report.html``; None writes nothing.
        metrics: the run's ``metrics.jsonl``; None looks beside the checkpoint.
        title: heading of the page.
        device: where the policy acts; None leaves it where it is.
        progress: told after every episode.

    Raises:
        ValueError: if there is no environment to evaluate on.
    """
    checkpoint = _checkpoint(policy)
    built = _load(policy)
    if device is not None:
        built = built.to(device)
    config = built.recipe.config
    plan = plan or plan_of(config)
    rollouts = {TRAINED: _trained(built, plan, progress)}
    for name in plan.baselines:
        rollouts[name] = _baseline(name, plan, progress)
    curves = read_curves(metrics or _beside(checkpoint))
    environments = rollouts[TRAINED].environments
    report = Report(
        title=title or f"{built.recipe.name} on {', '.join(scene.task for scene in plan.scenes)}",
        rollouts=rollouts,
        summary=str(config.get("meta", {}).get("summary", "")),
        provenance=provenance(built, checkpoint=checkpoint, protocol=plan.to_dict(), environments=environments),
        curves=curves,
        warnings=[*mismatches(config, environments), *warnings(rollouts, curves)],
        benchmark=benchmark_of([scene.name for scene in plan.scenes], split=(config.get("data") or {}).get("split")),
    )
    if out is not None:
        report.write(out)
    return report


def warnings(rollouts: Mapping[str, Rollout], curves: Curves) -> list[str]:
    """Say what a reader of the numbers must not miss."""
    told = []
    trained, expert, chance = (rollouts.get(name) for name in (TRAINED, EXPERT, RANDOM))
    if trained and len(trained.episodes) < FEW:
        told.append(f"Only {len(trained.episodes)} episodes: the interval is wide.")
    if expert and expert.rate.value < 0.95:
        told.append(f"The scripted expert itself succeeds in only {100 * expert.rate.value:.0f} % of the episodes.")
    if chance and chance.rate.value > 0.2:
        told.append(f"Random actions already succeed in {100 * chance.rate.value:.0f} % of the episodes.")
    ratio = listening(curves)
    if ratio is not None and ratio < 1.1:
        told.append(
            f"A wrong {told_by(curves)} changes the held-out action loss by a factor of only {ratio:.2f}: "
            "the policy hardly listens."
        )
    for camera, scores in summarise(trained.recordings).items() if trained else ():
        if scores["foreseen"].value < scores["repeated"].value:
            told.append(
                f"Foresight of camera {camera!r} ({scores['foreseen'].value:.1f} dB) is further from what came than "
                f"the present frame is ({scores['repeated'].value:.1f} dB)."
            )
    if trained and trained.latency and trained.latency.p95 > PERIOD_MS:
        spent = trained.latency
        told.append(f"Acting for {spent.rows} at once takes {spent.p95:.0f} ms (p95); a step at 15 Hz lasts 67 ms.")
    return told


def _trained(policy: "Policy", plan: Plan, progress: Progress | None) -> Rollout:
    total = Rollout(())
    ahead = policy.recipe.ahead
    rows = max(1, min(plan.workers, plan.episodes))
    for scene in plan.scenes:
        play = partial(rollout, env=scene, seed=plan.seed, workers=plan.workers, ahead=ahead)
        agent = policy.agent(batch_size=rows)
        told = partial(progress, TRAINED) if progress else None
        played = play(agent, episodes=plan.episodes, record=plan.record, progress=told)
        failed = [episode.index for episode in played.episodes if not episode.success]
        if plan.record and failed and all(tape.episode.success for tape in played.recordings):
            agent = policy.agent(batch_size=rows)
            # as many rows as before, so that the network sees batches of the same size and rounds alike
            others = [episode.index for episode in played.episodes if episode.index != failed[0]]
            again = play(agent, episodes=[failed[0], *others[: rows - 1]], record=1)
            if set(again.episodes) <= set(played.episodes):
                played = replace(played, recordings=played.recordings + again.recordings)
        total = total + played
    return total


def _baseline(name: str, plan: Plan, progress: Progress | None) -> Rollout:
    total, told = Rollout(()), partial(progress, name) if progress else None
    for scene in plan.scenes:
        actor = BASELINES[name]()
        total = total + rollout(
            actor, scene, episodes=plan.episodes, seed=plan.seed, workers=plan.workers, progress=told
        )
    return replace(total, latency=None)


def _load(policy: "Policy | str | Path") -> "Policy":
    if not isinstance(policy, str | Path):
        return policy
    from seerkit.policy import build_policy

    return build_policy(str(policy), fetch=True)  # no evaluation with a frozen encoder that is random by accident


def _checkpoint(policy: "Policy | str | Path") -> Path | None:
    return Path(policy) if isinstance(policy, str | Path) and Path(policy).is_dir() else None


def _beside(checkpoint: Path | None) -> Path | None:
    """Find the log of the run a checkpoint belongs to: ``<run>/metrics.jsonl`` for ``<run>/checkpoints/<name>``."""
    if checkpoint is None:
        return None
    folder = checkpoint.resolve()
    places = (folder, *list(folder.parents)[:3])
    return next((place / METRICS for place in places if (place / METRICS).is_file()), None)
