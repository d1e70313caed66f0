"""Freeze a part: no gradients, always in evaluation mode."""

from __future__ import annotations

from typing import TypeVar

from torch import nn

Module = TypeVar("Module", bound=nn.Module)


def freeze(module: Module) -> Module:
    """Switch gradients off for every parameter of ``module`` and put it into evaluation mode.

    Example:
        >>> any(p.requires_grad for p in freeze(nn.Linear(2, 2)).parameters())
        False
    """
    module.requires_grad_(False)
    return stay_frozen(module)


def stay_frozen(module: Module) -> Module:
    """Put ``module`` and all below it into evaluation mode; what a frozen part's ``train`` calls."""
    for part in module.modules():
        part.training = False
    return module
