"""Rollouts, statistics and the report page: `evaluate.evaluate`, `rollout.rollout`, `report.Report`.

Nothing is imported here: a worker process needs the environment's side only, not the network's.
"""
