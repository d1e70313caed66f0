"""The repeated blocks of a policy, which are compiled, recomputed or sharded one by one."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_SERIES = (nn.ModuleList, nn.Sequential)
_CONTAINERS = (*_SERIES, nn.ModuleDict)


def repeated_blocks(*modules: nn.Module | None) -> list[nn.Module]:
    """Return the blocks of every series below ``modules``: parts of one kind, one after another, with parts themselves.

    That is what transformers of any library have in common; blocks inside a block are not listed.

    Example:
        >>> trunk = nn.ModuleDict({"blocks": nn.ModuleList(nn.TransformerEncoderLayer(8, 2) for _ in range(3))})
        >>> len(repeated_blocks(trunk))
        3
    """
    return [block for module in modules if module is not None for block in _blocks(module)]


def frozen_image_encoders(policy: nn.Module) -> list[nn.Module]:
    """Return the vision encoders of a policy that are not trained."""
    encoders: dict[str, nn.Module] = dict(getattr(policy, "encoders", {}))
    found = [vit for part in encoders.values() if isinstance(vit := getattr(part, "vit", None), nn.Module)]
    return [vit for vit in found if not any(parameter.requires_grad for parameter in vit.parameters())]


def compile_blocks(blocks: Iterable[nn.Module]) -> Callable[[], None]:
    """Compile the forward pass of each block (alike blocks share one compilation); return what undoes it."""
    return _replace(blocks, torch.compile)


def recompute_blocks(blocks: Iterable[nn.Module]) -> Callable[[], None]:
    """Let each block keep its input alone and compute its inside again in the backward pass; return what undoes it.

    Dropout draws the same numbers the second time, so gradients do not change.
    """
    return _replace(blocks, lambda forward: functools.partial(checkpoint, forward, use_reentrant=False))


def _blocks(module: nn.Module) -> list[nn.Module]:
    parts = list(module.children())
    same = len({type(part) for part in parts}) == 1 and not isinstance(parts[0], _CONTAINERS)
    if type(module) in _SERIES and same and any(True for _ in parts[0].children()):
        return parts
    return [block for part in parts for block in _blocks(part)]


def _replace(blocks: Iterable[nn.Module], wrap: Callable[[Callable], Callable]) -> Callable[[], None]:
    """Give each block a ``forward`` of its own; names of parameters stay as they are."""
    before = {block: block.__dict__.get("forward") for block in blocks}
    for block in before:
        block.forward = wrap(block.forward)

    def undo() -> None:
        for block, forward in before.items():
            del block.forward
            if forward is not None:
                block.forward = forward

    return undo
