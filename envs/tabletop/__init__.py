"""The simulated twin: one FR3 over a table, in MuJoCo."""
