"""Rigid and similarity transforms as small frozen values, named so that they compose by cancellation.

``map_from_camera = map_from_odom @ odom_from_camera``. Quaternions are scalar first (w, x, y, z) as in
COLMAP; only ``nodes/conversions.py`` knows the x, y, z, w order of ROS.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import overload

import numpy as np
import pycolmap
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]

NEARLY_HALF_TURN = -1.9  # twice the cosine of an angle


@dataclass(frozen=True, eq=False)
class SE3:
    """Rigid transform ``a_from_b``: rotation (3, 3) and translation (3,) of b in a, metres or map units."""

    rotation: Array
    translation: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "rotation", np.asarray(self.rotation, dtype=np.float64).reshape(3, 3))
        object.__setattr__(self, "translation", np.asarray(self.translation, dtype=np.float64).reshape(3))

    @staticmethod
    def identity() -> SE3:
        """The transform of a frame to itself."""
        return SE3(np.eye(3), np.zeros(3))

    @staticmethod
    def from_quaternion(wxyz: ArrayLike, translation: ArrayLike) -> SE3:
        """Make a transform from a scalar-first quaternion (4,), normalised here, and a translation (3,)."""
        return SE3(_matrix_of_quaternion(np.asarray(wxyz, dtype=np.float64)), np.asarray(translation))

    @staticmethod
    def from_rotation_vector(vector: ArrayLike, translation: ArrayLike) -> SE3:
        """Make a transform from an axis-angle vector (3,) in radians and a translation (3,)."""
        return SE3(rotation_matrix(vector), np.asarray(translation))

    @staticmethod
    def from_matrix(matrix: ArrayLike) -> SE3:
        """Make a transform from a homogeneous matrix (4, 4) or (3, 4)."""
        values = np.asarray(matrix, dtype=np.float64)
        return SE3(values[:3, :3], values[:3, 3])

    @staticmethod
    def from_rigid3d(rigid: pycolmap.Rigid3d) -> SE3:
        """Take over a pycolmap transform; the direction stays as it is."""
        return SE3(rigid.rotation.matrix(), rigid.translation)

    def to_rigid3d(self) -> pycolmap.Rigid3d:
        """Hand the transform to pycolmap; the direction stays as it is."""
        return pycolmap.Rigid3d(pycolmap.Rotation3d(self.rotation), self.translation)

    @cached_property
    def quaternion(self) -> Array:
        """Unit quaternion (4,), scalar first, with w >= 0."""
        return _quaternion_of_matrix(self.rotation)

    @property
    def matrix(self) -> Array:
        """Homogeneous matrix (4, 4)."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.rotation
        matrix[:3, 3] = self.translation
        return matrix

    @cached_property
    def inverse(self) -> SE3:
        """``b_from_a`` of ``a_from_b``."""
        return SE3(self.rotation.T, -self.rotation.T @ self.translation)

    @overload
    def __matmul__(self, other: SE3) -> SE3: ...
    @overload
    def __matmul__(self, other: Array) -> Array: ...
    def __matmul__(self, other: SE3 | Array) -> SE3 | Array:
        """Compose with another transform, or apply to points (3,) or (N, 3) given in frame b."""
        if isinstance(other, SE3):
            return SE3(self.rotation @ other.rotation, self.rotation @ other.translation + self.translation)
        return np.asarray(other @ self.rotation.T + self.translation)

    def interpolate(self, other: SE3, fraction: float) -> SE3:
        """Blend towards ``other`` (0 here, 1 there): linear in translation, geodesic in rotation."""
        step = rotation_vector(self.rotation.T @ other.rotation) * fraction
        rotation = self.rotation @ rotation_matrix(step)
        return SE3(rotation, (1.0 - fraction) * self.translation + fraction * other.translation)

    def is_close(self, other: SE3, translation: float = 1e-9, degrees: float = 1e-7) -> bool:
        """Whether two transforms agree within a distance and an angle."""
        return (
            float(np.linalg.norm(self.translation - other.translation)) <= translation
            and rotation_angle_deg(self.rotation, other.rotation) <= degrees
        )


