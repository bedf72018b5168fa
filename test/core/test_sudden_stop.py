"""A camera whose poses stop at once, and other cameras' images that show whether it has."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.sudden_stop import SuddenStop, spaced

SIGMA = 4e-3
COVARIANCE = SIGMA**2 * np.eye(6)
FRAME_NS = 100_000_000
SPEED = 0.4


def at(metres):
    return SE3(np.eye(3), np.array([metres, 0.0, 0.0]))


def poses(*metres):
    """Poses at ten a second, newest first."""
    return [(FRAME_NS * (len(metres) - index), at(place)) for index, place in enumerate(metres)]


def test_three_poses_are_as_far_apart_as_shows_a_motion():
    assert spaced(range(10 * FRAME_NS, 0, -FRAME_NS // 4)) == (10 * FRAME_NS, 9 * FRAME_NS, 8 * FRAME_NS)
    assert len(spaced([FRAME_NS])) == 1
    assert SuddenStop.of(poses(0.0, 0.0), COVARIANCE) is None


@pytest.mark.parametrize(
    ("metres", "shown"),
    [
        ((0.04, 0.04, 0.0), "stop"),
        ((0.06, 0.04, 0.0), "stop"),  # where frames are skipped
        ((0.07, 0.04, 0.0), "brakes"),
        ((0.08, 0.04, 0.0), None),
        ((0.04, 0.0, 0.0), None),  # it begins to move
        ((0.006, 0.006, 0.0), None),  # too slow to do harm
    ],
)
def test_a_stop_is_sudden_if_the_pose_would_be_elsewhere(metres, shown):
    found = SuddenStop.of(poses(*metres), SIGMA**2 / 2.0 * np.eye(6))
    assert (found and ("stop" if found.is_stop else "brakes")) == shown


def test_a_stop_ends_once_the_camera_moves_again():
    stop = SuddenStop.of(poses(0.04, 0.04, 0.0), COVARIANCE)
    assert not stop.ends(at(0.045), COVARIANCE)
    assert stop.ends(at(0.07), COVARIANCE)


def test_another_camera_confirms_a_stop_where_the_motion_would_have_led_elsewhere():
    stop = SuddenStop.of(poses(0.04, 0.04, 0.0), COVARIANCE)
    assert stop.seconds(4 * FRAME_NS) == pytest.approx(0.2)
    early, later = 2 * FRAME_NS + FRAME_NS // 3, 3 * FRAME_NS
    assert not stop.is_confirmed_by((early, at(0.04)), COVARIANCE), "it would be there either way"
    assert not stop.is_confirmed_by((later, at(0.08)), COVARIANCE), "it has gone on"
    assert stop.is_confirmed_by((later, at(0.04)), COVARIANCE)
