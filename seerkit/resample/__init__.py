"""Resamplers: many patch features to a few latents per image."""

from seerkit.resample.pool import KeepPatches, MeanPool
from seerkit.resample.perceiver import Perceiver

__all__ = ["KeepPatches", "MeanPool", "Perceiver"]
