"""How weights start."""

from __future__ import annotations

from torch import nn


def xavier(module: nn.Module) -> None:
    """Start every linear layer below ``module`` Xavier-uniform with zero bias, as the official Seer does.

    Frozen layers are left as they are.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear) and part.weight.requires_grad:
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
