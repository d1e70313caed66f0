"""Save and load policies as folders: recipe, weights, card."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from seerkit.data.files import fresh_folder
from seerkit.fingerprint import weights_hash
from seerkit.hub.card import write_card
from seerkit.hub.errors import CheckpointError, HubError
from seerkit.hub.frozen import Frozen, Origin, attach, differences, frozen_modules
from seerkit.hub.header import Promised, read_promised
from seerkit.hub.sources import read_source
from seerkit.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from seerkit.policy import Policy

RECIPE, WEIGHTS, CARD = "recipe.yaml", "model.safetensors", "README.md"
BESIDE = ("unused.safetensors", "training.json", "report.json", "report.html")
"""What conversion, training and evaluation may have put beside them."""
STATE = "training_state"
"""The folder in which training keeps what a resumed run needs."""
LEFT_OUT = "frozen"
"""Under which name the weights' metadata says what was left out, whence it comes, and its fingerprint."""


@dataclass(frozen=True, slots=True)
class Header:
    """What a file of weights promises to hold, and what it says was left out."""

    tensors: Mapping[str, Promised]
    left_out: Mapping[str, Origin]


def save(policy: Policy, path: Path, *, frozen: bool | None = None, recipe: Recipe | None = None) -> Path:
    """Write a policy into the folder ``path``, so that it is whole or absent.

    Args:
        policy: what to save.
        path: the folder; replaced if it is empty or holds a checkpoint and nothing else.
        frozen: whether the frozen encoders' weights are written, too. By default those are left out that came from
            where everybody can fetch them and have not changed since.
        recipe: what ``recipe.yaml`` says; the policy's own if not given.

    Raises:
        CheckpointError: with ``frozen=False``, if a frozen encoder could not be had again.
        FileExistsError: if replacing the folder would lose something else.
    """
    _check_replaceable(path)
    left = _to_leave_out(policy, frozen)
    weights = {key: t for key, t in policy.state_dict().items() if not _inside(key, left)}
    metadata = {"format": "pt", LEFT_OUT: json.dumps({name: _plain(origin) for name, origin in left.items()})}
    with fresh_folder(path, replace=True) as draft:
        (draft / RECIPE).write_text((recipe or policy.recipe).yaml(), encoding="utf-8")
        save_file({name: t.detach().cpu().contiguous() for name, t in weights.items()}, draft / WEIGHTS, metadata)
        (draft / CARD).write_text(write_card(policy, left_out=left), encoding="utf-8")
    return path


def load(path: Path, *overrides: str, endpoint: str | None = None, token: str | None = None) -> Policy:
    """Build the policy of a folder and load its weights, strictly; encoders that were left out come from their source.

    Raises:
        CheckpointError: if a file is missing or damaged, tensors are missing, unexpected, of another shape or type, or
            an encoder that was left out cannot be had or is another one.
    """
    for name in (RECIPE, WEIGHTS):
        if not (path / name).is_file():
            there = sorted(file.name for file in path.iterdir()) if path.is_dir() else "no such folder"
            last = path / "checkpoints" / "last"
            hint = f"; did you mean {last}?" if last.is_dir() else ""
            raise CheckpointError(f"{path} is no checkpoint: it lacks {name!r}; it holds {there}{hint}")
    recipe = load_recipe(str(path / RECIPE), *overrides)
    return restore(recipe, path / WEIGHTS, endpoint=endpoint, token=token)


def restore(recipe: Recipe, file: Path, *, endpoint: str | None = None, token: str | None = None) -> Policy:
    """Build the policy of a recipe and load a file of weights into it, strictly.

    Raises:
        CheckpointError: as `load`.
    """
    from seerkit.policy import Policy

    header = read_header(file)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy = Policy(recipe)
    check_header(policy, header, source=str(file))
    state = policy.state_dict()
    for name, tensor in load_file(file).items():
        state[name].copy_(tensor)
    modules = frozen_modules(policy) if header.left_out else {}
    for name, origin in header.left_out.items():
        _reattach(policy, modules[name], origin, endpoint=endpoint, token=token)
    policy.checkpoint = file.parent
    return policy


def read_header(file: Path) -> Header:
    """Read names, shapes and types of a ``.safetensors`` file, and what was left out; no tensor is loaded.

    Raises:
        CheckpointError: if it is no such file, is cut off, or has an absurdly long header.
    """
    promised, metadata = read_promised(file)
    return Header(promised, _read_left_out(metadata.get(LEFT_OUT, "{}"), file))