@dataclass(frozen=True, eq=False)
class Sim3:
    """Similarity ``a_from_b``: ``x_a = scale * rotation @ x_b + translation``."""

    scale: float
    rotation: Array
    translation: Array

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", float(self.scale))
        object.__setattr__(self, "rotation", np.asarray(self.rotation, dtype=np.float64).reshape(3, 3))
        object.__setattr__(self, "translation", np.asarray(self.translation, dtype=np.float64).reshape(3))

    @staticmethod
    def identity() -> Sim3:
        """The similarity of a frame to itself."""
        return Sim3(1.0, np.eye(3), np.zeros(3))

    @staticmethod
    def from_se3(pose: SE3, scale: float = 1.0) -> Sim3:
        """A rigid transform with a scale put before it."""
        return Sim3(scale, pose.rotation, pose.translation)

    @cached_property
    def inverse(self) -> Sim3:
        """``b_from_a`` of ``a_from_b``."""
        rotation = self.rotation.T
        return Sim3(1.0 / self.scale, rotation, -(rotation @ self.translation) / self.scale)

    @property
    def is_identity(self) -> bool:
        """Whether it moves nothing."""
        moves = self.translation.any() or not np.array_equal(self.rotation, np.eye(3))
        return self.scale == 1.0 and not moves

    def apply_to_pose(self, pose: SE3) -> SE3:
        """Move a pose ``b_from_c`` to ``a_from_c``: its centre is scaled, its axes stay orthonormal."""
        return SE3(self.rotation @ pose.rotation, self @ pose.translation)

    @overload
    def __matmul__(self, other: Sim3) -> Sim3: ...
    @overload
    def __matmul__(self, other: Array) -> Array: ...
    def __matmul__(self, other: Sim3 | Array) -> Sim3 | Array:
        """Compose with another similarity, or apply to points (3,) or (N, 3) given in frame b."""
        if isinstance(other, Sim3):
            return Sim3(self.scale * other.scale, self.rotation @ other.rotation, self @ other.translation)
        return np.asarray(self.scale * (other @ self.rotation.T) + self.translation)


# The exponential and the logarithm of rotations stand in every inner loop, quaternions in every message. They are
# written out, one at a time without numpy, because scipy takes ten times as long to check its input.
def rotation_matrix(vector: ArrayLike) -> Array:
    """SO(3) exponential: axis-angle (..., 3) in radians to matrices (..., 3, 3)."""
    vectors = np.asarray(vector, dtype=np.float64)
    return _single_rotation_matrix(vectors) if vectors.ndim == 1 else _stacked_rotation_matrices(vectors)


def _stacked_rotation_matrices(vectors: Array) -> Array:
    from scipy.spatial.transform import Rotation  # takes 0.3 s, so it is imported only when needed

    return np.asarray(Rotation.from_rotvec(vectors).as_matrix())


def _single_rotation_matrix(vector: Array) -> Array:
    """Rodrigues' formula, by half angles so that small turns keep their digits."""
    x, y, z = vector.tolist()
    angle = math.sqrt(x * x + y * y + z * z)
    if angle == 0.0:
        return np.eye(3)
    sine, half_sine = math.sin(angle) / angle, math.sin(angle / 2.0) / angle
    versine = 2.0 * half_sine * half_sine
    xy, xz, yz = versine * x * y, versine * x * z, versine * y * z
    xx, yy, zz = versine * x * x, versine * y * y, versine * z * z
    return np.array(
        [
            [1.0 - yy - zz, xy - sine * z, xz + sine * y],
            [xy + sine * z, 1.0 - xx - zz, yz - sine * x],
            [xz - sine * y, yz + sine * x, 1.0 - xx - yy],
        ]
    )


def carried_on(earlier: SE3, last: SE3, ratio: float) -> SE3:
    """The last pose, moved on by ``ratio`` times the motion that led to it, at constant velocity in its own axes."""
    step = earlier.inverse @ last
    return last @ SE3.from_rotation_vector(ratio * rotation_vector(step.rotation), ratio * step.translation)


def rotation_vector(rotation: Array) -> Array:
    """SO(3) logarithm: matrices (..., 3, 3) to axis-angle (..., 3) in radians, angle in [0, pi]."""
    return _single_rotation_vector(rotation) if rotation.ndim == 2 else _stacked_rotation_vectors(rotation)


def _single_rotation_vector(rotation: Array) -> Array:
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    x, y, z, twice_cosine = zy - yz, xz - zx, yx - xy, xx + yy + zz - 1.0
    if not twice_cosine > NEARLY_HALF_TURN:
        return _any_rotation_vector(rotation)
    twice_sine = math.sqrt(x * x + y * y + z * z)
    stretch = math.atan2(twice_sine, twice_cosine) / twice_sine if twice_sine > 0.0 else 0.5
    return np.array([stretch * x, stretch * y, stretch * z])


