"""Recipes: one YAML per policy, one folder of YAML per slot; packaged as ``seerkit.recipes``."""
