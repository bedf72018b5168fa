"""Poses carried on through frames that were not followed: where they are, and how far they say they may be off."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, Reason, State
from visloc_ros.pipeline.carried_motion import LONGEST_NS, CarriedMotion

FRAME_NS = NANOSECONDS // 30
MAP_FROM_ODOM = SE3.from_rotation_vector([0.0, 0.0, 0.4], [3.0, -1.0, 0.5])


def estimate_at(index, odom_from_camera):
    return Estimate(
        index * FRAME_NS, State.LOCALIZED, map_from_odom=MAP_FROM_ODOM, odom_from_camera=odom_from_camera,
        covariance=1e-8 * np.eye(6), scale=1.0, age_ns=NANOSECONDS, distance_since_fix=1.0,
    )  # fmt: skip


def steady(index):
    return SE3.from_rotation_vector([0.0, 0.02 * index, 0.0], [0.03 * index, 0.0, 0.0])


def shaken(seed, count):
    """A camera with random accelerations in every frame, of 2 m/s2 and 4 rad/s2 a coordinate."""
    rng, interval_s = np.random.default_rng(seed), FRAME_NS / NANOSECONDS
    accelerations = rng.normal(size=(count, 6)) * np.repeat([4.0, 2.0], 3)
    velocities = np.cumsum(accelerations * interval_s, axis=0)
    places = np.cumsum(velocities * interval_s, axis=0)
    return [SE3.from_rotation_vector(place[:3], place[3:]) for place in places]


def test_a_steady_motion_goes_on_exactly_and_what_passed_is_reported():
    motion = CarriedMotion()
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
        motion, poses = CarriedMotion(), shaken(seed, 120)
        for index in range(0, 120 - ahead, ahead):
            carried = motion.at(index * FRAME_NS)
            if index > 10 * ahead and carried is not None:
                error = pose_difference(MAP_FROM_ODOM @ poses[index], carried.map_from_camera)
                squared.append(error @ np.linalg.solve(carried.covariance, error))
            motion.add(estimate_at(index, poses[index]))
    assert len(squared) > 1000
    assert 3.0 < np.mean(squared) < 9.0  # six degrees of freedom


def test_the_farther_ahead_the_less_is_known():
    motion = CarriedMotion()
    for index, pose in enumerate(shaken(0, 20)):
        motion.add(estimate_at(index, pose))
    sigmas = [np.sqrt(np.trace(motion.at((19 + ahead) * FRAME_NS).covariance)) for ahead in (1, 2, 3)]
    assert sigmas[0] < sigmas[1] < sigmas[2]


def test_nothing_is_made_up_without_a_motion_or_after_too_long():
    motion = CarriedMotion()
    assert motion.at(FRAME_NS) is None
    for index in range(10):
        motion.add(estimate_at(index, steady(index)))
    assert motion.at(9 * FRAME_NS) is None  # it is no later
    assert motion.at(9 * FRAME_NS + LONGEST_NS + 1) is None
    motion.add(Estimate(10 * FRAME_NS, State.LOST, Reason.NO_ODOMETRY))
    assert motion.at(11 * FRAME_NS) is None
    motion.reset()
    motion.add(estimate_at(0, steady(0)))
    motion.add(estimate_at(1, steady(1)))
    assert motion.at(2 * FRAME_NS) is None  # how well such predictions do is not known yet