def _stacked_rotation_vectors(rotations: Array) -> Array:
    flat = rotations.reshape(*rotations.shape[:-2], 9)
    twice_cosine = flat[..., 0] + flat[..., 4] + flat[..., 8] - 1.0
    if not np.all(twice_cosine > NEARLY_HALF_TURN):
        return _any_rotation_vector(rotations)
    axis = flat[..., [7, 2, 3]] - flat[..., [5, 6, 1]]
    twice_sine = np.sqrt(np.einsum("...i,...i->...", axis, axis))
    stretch = np.arctan2(twice_sine, twice_cosine) / np.maximum(twice_sine, np.finfo(np.float64).tiny)
    return np.asarray(stretch[..., None] * axis)


def _any_rotation_vector(rotation: Array) -> Array:
    """Likewise near half a turn, too, where the antisymmetric part no longer determines the axis."""
    from scipy.spatial.transform import Rotation

    return np.asarray(Rotation.from_matrix(rotation).as_rotvec())


def _matrix_of_quaternion(wxyz: Array) -> Array:
    """Rotation (3, 3) of a scalar-first quaternion (4,) of any length but zero."""
    w, x, y, z = wxyz.tolist()
    squared = w * w + x * x + y * y + z * z
    if squared == 0.0:
        raise ValueError("a quaternion of length zero is no rotation")
    twice = 2.0 / squared
    xx, yy, zz = twice * x * x, twice * y * y, twice * z * z
    xy, xz, yz = twice * x * y, twice * x * z, twice * y * z
    wx, wy, wz = twice * w * x, twice * w * y, twice * w * z
    return np.array(
        [[1.0 - yy - zz, xy - wz, xz + wy], [xy + wz, 1.0 - xx - zz, yz - wx], [xz - wy, yz + wx, 1.0 - xx - yy]]
    )


def _quaternion_of_matrix(rotation: Array) -> Array:
    """Unit quaternion (4,), scalar first, w >= 0, of a rotation (3, 3): by its largest element, to keep the digits."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation.tolist()
    trace = xx + yy + zz
    largest = max(trace, xx, yy, zz)
    if largest == trace:
        wxyz = [1.0 + trace, zy - yz, xz - zx, yx - xy]
    elif largest == xx:
        wxyz = [zy - yz, 1.0 + xx - yy - zz, xy + yx, xz + zx]
    elif largest == yy:
        wxyz = [xz - zx, xy + yx, 1.0 + yy - xx - zz, yz + zy]
    else:
        wxyz = [yx - xy, xz + zx, yz + zy, 1.0 + zz - xx - yy]
    return np.array(wxyz) / math.copysign(math.hypot(*wxyz), wxyz[0])


def rotation_angle_deg(a: Array, b: Array) -> float:
    """Angle in degrees between two rotation matrices (3, 3); exact for small angles, too."""
    return math.degrees(math.hypot(*rotation_vector(a.T @ b)))


def mean_rotation(rotations: ArrayLike, weights: ArrayLike | None = None) -> Array:
    """Chordal mean (3, 3) of rotation matrices (N, 3, 3) with optional weights (N,)."""
    stack = np.asarray(rotations, dtype=np.float64)
    summed = stack.sum(axis=0) if weights is None else np.einsum("n,nij->ij", np.asarray(weights), stack)
    return nearest_rotation(summed)


def nearest_rotation(matrix: Array) -> Array:
    """Rotation matrix (3, 3) closest to any matrix (3, 3) in the Frobenius norm."""
    left, _, right = np.linalg.svd(matrix)
    sign = np.sign(np.linalg.det(left @ right))
    return np.asarray(left @ np.diag([1.0, 1.0, sign]) @ right)


def umeyama(target: ArrayLike, source: ArrayLike, with_scale: bool = True) -> Sim3:
    """Least-squares ``target_from_source`` of matched points (N, 3), N >= 3 and not collinear.

    Umeyama 1991; mirrored data never gives a reflection. On (nearly) collinear points the
    rotation about the line is arbitrary: callers with orientations use ``fusion.initialization`` instead.
    """
    y, x = np.asarray(target, dtype=np.float64), np.asarray(source, dtype=np.float64)
    w = np.full(len(x), 1.0 / len(x))
    x_mean, y_mean = w @ x, w @ y
    x_centred, y_centred = x - x_mean, y - y_mean
    left, singular, right = np.linalg.svd((y_centred * w[:, None]).T @ x_centred)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(left) * np.linalg.det(right))])
    rotation = left @ np.diag(signs) @ right
    variance = float(w @ np.square(x_centred).sum(axis=1))
    scale = float(singular @ signs) / variance if with_scale else 1.0
    return Sim3(scale, rotation, y_mean - scale * rotation @ x_mean)
