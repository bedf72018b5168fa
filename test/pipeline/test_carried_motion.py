"""Poses carried on through frames that were not followed: where they are, and how far they say they may be off."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.tangent import perturbed, pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, Reason, State
from visloc_ros.fusion.config import StateConfig
from visloc_ros.pipeline.carried_motion import LONGEST_NS, CarriedMotion

FRAME_NS = NANOSECONDS // 30
MAP_FROM_ODOM = SE3.from_rotation_vector([0.0, 0.0, 0.4], [3.0, -1.0, 0.5])


def estimate_at(index, odom_from_camera, noise=0.0):
    return Estimate(
        index * FRAME_NS, State.LOCALIZED, map_from_odom=MAP_FROM_ODOM, odom_from_camera=odom_from_camera,
        covariance=(1e-8 + noise) * np.eye(6), scale=1.0, age_ns=NANOSECONDS, distance_since_fix=1.0,
        motion_covariance=2.0 * noise * np.eye(6),
    )  # fmt: skip


def new_motion():
    return CarriedMotion(StateConfig())


def squared_error(carried, true):
    error = pose_difference(MAP_FROM_ODOM @ true, carried.map_from_camera)
    return float(error @ np.linalg.solve(carried.covariance, error))


def steady(index):
    return SE3.from_rotation_vector([0.0, 0.02 * index, 0.0], [0.03 * index, 0.0, 0.0])


def shaken(seed, count, linear=2.0, angular=4.0):
    """A camera with random accelerations in every frame, a coordinate in m/s2 and rad/s2."""
    rng, interval_s = np.random.default_rng(seed), FRAME_NS / NANOSECONDS
    accelerations = rng.normal(size=(count, 6)) * np.repeat([angular, linear], 3)
    velocities = np.cumsum(accelerations * interval_s, axis=0)
    places = np.cumsum(velocities * interval_s, axis=0)
    return [SE3.from_rotation_vector(place[:3], place[3:]) for place in places]


def test_a_steady_motion_goes_on_exactly_and_what_passed_is_reported():
    motion = new_motion()
    for index in range(10):
        motion.add(estimate_at(index, SE3.from_rotation_vector([0.0, 0.0, 0.0], [0.03 * index, 0.0, 0.0])))
    carried = motion.at(11 * FRAME_NS)
    assert carried.odom_from_camera.translation == pytest.approx([0.33, 0.0, 0.0])
    assert (carried.stamp_ns, carried.state, carried.reason) == (11 * FRAME_NS, State.LOCALIZED, Reason.OVERLOADED)
    assert carried.age_ns == NANOSECONDS + 2 * FRAME_NS
    assert carried.distance_since_fix == pytest.approx(1.06)


@pytest.mark.parametrize("ahead", [1, 3])
def test_errors_are_as_large_as_the_covariance_says(ahead):
    squared = []
    for seed in range(40):
        motion, poses = new_motion(), shaken(seed, 120)
        for index in range(0, 120 - ahead, ahead):
            carried = motion.at(index * FRAME_NS)
            if index > 10 * ahead and carried is not None:
                squared.append(squared_error(carried, poses[index]))
            motion.add(estimate_at(index, poses[index]))
    assert len(squared) > 1000
    assert 3.0 < np.mean(squared) < 9.0  # six degrees of freedom


def test_the_farther_ahead_the_less_is_known():
    motion = new_motion()
    for index, pose in enumerate(shaken(0, 20)):
        motion.add(estimate_at(index, pose))
    sigmas = [np.sqrt(np.trace(motion.at((19 + ahead) * FRAME_NS).covariance)) for ahead in (1, 2, 3)]
    assert sigmas[0] < sigmas[1] < sigmas[2]


def test_nothing_is_made_up_without_a_motion_or_after_too_long():
    motion = new_motion()
    assert motion.at(FRAME_NS) is None
    for index in range(10):
        motion.add(estimate_at(index, steady(index)))
    assert motion.at(9 * FRAME_NS) is None  # it is no later
    assert motion.at(9 * FRAME_NS + LONGEST_NS + 1) is None
    motion.add(Estimate(10 * FRAME_NS, State.LOST, Reason.NO_ODOMETRY))
    assert motion.at(11 * FRAME_NS) is None
    motion.reset()
    motion.add(estimate_at(0, steady(0)))
    assert motion.at(FRAME_NS) is None


def test_a_step_that_was_not_measured_is_no_velocity():
    motion = new_motion()
    for index in range(10):
        motion.add(estimate_at(index, steady(index)))
    motion.add(replace(estimate_at(10, steady(9)), motion_covariance=None))  # odom waits where the motion is not known
    assert motion.at(11 * FRAME_NS) is None
    motion.add(estimate_at(11, steady(10)))
    assert motion.at(12 * FRAME_NS).odom_from_camera.is_close(steady(11), 1e-3, 0.1)


@pytest.mark.parametrize("ahead", [1, 4])
def test_the_first_predictions_hold_before_any_acceleration_was_seen(ahead):
    squared = []
    for seed in range(200):
        motion, poses = new_motion(), shaken(seed, 20, linear=1.0, angular=2.0)
        for index in (8, 9):
            motion.add(estimate_at(index, poses[index]))
        squared.append(squared_error(motion.at((9 + ahead) * FRAME_NS), poses[9 + ahead]))
    assert np.mean(squared) < 12.0
    assert np.mean(np.array(squared) > 20.1) <= 0.02  # beyond three standard deviations


@pytest.mark.parametrize("ahead", [1, 2, 4])
def test_a_velocity_from_uncertain_poses_is_as_uncertain_as_they_are(ahead):
    """Points followed from a map give each pose an error of its own: 1 cm here, 30 times that in a velocity."""
    rng, variance, squared, ratios = np.random.default_rng(0), 1e-4, [], []
    for _ in range(40):
        motion = new_motion()
        for index in range(40):
            error = np.sqrt(variance) * rng.standard_normal(6)
            motion.add(estimate_at(index, perturbed(steady(index), error), variance))
            carried = motion.at((index + ahead) * FRAME_NS)
            if carried is not None:
                true = steady(index + ahead)
                squared.append(squared_error(carried, true))
                missed = np.linalg.norm((MAP_FROM_ODOM @ true).translation - carried.map_from_camera.translation)
                ratios.append(np.sqrt(carried.covariance[0, 0]) / missed)
    assert 3.0 < np.mean(squared) < 9.0
    assert np.median(ratios) < 1.5


def test_a_prediction_that_is_too_uncertain_is_not_localized():
    motion = new_motion()
    for index in range(10):
        motion.add(estimate_at(index, steady(index), noise=1e-3))  # 3 cm
    assert motion.at(10 * FRAME_NS).state is State.LOCALIZED
    far = motion.at(13 * FRAME_NS)
    assert far.state is State.DEGRADED
    assert far.reason is Reason.OVERLOADED


def walk_in(motion, poses):
    return [motion.add(estimate_at(index, pose)) for index, pose in enumerate(poses)]


def test_a_motion_that_stops_or_leaps_between_two_frames_is_as_uncertain_as_it_is_unlikely():
    motion = new_motion()
    walked = walk_in(motion, [steady(index) for index in range(20)])
    assert all(np.allclose(one.covariance, 1e-8 * np.eye(6)) for one in walked[3:])
    stopped = motion.add(estimate_at(20, steady(19)))  # 3 cm and 1 degree behind
    assert squared_error(stopped, steady(20)) < 12.0
    again = motion.add(estimate_at(21, steady(19)))
    walked = [motion.add(estimate_at(index, steady(19))) for index in range(22, 25)]
    assert np.trace(again.covariance) < 2.0 * np.trace(stopped.covariance)
    assert np.allclose(walked[-1].covariance, 1e-8 * np.eye(6))


def test_images_that_leap_back_and_forth_do_not_become_usual():
    motion = new_motion()
    walk_in(motion, [steady(index) for index in range(20)])
    for index in range(20, 60):
        is_old = index % 3 == 0
        shown = motion.add(estimate_at(index, steady(index - 15 if is_old else index)))
        if is_old:
            assert squared_error(shown, steady(index)) < 30.0, index
            assert shown.state is not State.LOCALIZED


def test_a_shaken_camera_is_no_surprise():
    widened = []
    for seed in range(20):
        motion = new_motion()
        estimates = walk_in(motion, shaken(seed, 120))
        widened += [one.covariance[0, 0] > 1e-7 for one in estimates[20:]]
    assert np.mean(widened) < 0.01


def test_a_leap_is_in_doubt_until_one_leads_back_or_an_anchor_of_a_later_image():
    """As where a camera begins to send another one's images: all motions after the first are smooth."""
    leap = SE3.from_rotation_vector([0.0, np.radians(90.0), 0.0], [0.1, 0.0, 0.0])
    motion = new_motion()
    walk_in(motion, [steady(index) for index in range(20)])
    after = [motion.add(estimate_at(index, leap @ steady(index))) for index in range(20, 40)]
    assert all(squared_error(one, steady(index)) < 12.0 for index, one in enumerate(after, 20))
    assert all(one.state is State.LOST for one in after)
    carried = motion.at(41 * FRAME_NS)
    assert squared_error(carried, steady(41)) < 12.0
    assert carried.state is State.LOST
    back = motion.add(estimate_at(40, steady(40)))
    assert np.allclose(back.covariance, 1e-8 * np.eye(6))
    assert back.state is State.LOCALIZED
    assert motion.add(estimate_at(41, leap @ steady(41))).state is State.LOST
    found = motion.add(replace(estimate_at(42, leap @ steady(42)), age_ns=0))
    assert np.allclose(found.covariance, 1e-8 * np.eye(6))
