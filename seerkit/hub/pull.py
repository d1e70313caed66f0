"""Get a policy from the Hub, without trusting who put it there."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from seerkit.hub.checkpoint import RECIPE, WEIGHTS, check_header, read_header, restore
from seerkit.hub.client import fetch, is_repo
from seerkit.hub.errors import CheckpointError, HubError
from seerkit.hub.header import HEADER_LIMIT
from seerkit.hub.trust import BYTES, check_recipe, check_text, read_text
from seerkit.recipe import Recipe, RecipeError, load_recipe, recipes_root

if TYPE_CHECKING:
    from seerkit.policy import Policy

BESIDE = 4 << 30
"""Bytes a policy may need beside what its file holds: frozen encoders that lie elsewhere, tables, masks."""


def pull(
    repo: str,
    *,
    overrides: Sequence[str] = (),
    revision: str | None = None,
    token: str | None = None,
    endpoint: str | None = None,
    trust_remote_code: bool = False,
) -> Policy:
    """Fetch recipe and weights of ``user/repo`` and build the policy.

    Only the two files with these names are fetched. Unless ``trust_remote_code`` is set, the recipe may name nothing
    but seerkit's own modules, and its sizes are compared with the weights' header before anything is allocated.

    Raises:
        CheckpointError: if the recipe is not to be trusted, or the weights are damaged or do not fit it.
        HubError: if there is no such repository, revision or file, or no way to it.
    """
    way: dict[str, Any] = {"endpoint": endpoint, "token": token}
    try:
        file, commit = fetch(repo, RECIPE, revision=revision, limit=None if trust_remote_code else BYTES, **way)
    except HubError as error:
        raise HubError(f"{error}; and there is no folder {repo!r} here") from error
    recipe = _recipe(repo, file, overrides, trust=trust_remote_code)
    if trust_remote_code:
        weights, _ = fetch(repo, WEIGHTS, revision=commit, **way)
        return restore(recipe, weights, **way)
    planned = plan(recipe, source=repo)
    needed = sum(t.numel() * t.element_size() for t in planned.state_dict().values())
    weights, _ = fetch(repo, WEIGHTS, revision=commit, limit=needed + HEADER_LIMIT, **way)
    header = read_header(weights)
    check_header(planned, header, source=f"{repo}: {WEIGHTS}")
    _check_memory(planned, weights.stat().st_size, source=repo)
    return restore(recipe, weights, **way)


def is_checkpoint(name: str) -> bool:
    """Say whether ``name`` is a folder or has the form ``user/repo``, rather than being a recipe's.

    Example:
        >>> is_checkpoint("user/repo"), is_checkpoint("seer_calvin"), is_checkpoint("mine.yaml")
        (True, False, False)
    """
    path = Path(name)
    if path.is_dir():
        return True
    groups = {"ablation", *(folder.name for folder in recipes_root().iterdir() if folder.is_dir())}
    return is_repo(name) and path.suffix not in (".yaml", ".yml") and path.parts[0] not in groups


def plan(recipe: Recipe, *, source: str) -> Policy:
    """Build a policy without allocating its tensors, to know what it would need.

    Raises:
        CheckpointError: if it cannot be built.
    """
    from seerkit.policy import Policy

    try:
        with torch.device("meta"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return Policy(recipe)
    except Exception as error:
        raise CheckpointError(f"the recipe of {source} cannot be built: {_line(error)}") from error


def _recipe(repo: str, file: Path, overrides: Sequence[str], *, trust: bool) -> Recipe:
    source = f"{repo}: {RECIPE}"
    if not trust:
        check_recipe(check_text(read_text(file), source=source), source=source)
    try:
        plain = load_recipe(str(file))
    except RecipeError:
        raise
    except Exception as error:
        raise CheckpointError(f"{source} is no recipe: {_line(error)}") from error
    if not trust:
        check_recipe(plain.config, source=source)
    return load_recipe(str(file), *overrides) if overrides else plain


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _check_memory(policy: Policy, file: int, *, source: str) -> None:
    tensors = [*policy.parameters(), *policy.buffers()]
    needed = sum(t.numel() * t.element_size() for t in tensors)
    if needed > file + BESIDE:
        raise CheckpointError(
            f"{source} would need {needed:,} bytes, but its file holds {file:,}; at most {BESIDE:,} more are allowed"
        )
