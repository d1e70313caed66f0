"""Training: the loop, its settings, schedule, checkpoints and logs."""
