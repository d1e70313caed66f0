"""How weights start."""

from __future__ import annotations

from typing import Literal

from torch import nn

Start = Literal["xavier", "torch"]
"""``"xavier"``: linear layers Xavier-uniform, zero bias, as the official Seer; ``"torch"``: PyTorch's own, as GR-1."""


def begin(module: nn.Module, start: Start) -> None:
    """Start every trainable linear layer below ``module`` as ``start`` says.

    Raises:
        ValueError: if ``start`` is unknown.
    """
    if start not in ("xavier", "torch"):
        raise ValueError(f"start is 'xavier' or 'torch', got {start!r}")
    if start == "xavier":
        xavier(module)


def xavier(module: nn.Module) -> None:
    """Start every linear layer below ``module`` Xavier-uniform with zero bias, as the official Seer does.

    Frozen layers are left as they are.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear) and part.weight.requires_grad:
            nn.init.xavier_uniform_(part.weight)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
