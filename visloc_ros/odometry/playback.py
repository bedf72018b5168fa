"""An odometry that gets recorded measurements of other sensors, in order of time, before each frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from heapq import merge

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.odometry.aided import AidedOdometry, ImuSample
from visloc_ros.odometry.backend import OdometryAround
from visloc_ros.sources.measurements import Measurements

_Delivery = tuple[int, Callable[[], None]]


class SensorPlayback(OdometryAround):
    """Feeds an odometry with the measurements of a source, each when the first frame that is not older comes."""

    def __init__(self, odometry: AidedOdometry, measurements: Measurements) -> None:
        super().__init__(odometry)
        self._deliveries = merge(
            _inertial(odometry, measurements), _wheels(odometry, measurements), key=lambda delivery: delivery[0]
        )
        self._next = next(self._deliveries, None)

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give the unscaled ``odom_from_camera`` of the next frame, or the reason why there is none."""
        while self._next is not None and self._next[0] <= frame.stamp_ns:
            self._next[1]()
            self._next = next(self._deliveries, None)
        return super().track(frame)


def _inertial(odometry: AidedOdometry, measurements: Measurements) -> Iterator[_Delivery]:
    rates, shown = measurements.angular_rates, measurements.accelerations
    turning = zip(rates.stamps_ns.tolist(), rates.in_camera, strict=True) if rates else ()
    pulling = zip(shown.stamps_ns.tolist(), shown.in_camera, strict=True) if shown else ()
    streams = (
        (ImuSample(stamp_ns, rate, None) for stamp_ns, rate in turning),
        (ImuSample(stamp_ns, None, acceleration) for stamp_ns, acceleration in pulling),
    )
    for sample in merge(*streams, key=lambda sample: sample.stamp_ns):
        yield sample.stamp_ns, partial(odometry.add_imu, sample)


def _wheels(odometry: AidedOdometry, measurements: Measurements) -> Iterator[_Delivery]:
    wheels = measurements.odometry
    if wheels is None:
        return
    base_from_camera = SE3.identity() if wheels.is_of_camera else None
    for stamp_ns, pose in zip(wheels.poses.stamps_ns.tolist(), wheels.poses.poses, strict=True):
        yield stamp_ns, partial(odometry.add_wheels, stamp_ns, pose, base_from_camera)
