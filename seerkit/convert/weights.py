"""Convert files of weights: official checkpoints to ours and back, ready-made encoders to a recipe's ``source``."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seerkit.convert import encoders
from seerkit.convert.infer import fitting_recipe, skeleton
from seerkit.convert.official import SYSTEMS, System, carry, differences, official_tensors, table_of
from seerkit.convert.official import trainable as trainable_of
from seerkit.convert.read import WeightsError, read_weights
from seerkit.data.files import fresh_file, fresh_folder
from seerkit.hub import RECIPE, WEIGHTS
from seerkit.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from seerkit.policy import Policy

UNUSED = "unused.safetensors"
"""Beside a converted checkpoint's weights: official tensors of no use here, so that nothing is lost on the way back."""


@dataclass(frozen=True)
class Encoder:
    """Say how to read a ready-made encoder: the reader of its tensors, and what it leaves out."""

    read: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    left_out: str


ENCODERS = {
    "mae": Encoder(encoders.mae_encoder, encoders.MAE_LEFT_OUT),
    "clip": Encoder(encoders.clip_text, encoders.CLIP_LEFT_OUT),
    "r3m": Encoder(encoders.r3m_resnet, encoders.R3M_LEFT_OUT),
}


@dataclass(frozen=True)
class Summary:
    """Say what a conversion did: one line per subject."""

    out: Path
    lines: dict[str, str]


def import_policy(path: Path, out: Path, *, system: str, recipe: Recipe | None = None) -> Summary:
    """Turn an official checkpoint into the folder of a policy.

    Every tensor is accounted for: carried, or named as never used and kept in ``unused.safetensors`` beside the
    weights, or the conversion fails. Optimiser and epoch are not taken over.

    Args:
        path: the official file.
        out: the folder to write; must not exist.
        system: ``"seer"`` or ``"gr1"``.
        recipe: which policy to build; told from the shapes if not given.

    Raises:
        FileExistsError: ``out`` exists.
        WeightsError: the file cannot be read, or does not fit; with a table of what differs.
    """
    _absent(out)
    source = SYSTEMS[system]
    given = read_weights(path)
    official = source.unprefixed(given)
    told = recipe is not None
    recipe = recipe or fitting_recipe(official, source)
    carried = carry(official, skeleton(recipe), source)
    policy = _filled(recipe, carried.weights)
    inside = [prefix for prefix in source.inside if any(name.startswith(prefix) for name in official)]
    notes = {"system": system, "dtypes": json.dumps(carried.dtypes), "inside": json.dumps(inside)}
    with fresh_folder(out) as draft:
        _save(policy, draft, frozen=not carried.elsewhere)
        save_file({name: tensor.contiguous() for name, tensor in carried.kept.items()}, draft / UNUSED, notes)
    aside = sorted(carried.kept.keys() - set(carried.idle))
    lines = {
        "read": f"{len(given)} tensors of {path.name}",
        "recipe": f"{recipe.name} ({'as asked for' if told else 'the only one that fits'})",
        "carried": f"{len(official) - len(carried.kept)} into {len(carried.weights)}",
        "never used": f"{len(carried.idle)}, kept in {UNUSED}: {_families(carried.idle)}",
        "without use in this recipe": f"{len(aside)}, kept in {UNUSED}: {_families(aside)}" if aside else "",
        "declared elsewhere": _elsewhere(carried.elsewhere),
        "note": "; ".join(carried.notes),
    }
    return Summary(out, {name: line for name, line in lines.items() if line})


