"""Begin a training from another policy's weights, by declared steps; nothing else is tolerated."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from seerkit.policy import Policy

KINDS = ("reset", "slice", "extend", "fresh", "drop")


class InitError(ValueError):
    """A pre-trained policy that does not fit the declared steps; the message holds a table of what differs."""


@dataclasses.dataclass(frozen=True)
class CarriedOver:
    """Say what became of every trainable tensor, by name.

    Args:
        checkpoint: where the weights came from.
        carried: as they are.
        sliced: only the first rows; name -> rows there, rows here.
        extended: the first rows, the rest keeps its initial value; name -> rows there, rows here.
        reset: keeps its initial value although the checkpoint has one.
        fresh: keeps its initial value; the checkpoint has none.
        dropped: the checkpoint has it, this policy does not.
        frozen: not carried; frozen encoders have their own source.
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

    Called when a run begins: by `seerkit train` and by ablations. A policy that was itself loaded from a checkpoint
    keeps its weights.

    Raises:
        InitError: if the checkpoint does not fit the declared steps.
    """
    section = policy.recipe.config.get("init_from") or {}
    unknown = section.keys() - {"checkpoint", "steps"}
    if unknown:
        raise InitError(f"init_from holds 'checkpoint' and 'steps', got also {sorted(unknown)}")
    checkpoint = section.get("checkpoint")
    if not checkpoint or getattr(policy, "checkpoint", None) is not None:
        return None
    carried = carry_over(policy, _weights(str(checkpoint)), section.get("steps") or [])
    return dataclasses.replace(carried, checkpoint=str(checkpoint))


def carry_over(
    policy: Policy, state: Mapping[str, Tensor], steps: Sequence[Mapping[str, Sequence[str]]]
) -> CarriedOver:
    """Copy another policy's weights into this one, strictly, but for what the steps declare.

    The official Seer does so when it fine-tunes: learned action and foresight tokens start anew (``reset``), the first
    time positions are taken (``slice``); it would silently skip other differences, which are errors here.

    Args:
        policy: changed in place; only its trainable tensors.
        state: the other policy's tensors, frozen ones or not.
        steps: one mapping each from a kind to names, with ``*`` for any characters: ``reset`` (in both, keep the new
            policy's initial value), ``slice`` (take the first rows), ``extend`` (the first rows come from there, the
            others keep their initial value), ``fresh`` (only here, keep the initial value), ``drop`` (only there).

    Raises:
        InitError: with a table of whatever no step covers, and of steps that cover nothing or do not apply.
    """
    own = {name: parameter for name, parameter in policy.named_parameters() if parameter.requires_grad}
    frozen = sorted(policy.state_dict().keys() - own.keys())
    given = {name: tensor for name, tensor in state.items() if name not in frozen}
    plan, faults = _plan(steps, sorted(own.keys() | given.keys()))
    faults += _misfits(own, given, plan)
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
        frozen=frozen,
    )


def _plan(steps: Sequence[Mapping[str, Sequence[str]]], names: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    """Return name -> kind of every tensor a step covers, and what is wrong with the steps themselves."""
    plan: dict[str, str] = {}
    faults = []
    for step in steps:
        for kind, patterns in step.items():
            if kind not in KINDS:
                raise InitError(f"a step of init_from is one of {list(KINDS)}, got {kind!r}{_nearest(kind, KINDS)}")
            for pattern in [patterns] if isinstance(patterns, str) else patterns:
                covered = [name for name in names if fnmatchcase(name, pattern)]
                twice = [name for name in covered if name in plan]
                faults += [f"twice       {name}: {plan[name]} and {kind}" for name in twice]
                if not covered:
                    faults.append(f"idle step   {kind} {pattern}: names nothing{_nearest(pattern, names)}")
                plan |= dict.fromkeys(covered, kind)
    return plan, faults


def _misfits(own: Mapping[str, Tensor], given: Mapping[str, Tensor], plan: Mapping[str, str]) -> list[str]:
    """Return one line per tensor that its step, or no step, does not allow."""
    faults = []
    for name in own.keys() | given.keys():
        kind, here, there = plan.get(name), own.get(name), given.get(name)
        if here is None or there is None:
            faults += _one_sided(name, kind, here, there)
        elif kind in ("fresh", "drop"):
            advice = "reset it" if kind == "fresh" else "it would be lost"
            faults.append(f"{kind:<11} {name}: is in both; {advice}")
        elif kind != "reset" and not _fits(kind, tuple(here.shape), tuple(there.shape)):
            what = kind or "shape"
            faults.append(f"{what:<11} {name}: {tuple(there.shape)} in the checkpoint, {tuple(here.shape)} here")
    return faults


def _one_sided(name: str, kind: str | None, here: Tensor | None, there: Tensor | None) -> list[str]:
    allowed = "fresh" if there is None else "drop"
    if kind == allowed:
        return []
    where, tensor = ("missing", here) if there is None else ("unexpected", there)
    shape = tuple(tensor.shape) if tensor is not None else ()
    return [f"{where:<11} {name} {shape}: " + (f"cannot {kind}" if kind else f"if meant so, a step {allowed!r}")]


def _fits(kind: str | None, here: tuple[int, ...], there: tuple[int, ...]) -> bool:
    if kind is None or not here or not there:
        return here == there
    longer = there[0] >= here[0] if kind == "slice" else here[0] >= there[0]
    return longer and here[1:] == there[1:]


def _weights(checkpoint: str) -> dict[str, Tensor]:
    from seerkit.hub import WEIGHTS, CheckpointError
    from seerkit.policy import Policy

    folder = Path(checkpoint)
    if folder.is_dir():
        if not (folder / WEIGHTS).is_file():
            raise CheckpointError(f"init_from.checkpoint {checkpoint} is no checkpoint: it lacks {WEIGHTS!r}")
        return _read(folder / WEIGHTS)
    if folder.is_absolute() or checkpoint.count("/") != 1:
        raise InitError(f"init_from.checkpoint {checkpoint!r} is neither a folder nor user/repo")
    return dict(Policy.from_pretrained(checkpoint).state_dict())


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
