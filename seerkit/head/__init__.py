"""Heads: what the policy reads off the trunk's queries."""

from seerkit.head.action import ActionHead, AffineActionHead
from seerkit.head.foresight import ForesightHead
from seerkit.head.foresight_map import MapForesightHead

__all__ = ["ActionHead", "AffineActionHead", "ForesightHead", "MapForesightHead"]
