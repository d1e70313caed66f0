"""Heads: what the policy reads off the trunk's queries."""

from seerkit.head.action import ActionHead, AffineActionHead
from seerkit.head.foresight import ForesightHead

__all__ = ["ActionHead", "AffineActionHead", "ForesightHead"]
