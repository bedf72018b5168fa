"""Any odometry with an IMU and wheels: what its poses carry, what is refused; and standing still, by images alone."""

import threading
from dataclasses import replace
from itertools import groupby, islice

import numpy as np
import pytest
from carried_sensors import ODOM_FROM_MAP, SCALE, CarriedImu, KnownOdometry

from visloc_ros.core.camera import guess_camera
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame, OdometryScale, Reason, Rejection
from visloc_ros.odometry import AidedOdometry, ImuConfig, ImuSample, Odometry, SensorPlayback, WheelConfig
from visloc_ros.odometry.gyroscope import Gyroscope
from visloc_ros.odometry.standstill import StandstillDetector
from visloc_ros.simulation import SimulationConfig, simulate
from visloc_ros.simulation.path import PATHS
from visloc_ros.sources import open_source
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


def test_poses_carry_up_and_scale_once_the_sensors_show_them():
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


def test_a_scale_of_the_visual_odometry_holds_until_the_wheels_measure_it():
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


SMALL = SimulationConfig(width=320, height=240, focal_px=240.0, rate_hz=10.0, duration_s=4.0, samples=1)


class Slowed:
    """The walk through the room, at a share of its speed: 0 stands."""

    def __init__(self, share):
        self._share = share

    def pose(self, seconds):
        return PATHS["localize"].pose(self._share * seconds)


@pytest.fixture(scope="module")
def standing():
    return list(simulate(SMALL, "localize", path=Slowed(0.0)))


def verdicts(frames):
    detector = StandstillDetector()
    return [detector.is_still(frame) for frame in frames]


def test_a_standing_camera_stands_from_its_second_image_on_whatever_the_light_does(standing):
    still = verdicts(standing)
    assert still == [False] + [True] * (len(still) - 1)


def test_creeping_is_no_standing():
    """At 2 % of its speed the walk takes a tenth of a second for what is called standing."""
    walk = list(simulate(SMALL, "localize", path=Slowed(0.02)))
    rests = np.flatnonzero(~np.array(verdicts(walk)))
    path = Slowed(0.02)
    for begin, end in zip(rests, [*rests[1:], len(walk)], strict=True):
        first, last = path.pose(begin / 10.0), path.pose((end - 1) / 10.0)
        assert np.linalg.norm(first.translation - last.translation) < 0.015
    assert len(rests) >= 3


def test_a_drone_that_stands_with_its_rotors_turning_stands(shared_data):
    still = verdicts(open_source(shared_data / "euroc_v101_still"))
    assert still == [False] + [True] * 39


def test_no_camera_that_is_carried_stands_for_long(shared_data):
    """Some images of a hand-held camera are alike; a second of them is not."""
    for name in ("7scenes_redkitchen", "tum_fr1_rpy_start", "euroc_mh05"):
        still = verdicts(islice(open_source(shared_data / name), 100, 250))
        longest = max((len(list(run)) for verdict, run in groupby(still) if verdict), default=0)
        assert longest < 20, name


def test_a_walking_camera_does_not_stand():
    assert not any(verdicts(simulate(SMALL, "localize")))


def test_images_that_show_nothing_or_are_of_another_size_are_no_standstill(standing):
    first, second = standing[:2]
    black = Frame(1, np.zeros_like(first.image), first.camera)
    assert verdicts([black, black, black]) == [False] * 3
    other = Frame(2, first.image[:120].copy(), first.camera)
    assert verdicts([first, second, other, second]) == [False, True, False, False]


class Waiting(Odometry):
    """An odometry that has not begun."""

    reason = Reason.DEGENERATE_MOTION

    def track(self, frame):
        return Rejection(frame.stamp_ns, self.reason, {"pairs": 7.0})


def test_an_odometry_that_waits_for_motion_says_that_there_is_none(standing):
    odometry, _ = aided(Waiting())
    first, second = (odometry.track(frame) for frame in standing[:2])
    assert (first.reason, second.reason) == (Reason.DEGENERATE_MOTION, Reason.STANDING_STILL)
    assert second.counts == {"pairs": 7.0}


def test_another_reason_stays_and_ends_the_standstill(standing):
    visual, reasons = Waiting(), []
    odometry, _ = aided(visual)
    given = [Reason.DEGENERATE_MOTION, Reason.BLURRED, Reason.DEGENERATE_MOTION, Reason.DEGENERATE_MOTION]
    for frame, reason in zip(standing[:4], given, strict=True):
        visual.reason = reason
        reasons.append(odometry.track(frame).reason)
    assert reasons == [Reason.DEGENERATE_MOTION, Reason.BLURRED, Reason.DEGENERATE_MOTION, Reason.STANDING_STILL]
