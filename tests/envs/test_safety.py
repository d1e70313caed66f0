import math

import numpy as np
import pytest

from seerkit.envs.contract import MAX_ROTATION, MAX_TRANSLATION
from seerkit.envs.franka import Limits, SafetyFilter
from seerkit.envs.pose import Pose

START = Pose.from_euler_xyz((math.pi, 0, 0.3), (0.5, 0.0, 0.3))


def filter_at(pose: Pose = START, **limits: object) -> SafetyFilter:
    safety = SafetyFilter(Limits(**limits))  # type: ignore[arg-type]
    safety.reset(pose)
    return safety


def action(*arm: float, gripper: float = 1.0) -> np.ndarray:
    return np.array([*arm, *[0.0] * (6 - len(arm)), gripper])


def test_an_action_moves_the_command_in_its_own_frame() -> None:
    command = filter_at()(action(1, 0, 0, 0, 0, 0.5), START).pose
    close = START @ Pose.from_euler_xyz((0, 0, 0.5 * MAX_ROTATION), (MAX_TRANSLATION, 0, 0))
    np.testing.assert_allclose(command.matrix, close.matrix, atol=1e-12)


def test_commands_integrate_and_ignore_the_measurement() -> None:
    safety = filter_at()
    for _ in range(2):
        command = safety(action(0.5), START).pose  # the robot has not moved
    np.testing.assert_allclose(command.matrix, (START @ Pose.of((MAX_TRANSLATION, 0, 0))).matrix, atol=1e-12)
    assert sum(safety.counts.values()) == 0


def test_components_are_clipped_and_counted() -> None:
    safety = filter_at()
    assert safety(action(7), START).pose.distance(START)[0] == pytest.approx(MAX_TRANSLATION)
    assert safety.counts["clip"] == 1


def test_nonfinite_actions_hold_then_abort() -> None:
    safety = filter_at()
    bad = action(math.nan)
    for expected in ("", "", "3 actions in a row"):
        command = safety(bad, START)
        assert command.abort.startswith(expected)
        assert bool(command.abort) == bool(expected)
        np.testing.assert_array_equal(command.pose.matrix, START.matrix)
    safety.reset(START)
    for value in (math.nan, math.inf, 0.0, math.nan, math.nan):
        assert not safety(action(value), START).abort
    assert safety.counts["nonfinite"] == 4


def test_the_command_stays_in_the_workspace() -> None:
    safety = filter_at(low=(0.49, -1, 0), high=(0.51, 1, 1), leash_position=1.0)
    for _ in range(5):
        command = safety(action(1), START)
    assert command.pose.position[0] == pytest.approx(0.51)
    assert command.pose.position[1] > 0.02  # it slides along the wall
    assert safety.counts["workspace"] >= 4


def test_a_start_outside_the_workspace_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a start inside the workspace box"):
        filter_at(low=(0.6, -1, 0), high=(0.7, 1, 1))


def test_the_tool_stays_within_a_cone() -> None:
    safety = filter_at(tilt=0.12, leash_rotation=1.0)
    for _ in range(6):
        command = safety(action(0, 0, 0, 1), START)
    assert math.acos(-command.pose.rotation[2, 2]) <= 0.12
    assert safety.counts["tilt"] == 4
    before = command.pose
    after = safety(action(0, 0, 0, -1), START).pose  # coming back is allowed
    assert after.distance(before)[1] == pytest.approx(MAX_ROTATION)


def test_the_leash_freezes_a_blocked_arm_and_lets_it_come_back() -> None:
    safety = filter_at()
    for _ in range(20):
        command = safety(action(1), START)
    assert command.pose.distance(START)[0] <= 0.05
    assert safety.counts["leash"] == 18
    back = safety(action(-1), START).pose
    assert back.distance(START)[0] == pytest.approx(command.pose.distance(START)[0] - MAX_TRANSLATION)
    for _ in range(20):
        turned = safety(action(0, 0, 0, 0, 0, 1), START)
    assert turned.pose.distance(START)[1] <= 0.2


def test_the_gripper_needs_agreement_and_dwell() -> None:
    safety = filter_at(gripper_ticks=2, gripper_dwell=3)
    wishes = [-1, 1, -1, -1, 1, 1, 1, 1, 1]
    opened = [safety(action(gripper=wish), START).opened for wish in wishes]
    assert opened == [True, True, True, False, False, False, True, True, True]
    assert safety.counts["debounce"] == 4
    quick = filter_at(gripper_ticks=1, gripper_dwell=0)
    assert [quick(action(gripper=wish), START).opened for wish in (-1, 1, -1)] == [False, True, False]


def test_an_old_picture_holds_then_aborts() -> None:
    safety = filter_at()
    assert not safety(action(1), START, age=0.1).abort
    held = safety(action(1), START, age=0.2)
    assert not held.abort
    assert held.pose.distance(START)[0] == pytest.approx(MAX_TRANSLATION)
    assert "1.50 s old" in safety(action(1), START, age=1.5).abort
    assert safety.counts["stale"] == 2
