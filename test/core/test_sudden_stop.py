"""A camera whose poses stop at once, and other cameras' images that show whether it has."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3
from visloc_ros.core.sudden_stop import SuddenStop

SIGMA = 4e-3
COVARIANCE = SIGMA**2 * np.eye(6)
FRAME_NS = 100_000_000
SPEED = 0.4


def at(metres):
    return SE3(np.eye(3), np.array([metres, 0.0, 0.0]))


def poses(*metres):
    """Poses at ten a second, newest first."""
    return [(FRAME_NS * (len(metres) - index), at(place)) for index, place in enumerate(metres)]


def shown_by(stamped):
    found = SuddenStop.of(stamped, SIGMA**2 / 2.0 * np.eye(6))
    return found and ("stop" if found.is_stop else "brakes")


@pytest.mark.parametrize(
    ("metres", "shown"),
    [
        ((0.04, 0.04, 0.0), "stop"),
        ((0.06, 0.04, 0.0), "stop"),  # where frames are skipped
        ((0.07, 0.04, 0.0), "brakes"),
        ((0.08, 0.04, 0.0), None),
        ((0.04, 0.0, 0.0), None),  # it begins to move
        ((0.006, 0.006, 0.0), None),  # too slow to do harm
        ((0.03, 0.03, 0.03, 0.03, 0.03, 0.024, 0.018, 0.012, 0.006, 0.0), "stop"),  # slow, but for longer
        ((0.0, 0.0), None),
    ],
)
def test_a_stop_is_sudden_if_the_pose_would_be_elsewhere(metres, shown):
    assert shown_by(poses(*metres)) == shown


@pytest.mark.parametrize(
    ("skipped", "share", "shown"), [(1, 0.6, "brakes"), (3, 0.6, "stop"), (3, 0.75, "stop"), (3, 0.9, None)]
)
def test_where_frames_are_skipped_most_of_a_motion_may_lie_before_the_stop(skipped, share, shown):
    newest = (FRAME_NS * (2 + skipped), at(0.04 + 0.04 * skipped * share))
    assert shown_by([newest, *poses(0.04, 0.0)]) == shown


def test_poses_that_are_closer_than_a_tenth_of_a_second_show_the_same_stop():
    often = [
        (FRAME_NS * (12 - index) // 4, at(place)) for index, place in enumerate([0.04] * 5 + [0.03, 0.02, 0.01, 0.0])
    ]
    assert SuddenStop.of(often, COVARIANCE) is not None


def test_another_camera_confirms_a_stop_by_an_image_as_new_if_the_motion_would_have_led_elsewhere():
    stop = SuddenStop.of(poses(0.04, 0.04, 0.0), COVARIANCE)
    assert stop.seconds(4 * FRAME_NS) == pytest.approx(0.2)
    early, later = 2 * FRAME_NS + FRAME_NS // 3, 3 * FRAME_NS
    assert not stop.is_confirmed_by((early, at(0.04)), COVARIANCE), "it would be there either way"
    assert not stop.is_confirmed_by((later, at(0.08)), COVARIANCE), "it has gone on"
    assert not stop.is_confirmed_by((later, at(0.14)), COVARIANCE), "it is neither here nor there"
    assert not stop.is_confirmed_by((later - FRAME_NS, at(0.02)), COVARIANCE), "it was not there yet"
    assert stop.is_confirmed_by((later, at(0.04)), COVARIANCE)
