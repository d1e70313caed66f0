"""Recipes: YAML files that name one part per slot."""
