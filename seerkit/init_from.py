"""Begin a training from another policy's weights, by declared steps; nothing else is tolerated."""

from __future__ import annotations

import dataclasses
import difflib
import warnings
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from seerkit.policy import Policy

RECIPE, WEIGHTS = "recipe.yaml", "model.safetensors"
KINDS = ("reset", "slice", "extend", "fresh", "drop")


class InitError(ValueError):
    """A pre-trained policy that does not fit the declared steps; the message holds a table of what differs."""


@dataclasses.dataclass(frozen=True)
class CarriedOver:
    """Say what became of every tensor, by name.

    Args:
        checkpoint: where the weights came from.
        carried: as they are.
        sliced: only the first rows; name -> rows there, rows here.
        extended: the first rows, the rest keeps its initial value; name -> rows there, rows here.
        reset: keeps its initial value although the checkpoint has one.
        fresh: keeps its initial value; the checkpoint has none.
        dropped: the checkpoint has it, this policy does not.
        frozen: of modules that are frozen here; not carried, they have their own source.
    """

    checkpoint: str
    carried: list[str]
    sliced: dict[str, tuple[int, int]]
    extended: dict[str, tuple[int, int]]
    reset: list[str]
    fresh: list[str]
    dropped: list[str]
    frozen: list[str]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain data, for ``init_from.json``."""
        return dataclasses.asdict(self)

    def rows(self) -> Iterator[tuple[str, str, str]]:
        """Yield what happened, to which tensors, and why; what is the same for a whole module is one row."""
        yield "carried over", f"{len(self.carried)} tensors", "the same in both"
        for name, (there, here) in self.sliced.items():
            yield "first rows", name, f"{here} of {there} rows"
        for name, (there, here) in self.extended.items():
            yield "extended", name, f"{there} rows, {here - there} more keep their initial value"
        reasons = {
            "reset": "keeps its initial value, as declared",
            "fresh": "not in the checkpoint, keeps its initial value",
            "dropped": "this policy has no such part",
            "frozen": "frozen, comes from its own source",
        }
        for kind, reason in reasons.items():
            for part in _modules(getattr(self, kind)):
                yield kind, part, reason


def prepare(policy: Policy) -> CarriedOver | None:
    """Fill a freshly built policy as its recipe's ``init_from`` section says; ``None`` if it names no checkpoint.

    Called when a run begins, before `seerkit.train.loop.train`: by `seerkit train`, by ablations, by yourself. A policy
    that was itself loaded from a checkpoint keeps its weights; what its recipe says is how they began.

    Raises:
        InitError: if the checkpoint does not fit the declared steps, or an override asks a policy that was loaded from
            a checkpoint to begin from another one.
    """
    section = policy.recipe.config.get("init_from") or {}
    if not isinstance(section, Mapping):
        raise InitError(f"init_from is a mapping with 'checkpoint' and 'steps', given {section!r:.100}")
    unknown = section.keys() - {"checkpoint", "steps"}
    if unknown:
        raise InitError(f"init_from holds 'checkpoint' and 'steps', got also {sorted(unknown)}")
    checkpoint = section.get("checkpoint")
    if not checkpoint:
        return None
    if policy.checkpoint is not None:
        if policy.recipe.changed("init_from"):
            raise InitError(
                f"this policy has the weights of {policy.checkpoint}; given init_from.checkpoint={checkpoint}, which "
                f"only a policy built from a recipe begins from: start from {policy.recipe.name!r}, or leave it out"
            )
        return None
    state, frozen = _read_checkpoint(str(checkpoint))
    carried = carry_over(policy, state, section.get("steps") or [], frozen=frozen)
    policy.begun = str(checkpoint)
    return dataclasses.replace(carried, checkpoint=str(checkpoint))


def carry_over(
    policy: Policy,
    state: Mapping[str, Tensor],
    steps: Sequence[Mapping[str, Sequence[str]]],
    *,
    frozen: Collection[str] = (),
) -> CarriedOver:
    """Copy another policy's weights into this one, strictly, but for what the steps declare.

    The official Seer does so when it fine-tunes: learned action and foresight tokens start anew (``reset``), the first
    time positions are taken (``slice``); it would silently skip other differences, which are errors here.

    Args:
        policy: changed in place; parameters and buffers, but for its frozen modules.
        state: the other policy's tensors, those of frozen modules or not.
        steps: one mapping each from a kind to names, with ``*`` for any characters: ``reset`` (in both, keep the new
            policy's initial value), ``slice`` (take the first rows), ``extend`` (the first rows come from there, the
            others keep their initial value), ``fresh`` (only here, keep the initial value), ``drop`` (only there, or
            trained there and frozen here).
        frozen: names of the other policy's frozen tensors (`frozen_tensors`). Whatever else ``state`` holds was
            trained there, and is not left out in silence because it is frozen here.

    Raises:
        InitError: with a table of whatever no step covers, and of steps that cover nothing or do not apply.
    """
    kept = frozen_tensors(policy)
    own = {name: tensor for name, tensor in policy.state_dict().items() if name not in kept}
    given = {name: tensor for name, tensor in state.items() if name not in kept or name not in frozen}
    plan, faults = _plan(steps, sorted(own.keys() | given.keys()))
    faults += _misfits(own, given, plan, kept)
    if faults:
        lines = "\n".join(f"  {fault}" for fault in sorted(faults))
        raise InitError(f"recipe {policy.recipe.name!r} cannot begin from these weights; its init_from.steps:\n{lines}")
    kinds: dict[str, list[str]] = {kind: [] for kind in ("carry", *KINDS)}
    with torch.no_grad():
        for name in [*own, *(name for name in given if name not in own)]:
            kind = plan.get(name, "carry")
            kinds[kind].append(name)
            if kind in ("carry", "slice", "extend"):
                rows = min(len(own[name]), len(given[name])) if own[name].dim() else 0
                target, source = (own[name][:rows], given[name][:rows]) if rows else (own[name], given[name])
                target.copy_(source)
    return CarriedOver(
        checkpoint="",
        carried=kinds["carry"],
        sliced={name: (len(given[name]), len(own[name])) for name in kinds["slice"]},
        extended={name: (len(given[name]), len(own[name])) for name in kinds["extend"]},
        reset=kinds["reset"],
        fresh=kinds["fresh"],
        dropped=kinds["drop"],
        frozen=sorted(kept),
    )


def frozen_tensors(policy: nn.Module) -> set[str]:
    """Return the names of all tensors, buffers too, of the modules whose every parameter is frozen.

    Example:
        >>> module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False))
        >>> sorted(frozen_tensors(module.requires_grad_(False)))
        ['0.bias', '0.weight', '1.num_batches_tracked', '1.running_mean', '1.running_var']
    """
    return {name for name in policy.state_dict() if any(name.startswith(at) for at in _frozen_modules(policy, ""))}


def _frozen_modules(module: nn.Module, at: str) -> Iterator[str]:
    parameters = [*module.parameters()]
    if parameters and not any(parameter.requires_grad for parameter in parameters):
        yield at
        return
    for name, child in module.named_children():
        yield from _frozen_modules(child, f"{at}{name}.")


def _plan(steps: Sequence[Mapping[str, Sequence[str]]], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return name -> kind of every tensor a step covers, and what is wrong with the steps themselves."""
    plan: dict[str, str] = {}
    faults = []
    for step in _checked(steps):
        for kind, patterns in step.items():
            for pattern in patterns:
                covered = [name for name in names if fnmatchcase(name, pattern)]
                twice = [name for name in covered if name in plan]
                faults += [f"twice       {name}: {plan[name]} and {kind}" for name in twice]
                if not covered:
                    faults.append(f"idle step   {kind} {pattern}: names nothing{_nearest(pattern, names)}")
                plan |= dict.fromkeys(covered, kind)
    return plan, faults


