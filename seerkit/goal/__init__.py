"""Goal encoders: what the robot is asked to reach, as tokens of the trunk."""

from seerkit.goal.image import GoalImage
from seerkit.goal.state import FutureState
from seerkit.goal.text import ClipTokenizer, TextGoal
from seerkit.goal.tower import ClipTextTower, WordTower

__all__ = ["ClipTextTower", "ClipTokenizer", "FutureState", "GoalImage", "TextGoal", "WordTower"]
