"""Odometry of the last seconds, which gives the relative motion between any two stamps, also late ones.

With a motion come the moments of its path: distance, rotation and time, and where on the way they occurred, as sums.
An error made at a point ``p`` of the path moves all that comes later: a rotation error there shifts the end ``e`` by
its cross product with ``e - p``. The position covariance at the end thus depends on the integrals of ``1``, ``p`` and
``p p^T`` over the path: one matrix (4, 4), the integral of ``q q^T`` with ``q = (p, 1)``. Odometry noise grows with
distance, with rotation and with time, and a step to a recovered pose adds a share of its squared length: there is one
matrix for each, and moments are (4, 4, 4). Functions of moments take any leading shape (...).
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_matrix, rotation_vector
from visloc_ros.core.tangent import move_covariance, skew
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, OdometryScale

MOST_A_SECOND = 1000  # samples that are kept: no camera gives more, which would fill the memory
DISTANCE, ANGLE, DURATION, RECOVERED = range(4)
NO_MOMENTS: Array = np.zeros((4, 4, 4))


def step_moments(start: Array, end: Array, angle: float, seconds: float, is_recovered: bool = False) -> Array:
    """Moments (4, 4, 4) of a straight, uniform step from ``start`` to ``end`` (3,) that turns by ``angle`` (rad)."""
    middle, along = np.append((start + end) / 2.0, 1.0), np.append(end - start, 0.0)
    spread = np.outer(middle, middle) + np.outer(along, along) / 12.0
    length = np.linalg.norm(along)
    return np.array([length, angle, seconds, length**2 if is_recovered else 0.0])[:, None, None] * spread


def moments_about(origin: Array, rotation: Array, moments: Array) -> Array:
    """Moments (..., 4, 4, 4) with positions relative to ``origin`` (..., 3) and turned by ``rotation`` (..., 3, 3)."""
    transform = np.zeros((*origin.shape[:-1], 4, 4))
    transform[..., :3, :3], transform[..., 3, 3] = rotation, 1.0
    transform[..., :3, 3] = -(rotation @ origin[..., None])[..., 0]
    transform = transform[..., None, :, :]
    return np.asarray(transform @ moments @ np.swapaxes(transform, -1, -2))


def totals(moments: Array) -> Array:
    """Total distance, rotation (rad), time (s) and squared recovered steps of a path: (..., 4)."""
    return np.asarray(moments[..., 3, 3])


@dataclass(frozen=True, eq=False)
class OdometrySample:
    """Unscaled odometry at one stamp, with sums over the path since its segment began.

    ``moments`` (4, 4, 4) are in odometry units about the odometry's origin and axes.
    ``rotation_derivative`` (3,) and ``translation_derivative`` (3,) are those of ``odom_from_camera`` by the rotation
    scale error, about the axes of the odometry's frame: the sum of all small rotations, and the sum of each small
    step's cross product with the rotations before it.
    ``reported_variances`` (2,) are the variances of position (odometry units squared) and rotation (rad2) that the
    odometry reports for its steps, summed, 0 where it reports none; ``covariance`` (6, 6) is the one that it reports
    for the whole segment. ``scale`` and ``up_in_odom`` (3,) are readings of other sensors, None without them.
    """

    stamp_ns: int
    segment: int
    odom_from_camera: SE3
    moments: Array = field(default_factory=NO_MOMENTS.copy)
    rotation_derivative: Array = field(default_factory=lambda: np.zeros(3))
    translation_derivative: Array = field(default_factory=lambda: np.zeros(3))
    scale: OdometryScale | None = None
    up_in_odom: Array | None = None
    covariance: Array | None = None
    reported_variances: Array = field(default_factory=lambda: np.zeros(2))

    @property
    def path(self) -> float:
        """Length of the path since the segment began, in odometry units."""
        return float(self.moments[DISTANCE, 3, 3])

    def motion_to(self, other: OdometrySample) -> RelativeMotion:
        """Motion from here to another sample of the same segment, which may be earlier."""
        into_start = self.odom_from_camera.rotation.T
        end = other.odom_from_camera.translation
        moved = end - self.odom_from_camera.translation
        skewed = skew(self.rotation_derivative)
        onward = 1.0 if other.stamp_ns >= self.stamp_ns else -1.0
        return RelativeMotion(
            self.odom_from_camera.inverse @ other.odom_from_camera,
            moments_about(end, into_start, onward * (other.moments - self.moments)),
            into_start @ (other.rotation_derivative - self.rotation_derivative),
            into_start @ (other.translation_derivative - self.translation_derivative - skewed @ moved),
            onward * (other.reported_variances - self.reported_variances),
        )


@dataclass(frozen=True, eq=False)
class RelativeMotion:
    """Unscaled motion between two samples and sums over the path between, about the axes of the camera at its start.

    ``moments`` (4, 4, 4) have positions relative to the end, the derivatives (3,) by the rotation scale error and the
    ``reported_variances`` (2,) are as in ``OdometrySample``, from the start on.
    """

    camera_from_camera: SE3
    moments: Array
    rotation_derivative: Array
    translation_derivative: Array
    reported_variances: Array = field(default_factory=lambda: np.zeros(2))

    @staticmethod
    def of_step(camera_from_camera: SE3, seconds: float) -> RelativeMotion:
        """One straight, uniform step."""
        step, turn = camera_from_camera.translation, rotation_vector(camera_from_camera.rotation)
        moments = step_moments(-step, np.zeros(3), float(np.linalg.norm(turn)), seconds)
        return RelativeMotion(camera_from_camera, moments, turn, np.cross(turn / 2.0, step))

    @property
    def seconds(self) -> float:
        """Duration of the motion."""
        return float(self.moments[DURATION, 3, 3])

    def corrected(self, rotation_scale_error: float) -> RelativeMotion:
        """The motion with all rotations larger by a share, to first order."""
        step = self.camera_from_camera
        rotation = rotation_matrix(rotation_scale_error * self.rotation_derivative) @ step.rotation
        translation = step.translation + rotation_scale_error * self.translation_derivative
        return replace(self, camera_from_camera=SE3(rotation, translation))


class OdometryHistory:
    """The samples of the last seconds, in order of their stamps."""

    def __init__(self, keep_s: float, max_gap_s: float) -> None:
        self._keep_ns = round(keep_s * NANOSECONDS)
        self._max_gap_ns = round(max_gap_s * NANOSECONDS)
        self._samples: deque[OdometrySample] = deque(maxlen=round(keep_s * MOST_A_SECOND))

    @property
    def latest(self) -> OdometrySample | None:
        """The newest sample, or None."""
        return self._samples[-1] if self._samples else None

    @property
    def samples(self) -> Sequence[OdometrySample]:
        """All that are kept, in order."""
        return tuple(self._samples)

    def append(self, pose: OdometryPose) -> OdometrySample:
        """Add the newest pose, preceded by the earlier poses that it carries, and forget samples that are too old.

        Gives the newest sample. Earlier poses that are not newer than all samples are left out.
        """
        last_ns = -1 if self.latest is None else self.latest.stamp_ns
        for stamp_ns, earlier in pose.earlier.items():
            if stamp_ns > last_ns:
                self._add(replace(pose, stamp_ns=stamp_ns, odom_from_camera=earlier, covariance=None))
        sample = self._add(pose)
        while self._samples[0].stamp_ns < pose.stamp_ns - self._keep_ns:
            self._samples.popleft()
        return sample

    def _add(self, pose: OdometryPose) -> OdometrySample:
        sample = self._continued(pose)
        self._samples.append(sample)
        return sample

    def _continued(self, pose: OdometryPose) -> OdometrySample:
        last = self.latest
        if last is None or last.segment != pose.segment:
            last = OdometrySample(pose.stamp_ns, pose.segment, pose.odom_from_camera)
        start, end = last.odom_from_camera.translation, pose.odom_from_camera.translation
        turn = rotation_vector(pose.odom_from_camera.rotation @ last.odom_from_camera.rotation.T)
        seconds = (pose.stamp_ns - last.stamp_ns) / NANOSECONDS
        return OdometrySample(
            pose.stamp_ns,
            pose.segment,
            pose.odom_from_camera,
            last.moments + step_moments(start, end, float(np.linalg.norm(turn)), seconds, pose.is_recovered),
            last.rotation_derivative + turn,
            last.translation_derivative + skew(last.rotation_derivative + turn / 2.0) @ (end - start),
            pose.scale,
            pose.up_in_odom,
            pose.covariance,
            last.reported_variances + _reported_variances(last, pose),
        )

    def at(self, stamp_ns: int) -> OdometrySample | None:
        """Sample at a stamp, interpolated within a short gap of one segment; None where there is no odometry."""
        index = bisect_left(self._samples, stamp_ns, key=lambda sample: sample.stamp_ns)
        if index == len(self._samples):
            return None
        after = self._samples[index]
        if after.stamp_ns == stamp_ns:
            return after
        before = self._samples[index - 1] if index > 0 else after
        gap_ns = after.stamp_ns - before.stamp_ns
        if index == 0 or before.segment != after.segment or gap_ns > self._max_gap_ns:
            return None
        return _between(before, after, (stamp_ns - before.stamp_ns) / gap_ns, stamp_ns)

    def is_forgotten(self, stamp_ns: int) -> bool:
        """Whether a stamp is older than what is kept."""
        return self.latest is not None and stamp_ns < self.latest.stamp_ns - self._keep_ns


def _reported_variances(last: OdometrySample, pose: OdometryPose) -> Array:
    """The term that a step adds to the covariance reported by odometry: variances (2,) of position and rotation.

    0 where the reported covariances are not finite.
    """
    if last.covariance is None or pose.covariance is None:
        return np.zeros(2)
    motion = pose.odom_from_camera.translation - last.odom_from_camera.translation
    added = np.diag(pose.covariance - move_covariance(last.covariance, motion))
    variances = np.array([added[:3].mean(), added[3:].mean()])
    return np.where(np.isfinite(variances), np.maximum(variances, 0.0), 0.0)


def _between(before: OdometrySample, after: OdometrySample, fraction: float, stamp_ns: int) -> OdometrySample:
    pose = before.odom_from_camera.interpolate(after.odom_from_camera, fraction)
    _, angle, seconds, recovered = fraction * totals(after.moments - before.moments)
    start = before.odom_from_camera.translation
    step = step_moments(start, pose.translation, float(angle), float(seconds), is_recovered=recovered > 0.0)
    return replace(
        after,
        stamp_ns=stamp_ns,
        odom_from_camera=pose,
        moments=before.moments + step,
        rotation_derivative=before.rotation_derivative
        + fraction * (after.rotation_derivative - before.rotation_derivative),
        translation_derivative=before.translation_derivative
        + fraction * (after.translation_derivative - before.translation_derivative),
        reported_variances=before.reported_variances
        + fraction * (after.reported_variances - before.reported_variances),
    )