def _checked(steps: object) -> list[dict[str, list[str]]]:
    """Return steps as mappings from a kind to names; whatever a recipe may hold instead is an error that says so."""
    form = "each step of init_from.steps is a mapping from a kind to a name or names, such as {reset: [trunk.time]}"
    if isinstance(steps, str | Mapping) or not isinstance(steps, Iterable):
        raise InitError(f"expected a list; {form}; given {steps!r:.100}")
    checked = []
    for step in steps:
        if not isinstance(step, Mapping) or not step:
            raise InitError(f"{form}; given {step!r:.100}")
        for kind, names in step.items():
            if kind not in KINDS:
                raise InitError(f"a step of init_from is one of {[*KINDS]}, got {kind!r}{_nearest(str(kind), KINDS)}")
            several = [names] if isinstance(names, str) else names
            if not isinstance(several, list | tuple) or not all(isinstance(name, str) for name in several):
                raise InitError(f"{form}; given {dict(step)!r:.100}")
        checked.append({kind: [names] if isinstance(names, str) else [*names] for kind, names in step.items()})
    return checked


def _misfits(
    own: Mapping[str, Tensor], given: Mapping[str, Tensor], plan: Mapping[str, str], frozen: Collection[str]
) -> list[str]:
    """Return one line per tensor that its step, or no step, does not allow."""
    faults = []
    for name in own.keys() | given.keys():
        kind, here, there = plan.get(name), own.get(name), given.get(name)
        if here is None or there is None:
            faults += _one_sided(name, kind, here, there, frozen=name in frozen)
        elif kind in ("fresh", "drop"):
            advice = "reset it" if kind == "fresh" else "it would be lost"
            faults.append(f"{kind:<11} {name}: is in both; {advice}")
        elif kind != "reset" and here.dtype != there.dtype:
            faults.append(f"type        {name}: {there.dtype} in the checkpoint, {here.dtype} here")
        elif kind != "reset" and not _fits(kind, tuple(here.shape), tuple(there.shape)):
            what = kind or "shape"
            faults.append(f"{what:<11} {name}: {tuple(there.shape)} in the checkpoint, {tuple(here.shape)} here")
    return faults


