"""Ablations: train and evaluate the rows of a paper's table on the twin, and write one table and plot."""
