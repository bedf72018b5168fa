"""A camera whose stamps are late is told from one that is mounted otherwise, by exactly known poses with noise."""

import numpy as np
import pytest
from observed_poses import FRONT, LEFT, RIG, walked

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.localization.rig.places import Cause
from visloc_ros.simulation.path import PATHS

LATE_MS = (-1000, -300, -100, -30, 30, 100, 300, 1000)
BY_OTHER_CLOCK = [("left", -1000), ("left", 30), ("left", 1000)]


def walk(seconds):
    return PATHS["localize"].pose(seconds) @ FRONT.inverse


def still(_):
    return walk(0.0)


def straight(seconds):
    """With half a metre a second along the axis of the rig."""
    return walk(0.0) @ SE3(np.eye(3), np.array([0.5 * seconds, 0.0, 0.0]))


def turning(seconds):
    return SE3(rotation_matrix([0.0, 0.0, 0.5 * seconds]), np.zeros(3)) @ walk(0.0)


def mounted(degrees=0.0, metres=0.0):
    """The rig with another place of "left"."""
    turn = rotation_matrix([0.0, np.radians(degrees), 0.0])
    return RIG.with_place("left", LEFT @ SE3(turn, np.array([metres, 0.0, 0.0])))


@pytest.mark.parametrize(("leading", "late_ms"), [*(("front", late_ms) for late_ms in LATE_MS), *BY_OTHER_CLOCK])
def test_late_stamps_are_named_with_their_value_and_the_camera_stays_where_it_is(leading, late_ms):
    places = walked(walk, late_ms / 1e3, leading=leading)
    (named,) = places.differences()
    assert (named.name, named.cause) == ("left", Cause.CLOCK)
    assert 1e3 * named.late_s == pytest.approx(late_ms, abs=3.0)
    assert abs(named.late_s - late_ms / 1e3) < 4.0 * named.late_sigma_s
    assert f"the stamps of 'left' are {abs(1e3 * named.late_s):.0f} ms (sigma 2) " in str(named)
    assert ("late, as" if late_ms > 0 else "early, as") in str(named)
    assert "mounted" not in str(named)
    refined = places.refined()
    assert refined.rig_from_camera("left") is RIG.rig_from_camera("left")
    assert refined.cameras["left"].time_shift_s == -named.late_s
    assert (abs(late_ms) < 100) or places.unusable == {"left"}


@pytest.mark.parametrize(("degrees", "metres"), [(3.0, 0.0), (0.0, 0.05), (-3.0, 0.05), (1.0, 0.0)])
@pytest.mark.parametrize("path", [walk, still])
def test_a_camera_that_is_mounted_otherwise_is_no_clock(path, degrees, metres):
    actual = mounted(degrees, metres)
    places = walked(path, actual=actual)
    (named,) = places.differences()
    assert named.cause is Cause.MOUNT
    assert places.refined().rig_from_camera("left").is_close(actual.rig_from_camera("left"), 0.01, 0.2)
    assert places.refined().cameras["left"].time_shift_s == 0.0


def test_late_stamps_of_a_camera_that_is_mounted_otherwise_come_first():
    (named,) = walked(walk, 0.1, mounted(3.0)).differences()
    assert named.cause is Cause.CLOCK
    assert named.late_s == pytest.approx(0.1, abs=0.005)


def test_right_clocks_and_places_are_not_contradicted():
    (one,) = walked(walk).differences()
    assert one.cause is Cause.NONE
    assert abs(one.late_s) < 0.005
    assert "its stamps are" in str(one)


@pytest.mark.parametrize("path", [straight, turning])
def test_a_steady_motion_does_not_tell_a_clock_from_a_mount(path):
    places = walked(path, 0.1)
    (named,) = places.differences()
    assert named.cause is Cause.EITHER
    assert "or its stamps are late or early: the motion was too steady to tell" in str(named)
    assert places.refined().rig_from_camera("left") is RIG.rig_from_camera("left")


def test_without_the_motion_nothing_is_told_apart():
    (named,) = walked(walk, 0.1, odometry=False).differences()
    assert named.cause is Cause.EITHER
    assert "the motion is known in too few of them" in str(named)


@pytest.mark.parametrize("late_s", [-5.0, 3.0])
def test_a_clock_of_its_own_is_no_value(late_s):
    places = walked(walk, late_s)
    (named,) = places.differences()
    assert named.cause is Cause.NEITHER
    assert "which no single place explains, and no time shift up to 2 s" in str(named)
    assert places.unusable == {"left"}
    refined = places.refined().cameras["left"]
    assert refined.rig_from_camera is LEFT
    assert refined.time_shift_s == 0.0
