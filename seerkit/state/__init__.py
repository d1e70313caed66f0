"""State encoders: where the arm is and what the gripper does, as tokens of the trunk."""

from seerkit.state.pose_gripper import PoseGripper

__all__ = ["PoseGripper"]