def check_header(policy: Policy, header: Header, *, source: str) -> None:
    """Compare what a file promises with what a policy has, before any of it is loaded.

    Raises:
        CheckpointError: with a table of what differs.
    """
    if header.left_out:
        there = frozen_modules(policy)
        if unknown := sorted(header.left_out.keys() - there.keys()):
            raise CheckpointError(f"{source} leaves out {unknown}; this recipe's frozen modules: {sorted(there)}")
    expected = {key: t for key, t in policy.state_dict().items() if not _inside(key, header.left_out)}
    if rows := differences(expected, header.tensors):
        raise CheckpointError(f"{source} does not fit recipe {policy.recipe.name!r}:\n" + "\n".join(rows))


def load_strictly(policy: Policy, weights: dict[str, Tensor], *, source: str) -> None:
    """Copy ``weights`` into the policy; every tensor must be there, expected, and of the right shape and type.

    Raises:
        CheckpointError: with a table of what differs.
    """
    if rows := differences(policy.state_dict(), weights):
        raise CheckpointError(f"{source} does not fit recipe {policy.recipe.name!r}:\n" + "\n".join(rows))
    policy.load_state_dict(weights)


def _check_replaceable(path: Path) -> None:
    if not path.exists() and not path.is_symlink():
        return
    if not path.is_dir():
        raise FileExistsError(f"{path} is a file; expected a folder to write, or a new name")
    ours = (RECIPE, WEIGHTS, CARD, *BESIDE)
    there = sorted(entry.name for entry in path.iterdir())
    strange = [n for n in there if not ((path / n).is_file() if n in ours else n == STATE and (path / n).is_dir())]
    if strange:
        raise FileExistsError(f"{path} holds {strange[:8]}, which would be lost; choose another folder")
    if there and not {RECIPE, WEIGHTS} <= {*there}:
        raise FileExistsError(f"{path} is no checkpoint and holds {there}, which would be lost; choose another folder")


def _to_leave_out(policy: Policy, frozen: bool | None) -> dict[str, Origin]:
    if frozen:
        return {}
    left, kept = {}, []
    for name, module in frozen_modules(policy).items():
        origin = policy.origins.get(name)
        fetchable = module.source is not None and module.source.fetchable
        if origin and fetchable and origin.sha256 == weights_hash(module.module.state_dict()):
            left[name] = origin
        else:
            kept.append(str(module))
    if kept and frozen is False:
        raise CheckpointError(
            f"frozen=False would lose weights: {', '.join(kept)} did not come, as they are, from where they can be "
            "fetched again; leave the argument out or say frozen=True"
        )
    return left


def _reattach(policy: Policy, frozen: Frozen, origin: Origin, *, endpoint: str | None, token: str | None) -> None:
    """Load a module that the checkpoint left out, and make sure that it is the one it was trained with."""
    way_out = f"name a file that holds it: {frozen.override}=PATH"
    try:
        done = attach(policy, frozen, download=True, endpoint=endpoint, token=token)
    except HubError as error:
        raise CheckpointError(f"the checkpoint leaves out {frozen}, which cannot be had: {error}; {way_out}") from error
    if not done:
        raise CheckpointError(f"the checkpoint leaves out {frozen.name}, from {origin.source}; {way_out}")
    if policy.origins[frozen.name].sha256 != origin.sha256:
        raise CheckpointError(
            f"{frozen} holds other weights than the checkpoint was trained with, which came from {origin.source}: "
            f"expected fingerprint {origin.sha256[:12]}, found {policy.origins[frozen.name].sha256[:12]}; {way_out}"
        )


def _read_left_out(text: str, file: Path) -> dict[str, Origin]:
    try:
        rows: Any = json.loads(text)
        left = {str(name): Origin(str(row["source"]), str(row["sha256"])) for name, row in rows.items()}
        for origin in left.values():
            read_source(origin.source)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{file}: its metadata {LEFT_OUT!r} is not readable: {error!r:.200}") from error
    return left


def _plain(origin: Origin) -> dict[str, str]:
    return {"source": origin.source, "sha256": origin.sha256}


def _inside(key: str, modules: Mapping[str, Any]) -> bool:
    return any(key.startswith(f"{name}.") for name in modules)
