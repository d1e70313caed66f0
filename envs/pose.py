"""One rigid pose and every rotation convention the package speaks; nothing else converts rotations."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


def _quat_from(rotation: np.ndarray) -> np.ndarray:
    """Convert a rotation matrix to a quaternion ``(w, x, y, z)`` with ``w >= 0`` (Shepperd's choice of pivot)."""
    trace = float(np.trace(rotation))
    squares = np.array([trace, rotation[0, 0], rotation[1, 1], rotation[2, 2]])
    pivot = int(squares.argmax())
    quat = np.empty(4)
    if pivot == 0:
        quat[0] = 1 + trace
        quat[1:] = (
            rotation[2, 1] - rotation[1, 2],
            rotation[0, 2] - rotation[2, 0],
            rotation[1, 0] - rotation[0, 1],
        )
    else:
        i = pivot - 1
        j, k = (i + 1) % 3, (i + 2) % 3
        quat[0] = rotation[k, j] - rotation[j, k]
        quat[1 + i] = 1 + 2 * rotation[i, i] - trace
        quat[1 + j] = rotation[j, i] + rotation[i, j]
        quat[1 + k] = rotation[k, i] + rotation[i, k]
    quat /= np.linalg.norm(quat)
    return -quat if quat[0] < 0 else quat


def _rotation_from_quat(w: float, x: float, y: float, z: float) -> np.ndarray:
    norm = w * w + x * x + y * y + z * z
    if norm < 1e-12:
        raise ValueError(f"expected a quaternion of non-zero length, given {(w, x, y, z)}")
    s = 2 / norm
    return np.array(
        [
            [1 - s * (y * y + z * z), s * (x * y - w * z), s * (x * z + w * y)],
            [s * (x * y + w * z), 1 - s * (x * x + z * z), s * (y * z - w * x)],
            [s * (x * z - w * y), s * (y * z + w * x), 1 - s * (x * x + y * y)],
        ]
    )


def _numbers(values: Sequence[float] | np.ndarray, count: int, what: str) -> list[float]:
    array = np.asarray(values, dtype=np.float64)
    if array.shape != (count,):
        raise ValueError(f"expected {what} of shape ({count},), given shape {array.shape}")
    return array.tolist()


@dataclass(frozen=True, eq=False)
class Pose:
    """Hold a rigid pose as a 4x4 matrix; ``a @ b`` applies ``b`` in the frame of ``a``.

    Attributes:
        matrix: ``(4, 4)`` homogeneous transform, metres. Treat it as read-only.
    """

    matrix: np.ndarray

    def __post_init__(self) -> None:
        """Check the shape.

        Raises:
            ValueError: if the matrix is not 4x4.
        """
        if self.matrix.shape != (4, 4):
            raise ValueError(f"expected a pose matrix of shape (4, 4), given {self.matrix.shape}")

    @classmethod
    def of(cls, position: Sequence[float] | np.ndarray, rotation: np.ndarray | None = None) -> "Pose":
        """Build a pose from a position in metres and a 3x3 rotation matrix (identity if left out)."""
        matrix = np.eye(4)
        matrix[:3, 3] = _numbers(position, 3, "a position")
        if rotation is not None:
            if rotation.shape != (3, 3):
                raise ValueError(f"expected a rotation of shape (3, 3), given {rotation.shape}")
            matrix[:3, :3] = rotation
        return cls(matrix)

    @classmethod
    def from_euler_xyz(
        cls, angles: Sequence[float] | np.ndarray, position: Sequence[float] | np.ndarray = (0, 0, 0)
    ) -> "Pose":
        """Build from extrinsic ``xyz`` Euler angles: turn about fixed x, then fixed y, then fixed z (radians)."""
        a, b, c = _numbers(angles, 3, "Euler angles")
        sa, ca, sb, cb, sc, cc = math.sin(a), math.cos(a), math.sin(b), math.cos(b), math.sin(c), math.cos(c)
        rotation = np.array(
            [
                [cb * cc, sa * sb * cc - ca * sc, ca * sb * cc + sa * sc],
                [cb * sc, sa * sb * sc + ca * cc, ca * sb * sc - sa * cc],
                [-sb, sa * cb, ca * cb],
            ]
        )
        return cls.of(position, rotation)

    @classmethod
    def from_quat_wxyz(
        cls, quat: Sequence[float] | np.ndarray, position: Sequence[float] | np.ndarray = (0, 0, 0)
    ) -> "Pose":
        """Build from a quaternion with the real part first (MuJoCo's order)."""
        w, x, y, z = _numbers(quat, 4, "a quaternion")
        return cls.of(position, _rotation_from_quat(w, x, y, z))

    @classmethod
    def from_quat_xyzw(
        cls, quat: Sequence[float] | np.ndarray, position: Sequence[float] | np.ndarray = (0, 0, 0)
    ) -> "Pose":
        """Build from a quaternion with the real part last (SciPy's and franky's order)."""
        x, y, z, w = _numbers(quat, 4, "a quaternion")
        return cls.of(position, _rotation_from_quat(w, x, y, z))

    @classmethod
    def from_rotvec(
        cls, rotvec: Sequence[float] | np.ndarray, position: Sequence[float] | np.ndarray = (0, 0, 0)
    ) -> "Pose":
        """Build from a rotation vector: axis times angle in radians."""
        x, y, z = _numbers(rotvec, 3, "a rotation vector")
        angle = math.sqrt(x * x + y * y + z * z)
        scale = 0.5 - angle**2 / 48 if angle < 1e-4 else math.sin(angle / 2) / angle
        return cls.of(position, _rotation_from_quat(math.cos(angle / 2), scale * x, scale * y, scale * z))

    @classmethod
    def from_rot6d(
        cls, columns: Sequence[float] | np.ndarray, position: Sequence[float] | np.ndarray = (0, 0, 0)
    ) -> "Pose":
        """Build from the first two columns of the rotation matrix, made orthonormal by Gram-Schmidt."""
        values = np.array(_numbers(columns, 6, "six rotation numbers"))
        first, second = values[:3], values[3:]
        x = first / np.linalg.norm(first)
        y = second - (x @ second) * x
        length = np.linalg.norm(y)
        if not np.isfinite(x).all() or length < 1e-9:
            raise ValueError(f"expected two independent columns, given {values.tolist()}")
        y = y / length
        return cls.of(position, np.stack([x, y, np.cross(x, y)], axis=1))

    @property
    def position(self) -> np.ndarray:
        """``(3,)``, metres."""
        return self.matrix[:3, 3]

    @property
    def rotation(self) -> np.ndarray:
        """``(3, 3)`` rotation matrix."""
        return self.matrix[:3, :3]

    def to_euler_xyz(self) -> np.ndarray:
        """Give extrinsic ``xyz`` Euler angles ``(3,)``, roll and yaw in (-pi, pi]; at gimbal lock yaw is 0."""
        r = self.rotation
        level = math.hypot(r[0, 0], r[1, 0])
        pitch = math.atan2(-r[2, 0], level)
        if level < 1e-7:
            return np.array([math.atan2(-r[1, 2], r[1, 1]), pitch, 0.0])
        return np.array([math.atan2(r[2, 1], r[2, 2]), pitch, math.atan2(r[1, 0], r[0, 0])])

    def to_quat_wxyz(self) -> np.ndarray:
        """Give the quaternion ``(4,)`` with the real part first and not negative."""
        return _quat_from(self.rotation)

    def to_quat_xyzw(self) -> np.ndarray:
        """Give the quaternion ``(4,)`` with the real part last and not negative."""
        return np.roll(_quat_from(self.rotation), -1)

    def to_rotvec(self) -> np.ndarray:
        """Give the rotation vector ``(3,)``, its length in [0, pi]."""
        quat = _quat_from(self.rotation)
        length = float(np.linalg.norm(quat[1:]))
        scale = 2.0 / quat[0] if length < 1e-8 else 2 * math.atan2(length, quat[0]) / length
        return scale * quat[1:]

    def to_rot6d(self) -> np.ndarray:
        """Give the first two columns of the rotation matrix ``(6,)``, one after the other."""
        return self.rotation[:, :2].T.reshape(6).copy()

    def inverse(self) -> "Pose":
        """Give the pose that undoes this one."""
        turned = self.rotation.T
        return Pose.of(-turned @ self.position, turned)

    def __matmul__(self, other: "Pose") -> "Pose":
        """Apply ``other`` in this pose's own frame."""
        return Pose(self.matrix @ other.matrix)

    def distance(self, other: "Pose") -> tuple[float, float]:
        """Measure how far apart two poses are: metres and radians (the geodesic angle)."""
        metres = float(np.linalg.norm(self.position - other.position))
        skew = self.rotation.T @ other.rotation
        sine = math.hypot(skew[2, 1] - skew[1, 2], skew[0, 2] - skew[2, 0], skew[1, 0] - skew[0, 1]) / 2
        return metres, math.atan2(sine, (float(np.trace(skew)) - 1) / 2)
