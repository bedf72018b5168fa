"""Images that stand still while a gyroscope or wheels move: which of them is believed, how soon, and until when."""

from itertools import chain, repeat

import numpy as np
import pytest
from carried_sensors import CarriedImu, Wheels, odometry_pose

from visloc_ros.core.camera import guess_camera
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, OdometryPose, Reason, Rejection
from visloc_ros.odometry import AidedOdometry, ImuConfig, Odometry, WheelConfig
from visloc_ros.odometry.gyroscope import Gyroscope
from visloc_ros.simulation.path import PATHS, Choreography, Span, Turn

WALK = PATHS["map"]
HALTS = Choreography(WALK, halts=tuple(Span(4.0 + 5.0 * index, 2.0) for index in range(8)))
STANDS = Choreography(WALK, halts=(Span(0.0, 1000.0),))
CAMERA = guess_camera(320, 240)
PICTURE = np.random.default_rng(0).integers(0, 255, (30, 40), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
OTHER = np.ascontiguousarray(PICTURE[:, ::-1])
RATE_HZ = 10
FREEZES_S = 18.05


def ns(seconds):
    return round(seconds * NANOSECONDS)


class Seeing(Odometry):
    """What an odometry sees along a path until its camera freezes, and again once it shows another image."""

    def __init__(self, path, freezes_s=np.inf):
        self._path, self._freezes_s, self._rng = path, freezes_s, np.random.default_rng(1)
        self.tracked_ns = []

    def track(self, frame):
        self.tracked_ns.append(frame.stamp_ns)
        seconds = frame.stamp_ns / NANOSECONDS
        if np.array_equal(frame.image, PICTURE):
            seconds = min(seconds, self._freezes_s)
        noise = 0.0 if seconds == self._freezes_s else 0.002  # what does not move is held
        return odometry_pose(frame.stamp_ns, self._path.pose(seconds), noise=noise, rng=self._rng)


def imu(path, until, delay=0.0, axes=None, vibration=0.0):
    rng = np.random.default_rng(2)
    for sample in CarriedImu(path).samples(until, rate_hz=50.0):
        rate = sample.angular_rate if axes is None else axes @ sample.angular_rate
        yield sample._replace(stamp_ns=sample.stamp_ns + ns(delay), angular_rate=rate + rng.normal(0.0, vibration, 3))


def wheels(path, until, delay=0.0, slip=0.02, spins=None):
    """Poses at 50 Hz; through ``spins`` the wheels also turn at half a metre a second where the robot stands."""
    times = np.arange(0.0, until, 0.02)
    for seconds, pose in zip(times, Wheels([path.pose(one) for one in times], slip).odom_from_base, strict=True):
        spun = 0.0 if spins is None else 0.5 * (np.clip(seconds, spins.start_s, spins.end_s) - spins.start_s)
        yield ns(seconds + delay), pose @ SE3(np.eye(3), np.array([0.0, 0.0, spun]))


def show(path, until=20.0, turns=(), drives=(), freezes_s=np.inf, late=0.0, images=None):
    """The odometry, and what it says of each frame; every image is alike, so that only what is measured counts."""
    gyroscope, visual = Gyroscope(), Seeing(path, freezes_s)
    odometry = AidedOdometry(visual, gyroscope, ImuConfig(), WheelConfig())
    turns, drives, results = list(turns), list(drives), []
    for index, image in zip(range(round(until * RATE_HZ)), images or repeat(PICTURE), strict=False):
        stamp_ns = ns(index / RATE_HZ)
        while turns and turns[0].stamp_ns <= stamp_ns - ns(late):
            odometry.add_imu(turns.pop(0))
        while drives and drives[0][0] <= stamp_ns - ns(late):
            odometry.add_wheels(*drives.pop(0), SE3.identity())
        results.append(odometry.track(Frame(stamp_ns, image, CAMERA)))
    return odometry, results


def refused(results):
    return [one.stamp_ns / NANOSECONDS for one in results if isinstance(one, Rejection)]


@pytest.mark.parametrize("late", [0.0, 0.03])
@pytest.mark.parametrize("sensor", ["gyroscope", "wheels"])
def test_a_camera_that_freezes_on_a_walk_is_left_out_within_two_frames(sensor, late):
    turns = imu(WALK, 20.0) if sensor == "gyroscope" else ()
    drives = wheels(WALK, 20.0) if sensor == "wheels" else ()
    odometry, results = show(WALK, 20.0, turns, drives, FREEZES_S, late)
    first = refused(results)[0]
    assert FREEZES_S < first <= FREEZES_S + 2.0 / RATE_HZ
    assert refused(results) == [one.stamp_ns / NANOSECONDS for one in results if one.stamp_ns >= ns(first)]
    assert {one.reason for one in results[-10:]} == {Reason.FROZEN}
    assert odometry.problem.startswith(f"The images stand still while the {sensor}")
    assert odometry.counts["frames frozen"] == len(refused(results))


def test_a_frozen_camera_teaches_the_gyroscope_nothing_and_leaves_it_trusted():
    """It stops while the robot turns, so that the images contradict the gyroscope for ten seconds."""
    path = Choreography(WALK, turns=(Turn(Span(17.0, 13.0), 40.0),))
    odometry, results = show(path, 30.0, imu(path, 30.0), freezes_s=FREEZES_S)
    assert len(refused(results)) > 110
    assert odometry.gyroscope_is_trusted
    assert np.allclose(odometry._gyroscope.bias, (0.03, -0.05, 0.02), atol=0.003)


def test_it_is_frozen_until_its_images_move_also_where_the_robot_stands_meanwhile():
    path = Choreography(WALK, halts=(Span(19.0, 4.0),))
    images = chain(repeat(PICTURE, 220), repeat(OTHER))
    odometry, results = show(path, 23.0, imu(path, 23.0), freezes_s=FREEZES_S, images=images)
    assert refused(results)[-1] == pytest.approx(21.9)
    assert isinstance(results[-1], OdometryPose)
    assert odometry.problem == ""


def test_a_reset_starts_again():
    odometry, _ = show(WALK, 20.0, imu(WALK, 20.0), freezes_s=FREEZES_S)
    odometry.reset()
    assert odometry.problem == ""
    assert isinstance(odometry.track(Frame(ns(20.0), PICTURE, CAMERA)), OdometryPose)


@pytest.mark.parametrize(
    ("path", "turns", "drives"),
    [
        (WALK, {}, {}),
        (HALTS, {}, {}),
        (HALTS, {"vibration": 0.05}, {"slip": 0.1}),
        (HALTS, {"delay": 0.1}, {"delay": 0.1}),
        (HALTS, {"delay": -0.3}, {"delay": 0.3}),
        (HALTS, {"axes": np.eye(3)[[1, 2, 0]]}, {"slip": 0.3}),
        (STANDS, {"vibration": 0.1}, {"spins": Span(8.0, 4.0)}),
    ],
    ids=["walk", "halts", "vibration", "clock", "clocks apart", "axes", "on a stand"],
)
def test_no_frame_of_a_camera_that_is_well_is_refused(path, turns, drives):
    """The robot halts three times, the last time when each sensor is known best."""
    _, results = show(path, 17.0, imu(path, 17.0, **turns), wheels(path, 17.0, **drives))
    assert refused(results) == []


def test_a_gyroscope_with_wrong_axes_is_not_believed_against_the_images():
    odometry, results = show(WALK, 20.0, imu(WALK, 20.0, axes=np.diag([1.0, -1.0, -1.0])), freezes_s=FREEZES_S)
    assert refused(results) == []
    assert not odometry.gyroscope_is_trusted


def test_wheels_that_begin_to_spin_against_a_wall_end_the_pose():
    """Nobody knows whether camera or wheels are right."""
    path = Choreography(WALK, halts=(Span(18.0, 100.0),))
    odometry, results = show(path, 22.0, drives=wheels(path, 22.0, spins=Span(19.0, 3.0)))
    assert 19.0 < refused(results)[0] <= 19.3
    assert "or the wheels spin" in odometry.problem
