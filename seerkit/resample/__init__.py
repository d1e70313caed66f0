"""Resamplers: many patch features to a few latents per image."""

from seerkit.resample.perceiver import Perceiver
from seerkit.resample.pool import GridPool, KeepPatches, MeanPool

__all__ = ["GridPool", "KeepPatches", "MeanPool", "Perceiver"]
