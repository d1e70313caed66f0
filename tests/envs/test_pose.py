import math

import numpy as np
import pytest

from seerkit.envs.pose import Pose

RNG = np.random.default_rng(0)


def random_pose() -> Pose:
    return Pose.from_quat_wxyz(RNG.normal(size=4), RNG.normal(size=3))


def close(a: Pose, b: Pose) -> None:
    np.testing.assert_allclose(a.matrix, b.matrix, atol=1e-9)


@pytest.mark.parametrize("form", ["euler_xyz", "quat_xyzw", "quat_wxyz", "rotvec", "rot6d"])
def test_round_trip(form: str) -> None:
    for _ in range(200):
        pose = random_pose()
        close(getattr(Pose, f"from_{form}")(getattr(pose, f"to_{form}")(), pose.position), pose)


def test_agrees_with_scipy() -> None:
    rotation = pytest.importorskip("scipy.spatial.transform", reason="needs scipy").Rotation
    for _ in range(50):
        pose = random_pose()
        other = rotation.from_matrix(pose.rotation)
        np.testing.assert_allclose(pose.to_euler_xyz(), other.as_euler("xyz"), atol=1e-9)  # lower case: extrinsic
        np.testing.assert_allclose(pose.to_quat_xyzw(), other.as_quat(canonical=True), atol=1e-9)
        np.testing.assert_allclose(pose.to_rotvec(), other.as_rotvec(), atol=1e-9)


def test_euler_angles_are_extrinsic() -> None:
    roll, pitch, yaw = 0.3, -0.4, 0.5
    one_by_one = (
        Pose.from_rotvec((0, 0, yaw)) @ Pose.from_rotvec((0, pitch, 0)) @ Pose.from_rotvec((roll, 0, 0))
    )  # about fixed axes, the first turn is written last
    close(Pose.from_euler_xyz((roll, pitch, yaw)), one_by_one)


@pytest.mark.parametrize("pitch", [math.pi / 2, -math.pi / 2])
def test_gimbal_lock_keeps_the_rotation(pitch: float) -> None:
    pose = Pose.from_euler_xyz((0.3, pitch, 0.5))
    np.testing.assert_allclose(Pose.from_euler_xyz(pose.to_euler_xyz()).matrix, pose.matrix, atol=1e-7)


def test_half_turns_and_tiny_turns() -> None:
    for axis in np.eye(3):
        for angle in (math.pi, math.pi - 1e-9, 1e-9, 1e-5, 0.0):
            np.testing.assert_allclose(np.linalg.norm(Pose.from_rotvec(axis * angle).to_rotvec()), angle, atol=1e-8)


def test_roll_of_a_tool_that_points_down_jumps() -> None:
    low, high = (Pose.from_euler_xyz((math.pi + step, 0, 0)).to_euler_xyz()[0] for step in (-1e-6, 1e-6))
    assert low > 3.14
    assert high < -3.14


def test_inverse_and_distance() -> None:
    for _ in range(50):
        a, b = random_pose(), random_pose()
        close(a @ a.inverse(), Pose(np.eye(4)))
        metres, radians = a.distance(b)
        gap = a.inverse() @ b
        assert metres == pytest.approx(np.linalg.norm(gap.position))
        assert radians == pytest.approx(np.linalg.norm(gap.to_rotvec()), abs=1e-9)


def test_rot6d_makes_columns_orthonormal() -> None:
    rotation = Pose.from_rot6d([2, 0, 0, 1, 3, 0]).rotation
    np.testing.assert_allclose(rotation, np.eye(3), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "value", "message"),
    [
        (Pose.from_euler_xyz, [1, 2], r"Euler angles of shape \(3,\), given shape \(2,\)"),
        (Pose.from_quat_wxyz, [0, 0, 0, 0], "quaternion of non-zero length"),
        (Pose.from_rot6d, [1, 0, 0, 2, 0, 0], "two independent columns"),
        (Pose, np.eye(3), r"\(4, 4\), given \(3, 3\)"),
    ],
)
def test_bad_numbers_are_named(make: object, value: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make(value)  # type: ignore[operator]
