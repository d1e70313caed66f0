"""Rollouts, statistics and the report page."""