def _one_sided(name: str, kind: str | None, here: Tensor | None, there: Tensor | None, *, frozen: bool) -> list[str]:
    allowed = "fresh" if there is None else "drop"
    if kind == allowed:
        return []
    where, tensor = ("missing", here) if there is None else ("frozen here" if frozen else "unexpected", there)
    shape = tuple(tensor.shape) if tensor is not None else ()
    why = "trained in the checkpoint; " if frozen else ""
    return [f"{where:<11} {name} {shape}: {why}" + (f"cannot {kind}" if kind else f"if meant so, a step {allowed!r}")]


def _fits(kind: str | None, here: tuple[int, ...], there: tuple[int, ...]) -> bool:
    if kind is None or not here or not there:
        return here == there
    longer = there[0] >= here[0] if kind == "slice" else here[0] >= there[0]
    return longer and here[1:] == there[1:]


def _read_checkpoint(checkpoint: str) -> tuple[dict[str, Tensor], set[str]]:
    """Return a policy's tensors, and the names of those that are frozen there."""
    from seerkit.policy import Policy
    from seerkit.recipe import load_recipe

    folder = Path(checkpoint)
    if folder.is_dir():
        absent = [name for name in (WEIGHTS, RECIPE) if not (folder / name).is_file()]
        if absent:
            last = folder / "checkpoints" / "last"
            hint = f"; did you mean {last}?" if last.is_dir() else ""
            raise InitError(f"init_from.checkpoint {checkpoint} is no checkpoint: it lacks {absent[0]!r}{hint}")
        with torch.device("meta"), warnings.catch_warnings():  # only to see what is frozen: nothing is allocated
            warnings.simplefilter("ignore")
            frozen = frozen_tensors(Policy(load_recipe(str(folder / RECIPE))))
        return _read(folder / WEIGHTS), frozen
    if folder.is_absolute() or checkpoint.count("/") != 1:
        raise InitError(f"init_from.checkpoint {checkpoint!r} is neither a folder nor user/repo")
    policy = Policy.from_pretrained(checkpoint)
    return dict(policy.state_dict()), frozen_tensors(policy)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise InitError(f"{path} is damaged: {error}") from error


def _modules(names: Sequence[str]) -> list[str]:
    """Sum names up by their first three parts: ``encoders.image.vit (150 tensors)``."""
    counts: dict[str, int] = {}
    for name in names:
        part = ".".join(name.split(".")[:3]) if name.count(".") > 2 else name
        counts[part] = counts.get(part, 0) + 1
    return [f"{part} ({count} tensors)" if count > 1 else part for part, count in counts.items()]


def _nearest(word: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
