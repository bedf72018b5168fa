"""Odometry of the recent past, so that a late anchor meets the odometry of its own image (SPEC H-61)."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass, field, replace

import numpy as np

from visloc_ros.core.geometry import SE3, Array, rotation_matrix, rotation_vector, skew
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose, OdometryScale
from visloc_ros.fusion.odometry_model.path_moments import (
    NOTHING,
    TRAVELLED,
    WAITED,
    amounts,
    moments_about,
    step_moments,
)


@dataclass(frozen=True, eq=False)
class Sample:
    """Unscaled odometry at one stamp, with what happened on the way there since its segment began.

    ``moments`` (3, 4, 4) are those of ``travel``, in odometry units about the odometry's origin and axes.
    ``turned`` (3,) is the sum of all small turns about the axes of the odometry's frame (rad), ``swept`` (3,) that of
    each small step's cross product with the turns before it: by a misjudged share of all turns, ``odom_from_camera``
    is turned and shifted in proportion to them.
    ``slips`` (2,) are variances of position (odometry units squared) and rotation (rad2) which odometry tells of its
    drift, 0 where it tells none, summed likewise; ``covariance`` (6, 6) is the one that it tells of the whole segment.
    ``scale`` and ``up_in_odom`` (3,) are what other sensors say there, None without them.
    """

    stamp_ns: int
    segment: int
    odom_from_camera: SE3
    moments: Array = field(default_factory=NOTHING.copy)
    turned: Array = field(default_factory=lambda: np.zeros(3))
    swept: Array = field(default_factory=lambda: np.zeros(3))
    scale: OdometryScale | None = None
    up_in_odom: Array | None = None
    covariance: Array | None = None
    slips: Array = field(default_factory=lambda: np.zeros(2))

    @property
    def path(self) -> float:
        """Length travelled since the segment began, in odometry units."""
        return float(self.moments[TRAVELLED, 3, 3])

    def leg_to(self, other: Sample) -> Leg:
        """Motion from here to another sample of the same segment, which may be earlier."""
        into_start = self.odom_from_camera.rotation.T
        end = other.odom_from_camera.translation
        moved = end - self.odom_from_camera.translation
        onward = 1.0 if other.stamp_ns >= self.stamp_ns else -1.0
        return Leg(
            self.odom_from_camera.inverse @ other.odom_from_camera,
            moments_about(end, into_start, onward * (other.moments - self.moments)),
            into_start @ (other.turned - self.turned),
            into_start @ (other.swept - self.swept - skew(self.turned) @ moved),
        )


@dataclass(frozen=True, eq=False)
class Leg:
    """Unscaled motion between two samples, with what happened on the way, about the axes of the camera at its start.

    ``moments`` (3, 4, 4) are those of ``travel`` with positions from the end, ``turned`` and ``swept`` (3,) as in
    ``Sample``, from the start on.
    """

    camera_from_camera: SE3
    moments: Array
    turned: Array
    swept: Array

    @staticmethod
    def of_step(camera_from_camera: SE3, seconds: float) -> Leg:
        """One even step."""
        step, turn = camera_from_camera.translation, rotation_vector(camera_from_camera.rotation)
        moments = step_moments(-step, np.zeros(3), float(np.linalg.norm(turn)), seconds)
        return Leg(camera_from_camera, moments, turn, np.cross(turn / 2.0, step))

    @property
    def seconds(self) -> float:
        """How long it took."""
        return float(self.moments[WAITED, 3, 3])

    def corrected(self, gain: float) -> Leg:
        """The leg with all turns larger by a share, to first order in where they lead to."""
        step = self.camera_from_camera
        turned = SE3(rotation_matrix(gain * self.turned) @ step.rotation, step.translation + gain * self.swept)
        return replace(self, camera_from_camera=turned)


class OdometryHistory:
    """The samples of the last seconds, in order of their stamps."""

    def __init__(self, keep_s: float, max_gap_s: float) -> None:
        self._keep_ns = round(keep_s * NANOSECONDS)
        self._max_gap_ns = round(max_gap_s * NANOSECONDS)
        self._samples: deque[Sample] = deque()

    @property
    def latest(self) -> Sample | None:
        """The newest sample, or None."""
        return self._samples[-1] if self._samples else None

    def append(self, pose: OdometryPose) -> Sample:
        """Add the newest pose and forget those that have become too old."""
        sample = self._continued(pose)
        self._samples.append(sample)
        while self._samples[0].stamp_ns < pose.stamp_ns - self._keep_ns:
            self._samples.popleft()
        return sample

    def _continued(self, pose: OdometryPose) -> Sample:
        last = self.latest
        if last is None or last.segment != pose.segment:
            last = Sample(pose.stamp_ns, pose.segment, pose.odom_from_camera)
        start, end = last.odom_from_camera.translation, pose.odom_from_camera.translation
        turn = rotation_vector(pose.odom_from_camera.rotation @ last.odom_from_camera.rotation.T)
        seconds = (pose.stamp_ns - last.stamp_ns) / NANOSECONDS
        return Sample(
            pose.stamp_ns,
            pose.segment,
            pose.odom_from_camera,
            last.moments + step_moments(start, end, float(np.linalg.norm(turn)), seconds),
            last.turned + turn,
            last.swept + skew(last.turned + turn / 2.0) @ (end - start),
            pose.scale,
            pose.up_in_odom,
            pose.covariance,
            last.slips + _slips(last, pose),
        )

    def at(self, stamp_ns: int) -> Sample | None:
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
        """Tell whether a stamp is older than what is kept."""
        return self.latest is not None and stamp_ns < self.latest.stamp_ns - self._keep_ns


def _slips(last: Sample, pose: OdometryPose) -> Array:
    """What a step adds to the covariance that odometry tells: variances (2,) of position and rotation.

    What is not finite tells nothing.
    """
    if last.covariance is None or pose.covariance is None:
        return np.zeros(2)
    carried = np.eye(6)
    carried[:3, 3:] = -skew(pose.odom_from_camera.translation - last.odom_from_camera.translation)
    added = np.diag(pose.covariance - carried @ last.covariance @ carried.T)
    slips = np.array([added[:3].mean(), added[3:].mean()])
    return np.where(np.isfinite(slips), np.maximum(slips, 0.0), 0.0)


def _between(before: Sample, after: Sample, fraction: float, stamp_ns: int) -> Sample:
    pose = before.odom_from_camera.interpolate(after.odom_from_camera, fraction)
    _, turned, waited = fraction * amounts(after.moments - before.moments)
    on_the_way = step_moments(before.odom_from_camera.translation, pose.translation, float(turned), float(waited))
    return replace(
        after,
        stamp_ns=stamp_ns,
        odom_from_camera=pose,
        moments=before.moments + on_the_way,
        turned=before.turned + fraction * (after.turned - before.turned),
        swept=before.swept + fraction * (after.swept - before.swept),
        slips=before.slips + fraction * (after.slips - before.slips),
    )
