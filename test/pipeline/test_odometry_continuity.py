"""Odometry that leaps, or turns faster than anything does, is left out; where it lasts a new segment begins."""

import numpy as np

from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import OdometryPose, Reason, Rejection
from visloc_ros.pipeline.odometry_continuity import OdometryContinuity

FRAME_NS = 100_000_000


def pose(index, turn=0.0, place=0.0):
    return OdometryPose(index * FRAME_NS, SE3.from_rotation_vector([0.0, 0.0, turn], [place, 0.0, 0.0]), 0, 50)


def test_an_image_that_is_suddenly_upside_down_is_no_turn():
    continuity = OdometryContinuity()
    assert continuity.checked(pose(0), 1.0).segment == 0
    assert continuity.checked(pose(1, turn=1.0), 1.0).segment == 0, "as fast as a racing drone"
    leap = continuity.checked(pose(2, turn=1.0 + np.pi), 1.0)
    assert isinstance(leap, Rejection)
    assert leap.reason is Reason.BAD_MESSAGE
    assert continuity.checked(pose(3, turn=1.0 + np.pi), 1.0).segment == 1
    assert continuity.checked(pose(4, turn=1.1 + np.pi), 1.0).segment == 1


def test_one_leap_alone_changes_nothing():
    continuity = OdometryContinuity()
    continuity.checked(pose(0), 1.0)
    assert isinstance(continuity.checked(pose(1, place=1000.0), 1.0), Rejection)
    assert continuity.checked(pose(2, place=0.1), 1.0).segment == 0
