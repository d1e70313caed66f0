"""The trunk: one masked transformer over the tokens of all steps."""

from seerkit.trunk.block import Block
from seerkit.trunk.trunk import TokenTrunk

__all__ = ["Block", "TokenTrunk"]
