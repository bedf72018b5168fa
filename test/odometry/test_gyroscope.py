"""Turns by a gyroscope with bias and noise along an exactly known path."""

import numpy as np
import pytest
from carried_sensors import CarriedImu, odometry_pose

from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.odometry.gyroscope import Gyroscope
from visloc_ros.simulation.path import PATHS, Choreography, Span, Turn

WALK = PATHS["map"]
SPIN = Choreography(WALK, turns=(Turn(Span(0.3, 3.0), 180.0),))
BIAS = np.array([0.03, -0.05, 0.02])


def ns(seconds):
    return round(seconds * NANOSECONDS)


def carried(path=WALK, until=6.0, bias=BIAS, noise=0.003, axes=None, **options):
    gyroscope = Gyroscope()
    for sample in CarriedImu(path, bias, noise, **options).samples(until):
        gyroscope.samples.add(sample.stamp_ns, sample.angular_rate if axes is None else axes @ sample.angular_rate)
    return gyroscope


def show(gyroscope, path=WALK, until=6.0, rate_hz=20.0, noise=0.0):
    rng = np.random.default_rng(1)
    for seconds in np.arange(0.0, until, 1.0 / rate_hz):
        gyroscope.learn(odometry_pose(ns(seconds), path.pose(seconds), noise=noise, rng=rng))


def error_deg(gyroscope, begin, end, path=WALK):
    true = path.pose(end).rotation.T @ path.pose(begin).rotation
    return rotation_angle_deg(gyroscope.turn(ns(begin), ns(end)), true)


def test_a_turn_of_180_degrees_a_second_is_integrated_exactly():
    gyroscope = carried(SPIN, bias=(0, 0, 0), noise=0.0)
    assert error_deg(gyroscope, 0.513, 1.499, SPIN) < 0.02
    assert error_deg(gyroscope, 1.0, 1.0, SPIN) == pytest.approx(0.0, abs=1e-9)


def test_the_bias_is_learned_from_what_the_images_show():
    gyroscope = carried()
    assert error_deg(gyroscope, 4.0, 5.0) > 3.0
    show(gyroscope, noise=0.003)
    assert np.allclose(gyroscope.bias, BIAS, atol=0.002)
    assert error_deg(gyroscope, 4.0, 5.0) < 0.2


def test_a_camera_that_stands_still_shows_the_bias_too():
    still = Choreography(WALK, halts=(Span(0.0, 100.0),))
    gyroscope = carried(still)
    show(gyroscope, still)
    assert np.allclose(gyroscope.bias, BIAS, atol=0.001)


def test_wrong_rotations_of_the_images_hardly_move_the_bias():
    gyroscope = carried()
    show(gyroscope)
    true = WALK.pose(5.9)
    wrong = SE3(true.rotation @ rotation_matrix([0.5, 0.0, 0.0]), true.translation)
    gyroscope.learn(odometry_pose(ns(5.4), WALK.pose(5.4), segment=1))
    gyroscope.learn(odometry_pose(ns(5.9), wrong, segment=1))
    assert np.allclose(gyroscope.bias, BIAS, atol=0.01)


def test_samples_that_are_a_little_late_are_made_up_for():
    gyroscope = carried(SPIN, until=2.0, bias=(0, 0, 0))
    assert error_deg(gyroscope, 1.9, 2.03, SPIN) < 0.5
    assert gyroscope.turn(ns(1.9), ns(2.1)) is None


def test_without_samples_there_is_no_turn():
    gyroscope = carried(until=2.0)
    assert Gyroscope().turn(0, 1) is None
    assert gyroscope.turn(-1, ns(0.5)) is None
    gyroscope.samples.add(ns(2.5), np.zeros(3))
    assert gyroscope.turn(ns(1.9), ns(2.4)) is None
    assert gyroscope.turn(ns(1.5), ns(1.9)) is not None


def test_late_samples_are_compared_once_they_are_there():
    gyroscope = Gyroscope()
    samples = list(CarriedImu(WALK, BIAS).samples(6.0))
    gyroscope.samples.add(samples[0].stamp_ns, samples[0].angular_rate)
    show(gyroscope, until=5.0)
    assert np.array_equal(gyroscope.bias, np.zeros(3))
    for sample in samples[1:]:
        gyroscope.samples.add(sample.stamp_ns, sample.angular_rate)
    gyroscope.learn(odometry_pose(ns(5.5), WALK.pose(5.5)))
    assert np.allclose(gyroscope.bias, BIAS, atol=0.002)


def test_a_gyroscope_with_wrong_axes_predicts_nothing():
    upside_down = np.diag([1.0, -1.0, -1.0])
    gyroscope = carried(SPIN, axes=upside_down)
    show(gyroscope, SPIN, until=4.0)
    assert not gyroscope.is_trusted
    assert gyroscope.turn(ns(1.0), ns(1.1)) is None


def test_it_is_trusted_through_fast_turns():
    gyroscope = carried(SPIN)
    show(gyroscope, SPIN)
    assert gyroscope.is_trusted
