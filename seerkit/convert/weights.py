"""Convert files of weights: official checkpoints to ours and back, ready-made encoders to a recipe's ``source``."""

from __future__ import annotations

import json
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from seerkit.convert import encoders
from seerkit.convert.infer import fitting_recipe, skeleton
from seerkit.convert.official import SYSTEMS, Carried, System, carry, differences, official_tensors, table_of
from seerkit.convert.official import trainable as trainable_of
from seerkit.convert.read import WeightsError, read_weights
from seerkit.data.files import fresh_file, fresh_folder
from seerkit.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from seerkit.policy import Policy

RECIPE, WEIGHTS = "recipe.yaml", "model.safetensors"
UNUSED = "unused.safetensors"
"""Beside a converted checkpoint's weights: official tensors of no use here, so that nothing is lost on the way back."""


DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}
"""Types that a frozen encoder inside an official file may have instead of ours."""


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


def import_policy(
    path: Path, out: Path, *, system: str, recipe: str | None = None, overrides: Sequence[str] = ()
) -> Summary:
    """Turn an official checkpoint into the folder of a policy.

    Every tensor is accounted for: carried, or named as never used and kept in ``unused.safetensors`` beside the
    weights, or the conversion fails. Optimiser and epoch are not taken over.

    Args:
        path: the official file.
        out: the folder to write; must not exist.
        system: ``"seer"`` or ``"gr1"``.
        recipe: name or file of the recipe to build; told from the shapes if not given.
        overrides: changes to that recipe.

    Raises:
        FileExistsError: ``out`` exists.
        WeightsError: the file cannot be read, or does not fit; with a table of what differs.
    """
    _absent(out)
    source = SYSTEMS[system]
    given = read_weights(path)
    official = source.unprefixed(given)
    name = recipe or fitting_recipe(official, source)
    carried = carry(official, skeleton(load_recipe(name, *overrides)), source)
    policy = _filled(name, overrides, carried)
    inside = [prefix for prefix in source.inside if any(name.startswith(prefix) for name in official)]
    notes = {"system": system, "dtypes": json.dumps(carried.dtypes), "inside": json.dumps(inside)}
    with fresh_folder(out) as draft:
        policy.save_pretrained(draft)
        save_file({name: tensor.contiguous() for name, tensor in carried.kept.items()}, draft / UNUSED, notes)
    aside = sorted(carried.kept.keys() - set(carried.idle))
    lines = {
        "read": f"{len(given)} tensors of {path.name}",
        "recipe": f"{name} ({'as asked for' if recipe else 'the only one that fits'})",
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
    inside = _inside(ours, target, notes.get("inside", []))
    both = official | inside | kept | fresh
    for name, dtype in notes.get("dtypes", {}).items():
        both[name] = both[name].to(DTYPES[dtype])
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


def _filled(recipe: str, overrides: Sequence[str], carried: Carried) -> Policy:
    from seerkit.policy import build_policy

    with warnings.catch_warnings():
        if not carried.elsewhere:  # frozen encoders that are random by now are about to be filled
            warnings.simplefilter("ignore")
        policy = build_policy(recipe, *overrides)
    policy.load_state_dict({**policy.state_dict(), **carried.weights})
    return policy


def _recipe_of(checkpoint: Path) -> Recipe:
    for name in (RECIPE, WEIGHTS):
        if not (checkpoint / name).is_file():
            raise WeightsError(f"{checkpoint} is no checkpoint: it lacks {name!r}")
    return load_recipe(str(checkpoint / RECIPE))


def _read_unused(checkpoint: Path, system: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    path = checkpoint / UNUSED
    if not path.is_file():
        return {}, {}
    try:
        with safe_open(path, "pt") as file:
            said = file.metadata() or {}
        notes = {"system": said["system"], **{name: json.loads(said[name]) for name in ("dtypes", "inside")}}
        if not {*notes["dtypes"].values()} <= DTYPES.keys():
            raise ValueError(f"types {notes['dtypes']}, known: {[*DTYPES]}")
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError) as error:
        raise WeightsError(f"{path} is damaged or was not written by a conversion: {error}") from error
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
    """Sum names up: how each begins and how many begin so; below a frozen encoder's prefix one part more."""
    counts = Counter(".".join(name.split(".")[: 2 if name.startswith("model_") else 1]) for name in names)
    return ", ".join(f"{name} ({count})" if count > 1 else name for name, count in counts.items())


def _elsewhere(names: list[str]) -> str:
    parts = Counter(".".join(name.split(".")[:3]) for name in names)
    return ", ".join(f"{part} ({count} tensors, frozen)" for part, count in parts.items())
