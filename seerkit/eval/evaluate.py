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
from seerkit.eval.sequences import cautions, play_sequences

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
        baselines: who plays beside the policy: ``"expert"``, ``"random"``; nobody on CALVIN.
        apart: ask the policy for one environment at a time (CALVIN only, see `seerkit.eval.apart.Apart`); None: on a
            CPU.

    On CALVIN an episode is one of the benchmark's sequences, the first ones in its order, and ``seed`` means nothing.

    Raises:
        ValueError: if a baseline is unknown, there is nothing to play, or CALVIN is played beside something else or for
            more sequences than there are.
    """

    env: str | EnvFactory | Scene | Sequence[str | EnvFactory | Scene]
    episodes: int = 50
    seed: int = FIRST_SEED
    workers: int = 2
    record: int = 4
    baselines: Sequence[str] = (EXPERT, RANDOM)
    apart: bool | None = None

    def __post_init__(self) -> None:
        unknown = [name for name in self.baselines if name not in BASELINES]
        if unknown:
            raise ValueError(f"expected baselines of {sorted(BASELINES)}, given {unknown}")
        if self.episodes < 1 or not self.scenes:
            raise ValueError(f"expected at least one environment and one episode, given {self.env}, {self.episodes}")
        if not self.in_a_row:
            return
        if len(self.scenes) > 1:
            raise ValueError(f"expected one scene of CALVIN by itself, given {[scene.name for scene in self.scenes]}")
        from seerkit.envs.calvin.protocol import COUNT

        if self.episodes > COUNT:
            raise ValueError(f"expected at most CALVIN's {COUNT} sequences, given {self.episodes}")
        object.__setattr__(self, "baselines", ())

    @property
    def scenes(self) -> tuple[Scene, ...]:
        """Give every environment as a `Scene`."""
        several = isinstance(self.env, Sequence) and not isinstance(self.env, str)
        return tuple(map(as_scene, self.env)) if several else (as_scene(self.env),)  # pyright: ignore[reportArgumentType]

    @property
    def in_a_row(self) -> bool:
        """Whether CALVIN's sequences are played."""
        return any(scene.in_a_row for scene in self.scenes)

    def to_dict(self) -> dict[str, Any]:
        """Give plain values for the report."""
        if self.in_a_row:
            return self._in_a_row()
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

    def _in_a_row(self) -> dict[str, Any]:
        from seerkit.eval.in_a_row import hash_of_sentences, hash_of_sequences

        (scene,) = self.scenes
        return {
            "environments": [scene.name],
            "options": {scene.name: dict(scene.options)},
            "sequences": self.episodes,
            "sequences_sha256": hash_of_sequences(self.episodes),
            "steps_per_task": scene.task_steps,
            "round_actions": scene.round_actions,
            "sentences_sha256": None if scene.sentences is None else hash_of_sentences(scene.sentences),
            "workers": self.workers,
            "success": "all tasks of a sequence done; a sequence stops at its first failure",
        }


def plan_of(config: Mapping[str, Any], **changes: Any) -> Plan:  # noqa: ANN401 - fields of Plan and Scene
    """Read a plan from a recipe's ``eval`` section, then change it.

    The section names ``env`` and what goes with it: ``horizon``, ``options``, ``round_actions`` (left out if another
    simulator is asked for), and ``episodes``, ``seed``, ``workers``, ``record``.

    Args:
        config: of the recipe.
        changes: fields of `Plan`, and ``horizon``, ``options`` (added to the recipe's), ``sentences`` of `Scene`.

    Raises:
        ValueError: if neither the recipe nor ``changes`` names an environment.
    """
    section = {key: value for key, value in (config.get("eval") or {}).items() if value is not None}
    changes = {key: value for key, value in changes.items() if value is not None}
    env: Any = changes.pop("env", None) or section.get("env")
    if not env:
        raise ValueError("expected an environment, given none: the recipe has no eval.env; pass env=...")
    names: list[Any] = [env] if isinstance(env, str | Scene) or callable(env) else list(env)
    about = {key: changes.pop(key) for key in ("horizon", "options", "sentences") if key in changes}
    scenes = [name if isinstance(name, Scene) else _scene(name, section, about) for name in names]
    known = {key: section[key] for key in ("episodes", "seed", "workers", "record") if key in section}
    return Plan(scenes, **{**known, **changes})


def _scene(name: str | EnvFactory, section: Mapping[str, Any], about: Mapping[str, Any]) -> Scene:
    """Make a scene with what the recipe says of its simulator, and what was asked for."""
    own = section if not section.get("env") or _simulator(name) == _simulator(section["env"]) else {}
    settings = {key: own[key] for key in ("horizon", "round_actions") if key in own} | dict(about)
    return Scene(name, **{**settings, "options": {**(own.get("options") or {}), **about.get("options", {})}})


def _simulator(env: object) -> str:
    """Name the family of an environment: ``seerkit/Tabletop``; a function is by itself."""
    first: Any = env if isinstance(env, str) or callable(env) else next(iter(env))  # pyright: ignore[reportArgumentType, reportCallIssue]
    return Scene(first).name.split("-")[0]


def evaluate(
    policy: "Policy | str | Path",
    plan: Plan | None = None,
    *,
    out: Path | str | None = None,
    metrics: Path | str | None = None,
    title: str | None = None,
    device: str | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Roll a policy out beside the baselines and report.

    Args:
        policy: a policy, or a recipe or checkpoint to load it from.
        plan: what to evaluate on; None reads the recipe's ``eval`` section.
        out: folder for ``report.json`` and ``report.html``; None writes nothing. On CALVIN it keeps every sequence as
            it ends, and the same call goes on where one was stopped.
        metrics: the run's ``metrics.jsonl``; None looks beside the checkpoint.
        title: heading of the page.
        device: where the policy acts; None leaves it where it is.
        fresh: on CALVIN, begin anew.
        progress: told after every episode; on CALVIN of tasks instead of successes, and once before the first.

    Raises:
        ValueError: if there is no environment to evaluate on, or ``out`` holds sequences of another evaluation.
    """
    checkpoint = _checkpoint(policy)
    built = _load(policy)
    if device is not None:
        built = built.to(device)
    config = built.recipe.config
    plan = plan or plan_of(config)
    if plan.in_a_row:
        folder = None if out is None else Path(out)
        rollouts = {TRAINED: play_sequences(built, plan, out=folder, fresh=fresh, progress=progress)}
    else:
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
        warnings=[*mismatches(config, environments), *_cautions(plan, environments), *warnings(rollouts, curves)],
        benchmark=benchmark_of([scene.name for scene in plan.scenes], split=(config.get("data") or {}).get("split")),
    )
    if out is not None:
        report.write(out)
    return report


def _cautions(plan: Plan, environments: Mapping[str, Mapping[str, Any]]) -> list[str]:
    return cautions(plan.scenes[0], plan.episodes, environments) if plan.in_a_row else []


def warnings(rollouts: Mapping[str, Rollout], curves: Curves) -> list[str]:
    """Say what a reader of the numbers must not miss."""
    told = []
    trained, expert, chance = (rollouts.get(name) for name in (TRAINED, EXPERT, RANDOM))
    if trained and len(trained.episodes) < FEW:
        what = "sequences" if trained.in_a_row else "episodes"
        told.append(f"Only {len(trained.episodes)} {what}: the interval is wide.")
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
    if trained and trained.latency and not trained.in_a_row and trained.latency.p95 > PERIOD_MS:
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
