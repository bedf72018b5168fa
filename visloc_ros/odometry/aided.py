"""Any visual odometry aided by other sensors: predicted turns, the direction of up, and the scale in metres.

Until it has begun, its images alone show whether the camera stands still. Recorded measurements are played back to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from heapq import merge
from typing import NamedTuple

import numpy as np

from visloc_ros.core.config import Config, option
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.plausibility import (
    LARGEST_ACCELERATION,
    LARGEST_ANGULAR_RATE,
    covariance_fault,
    is_plausible_pose,
    is_plausible_vector,
)
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection
from visloc_ros.odometry.backend import Odometry, OdometryAround
from visloc_ros.odometry.frozen_camera import FrozenCamera
from visloc_ros.odometry.gyroscope import Gyroscope
from visloc_ros.odometry.standstill import StandstillDetector
from visloc_ros.odometry.up import UpEstimator
from visloc_ros.odometry.wheel_scale import WheelConfig, WheelPose, WheelScale
from visloc_ros.sources.measurements import Measurements


@dataclass(frozen=True)
class ImuConfig(Config):
    """Options of an IMU."""

    time_offset: float = option(
        0.0,
        "time to add to the stamps of the IMU so that they agree with those of the images [s]",
        minimum=-1.0,
        maximum=1.0,
    )


class ImuSample(NamedTuple):
    """One measurement in the axes of the camera (x right, y down, z forward); None where it is not measured.

    Angular rate (3,) in rad/s; acceleration (3,) in m/s^2 as an accelerometer shows it, 9.8 upwards at rest.
    """

    stamp_ns: int
    angular_rate: Array | None
    acceleration: Array | None


class AidedOdometry(OdometryAround):
    """Visual odometry whose poses carry ``up_in_odom`` and ``scale`` once an IMU and wheels determine them.

    Measurements may be added from another thread. A frame never waits for them: late ones join the next frames. Those
    out of order or implausible are refused and counted. The wheels' scale overrides the visual odometry's own one (from
    depth), which is less certain. A camera whose images stand still while the sensors move is FROZEN.
    """

    def __init__(self, visual: Odometry, gyroscope: Gyroscope, imu: ImuConfig, wheels: WheelConfig) -> None:
        super().__init__(visual)
        self._gyroscope = gyroscope
        self._up, self._wheels = UpEstimator(), WheelScale(wheels)
        self._standstill = StandstillDetector()
        self._frozen = FrozenCamera(gyroscope, self._wheels)
        self._imu_offset_ns = round(imu.time_offset * NANOSECONDS)
        self._implausible = 0

    def add_imu(self, sample: ImuSample) -> None:
        """Take the next sample of the IMU."""
        stamp_ns = sample.stamp_ns + self._imu_offset_ns
        for samples, value, largest in (
            (self._gyroscope.samples, sample.angular_rate, LARGEST_ANGULAR_RATE),
            (self._up.samples, sample.acceleration, LARGEST_ACCELERATION),
        ):
            if value is not None and is_plausible_vector(value, largest):
                samples.add(stamp_ns, np.asarray(value, dtype=np.float64))
            elif value is not None:
                self._implausible += 1

    def add_wheels(self, stamp_ns: int, odom_from_base: SE3, base_from_camera: SE3 | None) -> None:
        """Take the next pose of the wheel odometry, in metres.

        Where ``base_from_camera`` is not known (None), steps that turn are left out.
        """
        if is_plausible_pose(odom_from_base):
            self._wheels.wheels.add(stamp_ns, WheelPose(odom_from_base, base_from_camera))
        else:
            self._implausible += 1

    def track(self, frame: Frame) -> OdometryPose | Rejection:
        """Give the unscaled ``odom_from_camera`` of the next frame, or the reason why there is none."""
        if self._frozen.still_shows(frame):
            return Rejection(frame.stamp_ns, Reason.FROZEN)
        result = _sure(self._visual.track(frame))
        if self._frozen.has_begun(frame, result):
            self._standstill.forget()
            self._gyroscope.forget_views()  # those that still wait for samples may show the frozen image
            return Rejection(frame.stamp_ns, Reason.FROZEN, stage_ms=result.stage_ms)
        if isinstance(result, Rejection):
            return self._rejected(frame, result)
        self._standstill.forget()
        self._gyroscope.learn(result)
        up, scale = self._up.follow(result), self._wheels.follow(result)
        return replace(result, up_in_odom=up, scale=scale or result.scale)

    def reset(self) -> None:
        """Forget the images; the next pose belongs to a new segment. The gyroscope's bias stays."""
        self._visual.reset()
        self._standstill.forget()
        self._frozen.forget()
        self._gyroscope.forget_views()
        self._up.reset()
        self._wheels.reset()

    @property
    def counts(self) -> Mapping[str, int]:
        """Counts of the other sensors' measurements by outcome, and of other events; empty without any."""
        gyroscope, up, wheels = self._gyroscope.samples, self._up.samples, self._wheels
        counts = {
            "angular rates": gyroscope.received,
            "accelerations": up.received,
            "imu out of order": gyroscope.refused + up.refused,
            "gravity implausible": self._up.implausible,
            "wheel poses": wheels.wheels.received,
            "wheel poses out of order": wheels.wheels.refused,
            "wheel steps": wheels.counts["steps"],
            "wheel steps contradicted": wheels.counts["contradicted"],
            "measurements implausible": self._implausible,
            "frames frozen": self._frozen.num_frames,
        }
        return {name: count for name, count in counts.items() if count} | dict(self._visual.counts)

    def _rejected(self, frame: Frame, rejection: Rejection) -> Rejection:
        """The same, with the reason STANDING_STILL where that is why odometry has not begun."""
        if rejection.reason is not Reason.DEGENERATE_MOTION:
            self._standstill.forget()
            return rejection
        return replace(rejection, reason=Reason.STANDING_STILL) if self._standstill.is_still(frame) else rejection

    @property
    def problem(self) -> str:
        """What is wrong with a camera that stands still while another sensor moves, and what to do; or nothing."""
        return self._frozen.words

    @property
    def gyroscope_is_trusted(self) -> bool:
        """False while the images contradict the gyroscope: its stated axes or its clock are wrong."""
        return self._gyroscope.is_trusted


def _sure(result: OdometryPose | Rejection) -> OdometryPose | Rejection:
    """The same; UNCERTAIN for a pose whose covariance is invalid."""
    if isinstance(result, Rejection) or result.covariance is None or covariance_fault(result.covariance) is None:
        return result
    return Rejection(result.stamp_ns, Reason.UNCERTAIN, {"tracked": result.num_tracked}, result.stage_ms)


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
