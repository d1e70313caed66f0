"""Ablations: one folder per table, one recipe per row."""
