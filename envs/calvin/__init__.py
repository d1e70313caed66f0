"""CALVIN's play table on pybullet: physics bit for bit as in the original, its oracle and its protocol."""
