"""Measurements that nobody should send, or that a defect elsewhere sends: the back end lives, says so, and recovers."""

from dataclasses import replace

import numpy as np
import pytest
from attacked_robot import (
    GOOD,
    RATE_HZ,
    RECOVERY_S,
    Robot,
    anchor_pose,
    assert_bounded,
    far,
    map_from_camera,
    odometry_at,
    stamp_of,
    tracked_at,
)
from hypothesis import given
from hypothesis import strategies as st
from search_length import SEARCH

from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.plausibility import FARTHEST
from visloc_ros.core.types import LoopClosure, OdometryScale, State
from visloc_ros.pipeline.backend import BasePrior


def shifted(distance):
    return lambda pose: replace(pose, odom_from_camera=far(pose.odom_from_camera, distance))


def tracked_with(**changes):
    return lambda robot: robot.go_on(5, lambda pose: replace(pose, **changes))


def anchored(**changes):
    def attack(robot):
        for index in (robot.index - 4, robot.index - 3, robot.index - 2):
            robot.send_anchor(replace(anchor_pose(index), **changes))

    return attack


def anchored_far(distance, count=1):
    def attack(robot):
        for index in range(robot.index - count, robot.index):
            good = anchor_pose(index)
            robot.send_anchor(replace(good, map_from_camera=far(good.map_from_camera, distance)))

    return attack


def followed(**changes):
    def attack(robot):
        for _ in range(10):
            robot.go_on(1)
            robot.follow(lambda tracked: replace(tracked, **changes))

    return attack


def followed_far(distance):
    def attack(robot):
        for _ in range(5):
            robot.go_on(1)
            robot.follow(lambda one: replace(one, map_from_camera=far(one.map_from_camera, distance)))

    return attack


def looped(distance=0.0, scale=1.0, covariance=1e-4):
    def attack(robot):
        earlier, later = odometry_at(robot.index - 30), odometry_at(robot.index)
        step = earlier.odom_from_camera.inverse @ later.odom_from_camera
        similarity = Sim3.from_se3(far(step, distance), scale)
        robot.backend.add_loop(LoopClosure(earlier.stamp_ns, later.stamp_ns, similarity, covariance * np.eye(7)))

    return attack


def believed(distance, covariance):
    def attack(robot):
        robot.backend.add_prior(BasePrior("somebody", far(SE3.identity(), distance), covariance * np.eye(6)))

    return attack


HUGE = (1e4, 1e7, 1e155)
ATTACKS = {
    "one odometry pose off by": (HUGE, lambda d: lambda robot: robot.go_on(1, shifted(d))),
    "odometry for a second off by": (HUGE, lambda d: lambda robot: robot.go_on(RATE_HZ, shifted(d))),
    "odometry scale": ((1e-300, 1e-20, 1e20, 1e300), lambda s: tracked_with(scale=OdometryScale(s, 0.01))),
    "odometry covariance": ((0.0, 1e-300, 1e20, 1e300), lambda c: tracked_with(covariance=c * np.eye(6))),
    "an anchor off by": (HUGE, anchored_far),
    "four anchors that agree off by": ([d for d in HUGE if d > FARTHEST], lambda d: anchored_far(d, 4)),
    "anchor covariance": ((0.0, 1e-300, 1e-30, 1e20, 1e300), lambda c: anchored(covariance=c * np.eye(6))),
    "tracked poses off by": (HUGE, followed_far),
    "tracked covariance": (
        (0.0, 1e-300, 1e-30, 1e-16, 1e-13, 1e-10, 1e20, 1e300),
        lambda c: followed(covariance=c * np.eye(6), covariance_since_anchor=c * np.eye(6)),
    ),
    "loop off by": ((*HUGE, 1e200), lambda d: looped(distance=d)),
    "loop scale": ((1e-300, 1e-20, 1e20, 1e300), lambda s: looped(scale=s)),
    "loop covariance": ((1e-300, 1e-30, 1e300), lambda c: looped(covariance=c)),
    "prior off by": (HUGE, lambda d: believed(d, 1e-4)),
    "prior covariance": ((0.0, 1e-300, 1e300), lambda c: believed(0.0, c)),
}
"""The numbers of each attack, and the attack with one of them."""


