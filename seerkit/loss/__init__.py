"""Losses: each term is a mean over its valid elements, so that no ablation needs another weight."""

from seerkit.loss.action import ArmLoss, GripperLoss
from seerkit.loss.bins import BinLoss
from seerkit.loss.cosine import CosineLoss, cosines
from seerkit.loss.denoise import DenoiseLoss
from seerkit.loss.depth import SiLogLoss, depth_error
from seerkit.loss.patch import PatchLoss
from seerkit.loss.weighted import WeightedLosses

__all__ = [
    "ArmLoss",
    "BinLoss",
    "CosineLoss",
    "DenoiseLoss",
    "GripperLoss",
    "PatchLoss",
    "SiLogLoss",
    "WeightedLosses",
    "cosines",
    "depth_error",
]
