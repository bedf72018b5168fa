"""Any odometry with an IMU and wheels: what its poses carry, what is refused."""

import threading
from dataclasses import replace

import numpy as np
import pytest
from carried_sensors import ODOM_FROM_MAP, SCALE, CarriedImu, KnownOdometry

from visloc_ros.core.camera import guess_camera
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame, OdometryScale, Rejection
from visloc_ros.odometry import AidedOdometry, ImuConfig, ImuSample, SensorPlayback, WheelConfig
from visloc_ros.odometry.gyroscope import Gyroscope
from visloc_ros.simulation.path import PATHS
from visloc_ros.sources.measurements import Accelerations, AngularRates, Measurements, WheelOdometry

WALK = PATHS["map"]
CAMERA = guess_camera(64, 48)
BIAS = np.array([0.03, -0.05, 0.02])


def ns(seconds):
    return round(seconds * NANOSECONDS)


def frame(seconds, camera=CAMERA):
    return Frame(ns(seconds), np.zeros((camera.height, camera.width), np.uint8), camera)


def aided(visual=None, **imu):
    gyroscope = Gyroscope()
    return AidedOdometry(visual or KnownOdometry(WALK), gyroscope, ImuConfig(**imu), WheelConfig()), gyroscope


def run(odometry, until=6.0, rate_hz=20.0):
    return [odometry.track(frame(seconds)) for seconds in np.arange(0.0, until, 1.0 / rate_hz)]


def recorded(until=6.0, offset=0.0):
    """What an IMU, and wheels in the camera's place, recorded; the IMU's clock is ahead by ``offset``."""
    samples = list(CarriedImu(WALK, BIAS).samples(until))
    stamps_ns = np.array([sample.stamp_ns for sample in samples]) + ns(offset)
    seconds = np.arange(0.0, until, 0.05)
    poses = Trajectory(np.array([ns(t) for t in seconds]), tuple(WALK.pose(t) for t in seconds))
    return Measurements(
        odometry=WheelOdometry(poses, is_of_camera=True),
        accelerations=Accelerations(stamps_ns, np.array([sample.acceleration for sample in samples])),
        angular_rates=AngularRates(stamps_ns, np.array([sample.angular_rate for sample in samples])),
    )


def test_poses_carry_up_and_scale_once_the_sensors_tell_them():
    odometry, gyroscope = aided()
    results = run(SensorPlayback(odometry, recorded()))
    assert results[0].up_in_odom is None
    assert results[0].scale is None
    assert results[-1].up_in_odom @ ODOM_FROM_MAP.rotation[:, 2] > np.cos(np.radians(1.0))
    assert results[-1].scale.metres_per_unit == pytest.approx(SCALE, rel=0.01)
    assert np.allclose(gyroscope.bias, BIAS, atol=0.002)
    assert odometry.counts["angular rates"] == odometry.counts["accelerations"] > 1100
    assert odometry.counts["wheel poses"] == 120


def test_without_sensors_the_poses_are_those_of_the_visual_odometry():
    odometry, _ = aided()
    for result, plain in zip(run(odometry, 1.0), run(KnownOdometry(WALK), 1.0), strict=True):
        assert result.odom_from_camera.is_close(plain.odom_from_camera)
        assert (result.up_in_odom, result.scale, result.segment) == (None, None, plain.segment)
    assert odometry.counts == {}


def test_a_clock_that_is_ahead_is_brought_back():
    late, right = aided(time_offset=0.0), aided(time_offset=-0.3)
    for odometry, _ in (late, right):
        run(SensorPlayback(odometry, recorded(offset=0.3)))
    assert np.allclose(right[1].bias, BIAS, atol=0.002)
    assert not np.allclose(late[1].bias, BIAS, atol=0.01)


def test_a_scale_of_the_visual_odometry_holds_until_the_wheels_tell_it():
    class WithDepth(KnownOdometry):
        def track(self, frame):
            return replace(super().track(frame), scale=OdometryScale(1.0, 0.2))

    odometry, _ = aided(WithDepth(WALK))
    results = run(SensorPlayback(odometry, recorded()))
    assert results[0].scale == OdometryScale(1.0, 0.2)
    assert results[-1].scale.metres_per_unit == pytest.approx(SCALE, rel=0.01)


def test_a_lost_frame_stays_lost_and_the_next_segment_starts_without_up_and_scale():
    odometry, _ = aided(KnownOdometry(WALK, lost=(ns(4.0),)))
    results = run(SensorPlayback(odometry, recorded()))
    assert isinstance(results[80], Rejection)
    assert (results[79].scale is None, results[81].scale is None) == (False, True)
    assert (results[79].up_in_odom is None, results[81].up_in_odom is None) == (False, True)
    assert results[-1].scale.metres_per_unit == pytest.approx(SCALE, rel=0.01)


def test_samples_out_of_order_and_implausible_are_refused_and_counted():
    odometry, _ = aided()
    rate, shown = np.zeros(3), np.array([0.0, -9.8, 0.0])
    for stamp_ns in (100, 200, 150):
        odometry.add_imu(ImuSample(stamp_ns, rate, None))
    odometry.add_imu(ImuSample(300, np.array([0.0, np.nan, 0.0]), shown))
    odometry.add_wheels(100, SE3.identity(), None)
    odometry.add_wheels(100, SE3.identity(), None)
    odometry.add_imu(ImuSample(300, np.array([0.0, 1e308, 0.0]), np.array([1e155, 0.0, 0.0])))
    odometry.add_wheels(200, SE3(np.eye(3), np.array([np.inf, 0.0, 0.0])), None)
    assert odometry.counts == {
        "angular rates": 3,
        "accelerations": 1,
        "imu out of order": 1,
        "wheel poses": 2,
        "wheel poses out of order": 1,
        "measurements implausible": 4,
    }


def test_sensors_may_be_fed_from_another_thread():
    odometry, gyroscope = aided()
    samples = list(CarriedImu(WALK, BIAS).samples(6.0))
    feeder = threading.Thread(target=lambda: [odometry.add_imu(sample) for sample in samples])
    feeder.start()
    run(odometry)
    feeder.join()
    assert odometry.counts["angular rates"] == len(samples)
    odometry.track(frame(6.0))
    assert np.linalg.norm(gyroscope.bias - BIAS) < np.linalg.norm(BIAS)


def test_loops_are_those_of_the_visual_odometry():
    visual = KnownOdometry(WALK)
    visual.loops = ("a loop",)
    odometry, _ = aided(visual)
    assert odometry.take_loops() == ("a loop",)
    assert SensorPlayback(odometry, recorded(0.1)).take_loops() == ("a loop",)


def test_a_reset_keeps_the_bias():
    odometry, gyroscope = aided()
    playback = SensorPlayback(odometry, recorded())
    before = run(playback)[-1]
    playback.reset()
    after = playback.track(frame(6.1))
    assert after.segment == before.segment + 1
    assert (after.scale, after.up_in_odom) == (None, None)
    assert np.allclose(gyroscope.bias, BIAS, atol=0.002)
