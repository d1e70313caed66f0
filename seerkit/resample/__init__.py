"""Resamplers: many patch features to a few latents per image."""

from seerkit.resample.map_pool import MapPool
from seerkit.resample.perceiver import Perceiver
from seerkit.resample.pool import GridPool, KeepPatches, MeanPool
from seerkit.resample.token_learner import TokenLearner

__all__ = ["GridPool", "KeepPatches", "MapPool", "MeanPool", "Perceiver", "TokenLearner"]
