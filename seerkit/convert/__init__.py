"""Weights of other projects, renamed into seerkit's and back."""