@pytest.mark.parametrize("kind", ATTACKS)
def test_the_back_end_recovers_from_measurements_that_cannot_be(kind):
    robot, (numbers, attack_with) = Robot(), ATTACKS[kind]
    robot.go_on(GOOD)
    assert robot.published[-1].estimate.state is State.LOCALIZED
    for number in numbers:
        attack_with(number)(robot)
        robot.go_on(int(RECOVERY_S * RATE_HZ))
        assert_bounded(robot.published)
        last = robot.published[-1]
        assert last.estimate.state is State.LOCALIZED, (number, last.estimate)
        assert last.pose.map_from_base.is_close(map_from_camera(robot.index), 0.05, 1.0), number
        robot.go_on(GOOD)
        assert_bounded(robot.published)
        last = robot.published[-1]
        assert last.pose.map_from_base.is_close(map_from_camera(robot.index), 0.02, 0.5), number
        assert robot.backend.estimator.failures == 0, number
        robot.published.clear()


NUMBERS = st.one_of(
    st.floats(),
    st.floats(-30.0, 30.0).map(lambda exponent: 10.0**exponent),
    st.floats(-30.0, 30.0).map(lambda exponent: -(10.0**exponent)),
    st.sampled_from([0.0, 1e-6, 1e-3, 0.1, 1.0]),
)
VECTORS = st.lists(NUMBERS, min_size=3, max_size=3).map(np.array)
COVARIANCES = st.lists(NUMBERS, min_size=7, max_size=7).map(np.diag)
KINDS = ("odometry", "anchor", "tracked", "loop", "prior")


@st.composite
def anything(draw):
    """Some measurement whose numbers may be any; what it is about is as it should be."""
    kind, offset, covariance, number = draw(st.sampled_from(KINDS)), draw(VECTORS), draw(COVARIANCES), draw(NUMBERS)
    turn = draw(st.sampled_from([np.eye(3), np.diag([1.0, -1.0, -1.0]), np.zeros((3, 3))]))
    return kind, turn, offset, covariance, number


def send(robot, attack):
    kind, turn, offset, covariance, number = attack
    covariance6 = covariance[:6, :6]

    def moved(pose):
        return SE3(turn @ pose.rotation, pose.translation + offset)

    if kind == "odometry":
        scale = OdometryScale(number, 0.01)
        robot.go_on(1, lambda one: replace(one, odom_from_camera=moved(one.odom_from_camera), scale=scale))
    elif kind == "anchor":
        good = anchor_pose(robot.index - 1)
        anchor = replace(good, map_from_camera=moved(good.map_from_camera), covariance=covariance6)
        robot.send_anchor(anchor)
    elif kind == "tracked":
        good = tracked_at(robot.index, (robot.index // 5) * 5 - 5)
        pose = moved(good.map_from_camera)
        robot.backend.add_tracked(replace(good, map_from_camera=pose, covariance_since_anchor=covariance6))
    elif kind == "loop":
        similarity = Sim3(number, turn, offset)
        robot.backend.add_loop(LoopClosure(stamp_of(robot.index - 20), stamp_of(robot.index), similarity, covariance))
    else:
        robot.backend.add_prior(BasePrior("somebody", moved(SE3.identity()), covariance6))


@SEARCH
@given(st.lists(st.tuples(anything(), st.integers(1, 4)), min_size=1, max_size=8))
def test_whatever_comes_the_back_end_lives_and_recovers(attacks):
    robot = Robot()
    robot.go_on(GOOD)
    for attack, frames in attacks:
        with np.errstate(all="ignore"):
            send(robot, attack)
        robot.go_on(frames)
    robot.go_on(2 * GOOD)
    assert_bounded(robot.published, farthest=10.0 * FARTHEST)
    last = robot.published[-1]
    assert last.estimate.state is State.LOCALIZED, last.estimate
    assert last.pose.map_from_base.is_close(map_from_camera(robot.index), 0.05, 1.0)
    assert robot.backend.estimator.failures == 0