def export_policy(checkpoint: Path, out: Path, *, system: str) -> Summary:
    """Write a policy's folder as the file that the official code loads.

    The inverse of `import_policy`, to the last bit. A policy that was trained here has no ``unused.safetensors``; the
    tensors that the official model registers without using them are then freshly initialised.

    Args:
        checkpoint: the folder.
        out: the file to write; must not exist.
        system: ``"seer"`` or ``"gr1"``.

    Raises:
        FileExistsError: ``out`` exists.
        WeightsError: the policy is not of this system's kind, or a file of the checkpoint is missing or damaged.
    """
    _absent(out)
    target = SYSTEMS[system]
    recipe = _recipe_of(checkpoint)
    ours = read_weights(checkpoint / WEIGHTS)
    policy = skeleton(recipe)
    names = trainable_of(policy)
    rows = differences(names, {name: tensor for name, tensor in ours.items() if name in names})
    if rows:
        raise WeightsError(f"{checkpoint / WEIGHTS} does not fit its recipe {recipe.name!r}:\n{table_of(rows)}")
    official = official_tensors({name: ours[name] for name in names}, policy, target)
    kept, notes = _read_unused(checkpoint, system)
    fresh = {} if notes else target.idle(recipe, 1024)
    if lacking := target.table.lacking(official.keys() | kept.keys()):
        raise WeightsError(f"recipe {recipe.name!r} has nothing for these tensors of the official model: {lacking}")
    inside = _inside(ours, target, json.loads(notes.get("inside", "[]")))
    both = official | inside | kept | fresh
    for name, dtype in json.loads(notes.get("dtypes", "{}")).items():
        both[name] = both[name].to(getattr(torch, dtype))
    with fresh_file(out) as draft:
        torch.save({target.wrapper: {f"{target.prefix}{name}": tensor for name, tensor in both.items()}}, draft)
    lines = {
        "read": f"{len(ours)} tensors of {checkpoint}",
        "recipe": recipe.name,
        "written": f"{len(both)} tensors under {target.wrapper!r}",
        "from the original": f"{len(kept)} without use here: {_families(kept)}" if kept else "",
        "freshly initialised": f"{len(fresh)} that the official model never uses: {_families(fresh)}" if fresh else "",
    }
    return Summary(out, {name: line for name, line in lines.items() if line})


def convert_encoder(path: Path, out: Path, *, kind: str) -> Summary:
    """Write a ready-made encoder as ``.safetensors`` with the names of the module here, for a recipe's ``source``.

    Args:
        path: a checkpoint of MAE, CLIP or R3M.
        out: the file to write; must not exist.
        kind: ``"mae"``, ``"clip"`` or ``"r3m"``.

    Raises:
        FileExistsError: ``out`` exists.
        WeightsError: the file cannot be read or holds something else.
    """
    _absent(out)
    if out.suffix != ".safetensors":
        raise WeightsError(f"expected a new .safetensors file, got {out}")
    encoder = ENCODERS[kind]
    given = read_weights(path)
    tensors = encoder.read(given)
    aside = encoders.left_out(given, encoder.left_out)
    with fresh_file(out) as draft:
        save_file(tensors, draft, {"kind": kind})
    lines = {
        "read": f"{len(given)} tensors of {path.name}",
        "carried": f"{len(tensors)} in fp32",
        "left out": f"{len(aside)}: {_families(aside)}" if aside else "",
        "use": f"as the source of this encoder in a recipe: {out}",
    }
    return Summary(out, {name: line for name, line in lines.items() if line})


def _absent(out: Path) -> None:
    if out.exists() or out.is_symlink():
        raise FileExistsError(f"{out} exists already; choose another name or remove it")


def _filled(recipe: Recipe, weights: Mapping[str, Tensor]) -> Policy:
    from seerkit.policy import Policy

    policy = Policy(recipe)
    policy.load_state_dict({**policy.state_dict(), **weights})
    return policy


def _save(policy: Policy, folder: Path, *, frozen: bool) -> None:  # noqa: ARG001
    policy.save_pretrained(folder)


def _recipe_of(checkpoint: Path) -> Recipe:
    for name in (RECIPE, WEIGHTS):
        if not (checkpoint / name).is_file():
            raise WeightsError(f"{checkpoint} is no checkpoint: it lacks {name!r}")
    return load_recipe(str(checkpoint / RECIPE))


def _read_unused(checkpoint: Path, system: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    path = checkpoint / UNUSED
    if not path.is_file():
        return {}, {}
    try:
        with safe_open(path, "pt") as file:
            notes = dict(file.metadata() or {})
    except SafetensorError as error:
        raise WeightsError(f"{path} is damaged: {error}") from error
    if notes.get("system") != system:
        raise WeightsError(f"{path} came from {notes.get('system')!r}; expected {system!r}")
    return read_weights(path), notes


def _inside(ours: Mapping[str, Tensor], target: System, prefixes: list[str]) -> dict[str, Tensor]:
    official = {}
    for prefix in prefixes:
        part = target.inside[prefix].ours
        mine = {name: tensor for name, tensor in ours.items() if name.startswith(part)}
        if not mine:
            raise WeightsError(f"the original file held {prefix}*, but the checkpoint holds no {part}*")
        official |= {f"{prefix}{name.removeprefix(part)}": tensor for name, tensor in mine.items()}
    return official


def _families(names: Mapping[str, Tensor] | list[str]) -> str:
    """Sum names up: the first part of each and how many begin so."""
    counts = Counter(name.partition(".")[0] for name in names)
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in counts.items())


def _elsewhere(names: list[str]) -> str:
    parts = Counter(".".join(name.split(".")[:3]) for name in names)
    return ", ".join(f"{part} ({count} tensors, frozen)" for part, count in parts.items())
