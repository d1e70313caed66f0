"""Heads: what the policy reads off the trunk's queries."""

from seerkit.head.action import ActionHead, AffineActionHead
from seerkit.head.bins import BinHead
from seerkit.head.denoiser import Denoiser
from seerkit.head.diffusion import DiffusionHead
from seerkit.head.flow import FlowHead
from seerkit.head.foresight import ForesightHead
from seerkit.head.foresight_map import MapForesightHead

__all__ = [
    "ActionHead",
    "AffineActionHead",
    "BinHead",
    "Denoiser",
    "DiffusionHead",
    "FlowHead",
    "ForesightHead",
    "MapForesightHead",
]
