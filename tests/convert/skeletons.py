"""Policies without numbers, one per recipe and test session."""

from functools import cache

from seerkit import Policy, load_recipe
from seerkit.convert import infer


@cache
def skeleton(recipe: str) -> Policy:
    """Names, shapes and types of a recipe's policy."""
    return infer.skeleton(load_recipe(recipe))
