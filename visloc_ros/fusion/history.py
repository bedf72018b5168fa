"""Odometry of the recent past, so that a late anchor meets the odometry of its own image (SPEC H-61)."""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import SE3, rotation_angle_deg
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import OdometryPose


@dataclass(frozen=True, eq=False)
class Sample:
    """Unscaled odometry at one stamp; path (odometry units) and turning (rad) are summed over its segment."""

    stamp_ns: int
    segment: int
    odom_from_camera: SE3
    path: float
    turning: float

    def leg_to(self, other: Sample) -> Leg:
        """Motion from here to another sample of the same segment, which may be earlier."""
        return Leg(
            self.odom_from_camera.inverse @ other.odom_from_camera,
            abs(other.path - self.path),
            abs(other.turning - self.turning),
            abs(other.stamp_ns - self.stamp_ns) / NANOSECONDS,
        )


@dataclass(frozen=True, eq=False)
class Leg:
    """Unscaled motion between two samples, with what was travelled, turned (rad) and waited (s) on the way."""

    camera_from_camera: SE3
    path: float
    turning: float
    seconds: float


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
            return Sample(pose.stamp_ns, pose.segment, pose.odom_from_camera, 0.0, 0.0)
        step = float(np.linalg.norm(pose.odom_from_camera.translation - last.odom_from_camera.translation))
        turn = np.deg2rad(rotation_angle_deg(last.odom_from_camera.rotation, pose.odom_from_camera.rotation))
        return Sample(pose.stamp_ns, pose.segment, pose.odom_from_camera, last.path + step, last.turning + float(turn))

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


def _between(before: Sample, after: Sample, fraction: float, stamp_ns: int) -> Sample:
    return Sample(
        stamp_ns,
        before.segment,
        before.odom_from_camera.interpolate(after.odom_from_camera, fraction),
        before.path + fraction * (after.path - before.path),
        before.turning + fraction * (after.turning - before.turning),
    )
