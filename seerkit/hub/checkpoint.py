"""Save and load policies as folders: recipe, weights, card."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from seerkit.recipe import load_recipe

if TYPE_CHECKING:
    from torch import Tensor

    from seerkit.policy import Policy

RECIPE, WEIGHTS, CARD = "recipe.yaml", "model.safetensors", "README.md"


class CheckpointError(ValueError):
    """A checkpoint that is not complete or does not fit its recipe; the message names what is wrong."""


def save(policy: Policy, path: Path) -> Path:
    """Write a policy into the folder ``path``, first under a temporary name, so that it is whole or absent."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        (partial / RECIPE).write_text(policy.recipe.yaml())
        save_file({name: t.detach().cpu().contiguous() for name, t in policy.state_dict().items()}, partial / WEIGHTS)
        (partial / CARD).write_text(_card(policy))
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if path.exists():
        old = path.with_name(f".{path.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        path.rename(old)
        partial.rename(path)
        shutil.rmtree(old)
    else:
        partial.rename(path)
    return path


def load(path: Path, *overrides: str) -> Policy:
    """Build the policy of a folder and load its weights, strictly.

    Raises:
        CheckpointError: if a file is missing or damaged, or tensors are missing, unexpected or of another shape.
    """
    from seerkit.policy import Policy

    for name in (RECIPE, WEIGHTS):
        if not (path / name).is_file():
            there = sorted(file.name for file in path.iterdir()) if path.is_dir() else "no such folder"
            raise CheckpointError(f"{path} is no checkpoint: it lacks {name!r}; it holds {there}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        policy = Policy(load_recipe(str(path / RECIPE), *overrides))
    try:
        weights = load_file(path / WEIGHTS)
    except SafetensorError as error:
        raise CheckpointError(f"{path / WEIGHTS} is damaged: {error}") from error
    load_strictly(policy, weights, source=str(path / WEIGHTS))
    return policy


def load_strictly(policy: Policy, weights: dict[str, Tensor], *, source: str) -> None:
    """Copy ``weights`` into the policy; every tensor must be there, expected, and of the right shape.

    Raises:
        CheckpointError: with a table of what differs.
    """
    expected = policy.state_dict()
    rows = [f"  missing     {name} {tuple(expected[name].shape)}" for name in expected.keys() - weights.keys()]
    rows += [f"  unexpected  {name} {tuple(weights[name].shape)}" for name in weights.keys() - expected.keys()]
    rows += [
        f"  shape       {name}: expected {tuple(expected[name].shape)}, given {tuple(weights[name].shape)}"
        for name in expected.keys() & weights.keys()
        if expected[name].shape != weights[name].shape
    ]
    if rows:
        raise CheckpointError(f"{source} does not fit recipe {policy.recipe.name!r}:\n" + "\n".join(sorted(rows)))
    policy.load_state_dict(weights)


def _card(policy: Policy) -> str:
    meta = policy.recipe.config["meta"]
    trainable = sum(p.numel() for p in policy.parameters() if p.requires_grad)
    return f"""---
library_name: seerkit
pipeline_tag: robotics
tags: [robotics, seerkit]
---
# {meta["name"]}

{meta["summary"]}. Paper: {meta.get("paper", "none")}.
{trainable:,} trainable parameters; recipe `{policy.recipe.hash[:12]}`.

```python
from seerkit import Policy

policy = Policy.from_pretrained("this/folder")
agent = policy.agent(batch_size=1)
```
"""
