"""The Franka environment and what it is composed of."""

from seerkit.envs.franka.drivers import (
    ArmDriver,
    ArmReading,
    Camera,
    Clock,
    Drivers,
    FixedTask,
    Frame,
    GripperDriver,
    GripperReading,
    Task,
)
from seerkit.envs.franka.env import FrankaEnv
from seerkit.envs.franka.safety import Command, Limits, SafetyFilter

__all__ = [
    "ArmDriver",
    "ArmReading",
    "Camera",
    "Clock",
    "Command",
    "Drivers",
    "FixedTask",
    "Frame",
    "FrankaEnv",
    "GripperDriver",
    "GripperReading",
    "Limits",
    "SafetyFilter",
    "Task",
]
