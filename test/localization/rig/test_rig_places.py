"""Cameras of a rig that are mounted otherwise than given, found by what they see over many rig frames."""

import numpy as np
import pytest
from rig_world import RigInRoom, turned

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.localization.rig.robust_fit import robust_mean

ALL = ("front", "left", "back")


def walk(rig, frames=8, **seen):
    """Search rig frames from all over the room, in each of which the rig stands still."""
    rng, places = np.random.default_rng(0), rig.rig_engine.places
    for index in range(frames):
        body = SE3(rotation_matrix([0.0, 0.0, 0.8 * index]), rng.uniform(-0.5, 0.5, 3))
        now_ns = (10 * index + 5) * NANOSECONDS
        places.moved("front", [(now_ns + quarter * NANOSECONDS // 4, body) for quarter in range(-10, 11)])
        rig.rig_engine.localize(now_ns, rig.images(body, stamp_ns=now_ns, **seen))
    return places


def test_a_rig_that_is_as_given_is_not_contradicted(room):
    rig = RigInRoom(room, ALL)
    places = walk(rig, keep=0.5)
    differences = places.differences()
    assert [(one.name, one.seen_from) for one in differences] == [("left", "front"), ("back", "front")]
    for one in differences:
        assert not one.is_contradicted
        assert one.degrees < 0.1
        assert one.frames == 8
    for name in ALL:
        assert places.refined().rig_from_camera(name).is_close(rig.rig.rig_from_camera(name))


@pytest.mark.parametrize("wrong", ALL)
def test_the_camera_that_is_three_degrees_off_is_named_and_its_place_offered(room, wrong):
    rig = RigInRoom(room, ALL)
    rig.mount(turned(rig.rig, wrong, 3.0))
    places = walk(rig, keep=0.5)
    (named,) = (one for one in places.differences() if one.is_contradicted)
    assert named.name == wrong
    assert named.degrees == pytest.approx(3.0, abs=0.2)
    assert f"'{wrong}' is mounted" in str(named)
    error = pose_difference(named.observed, rig.rig.rig_from_camera(wrong))
    assert error @ np.linalg.solve(named.covariance, error) < 22.5
    refined = places.refined()
    assert refined.rig_from_camera(wrong).is_close(rig.rig.rig_from_camera(wrong), 0.02, 0.3)
    rig.mount(refined)
    assert not any(one.is_contradicted for one in walk(rig, keep=0.5).differences())


def test_of_two_cameras_the_other_one_than_the_reference_is_named(room):
    rig = RigInRoom(room)
    rig.mount(turned(rig.rig, "left", -3.0))
    (named,) = walk(rig, keep=0.5).differences()
    assert named.is_contradicted
    assert (named.name, named.seen_from) == ("left", "front")


def test_a_camera_that_is_contradicted_takes_no_part_even_alone(room):
    rig = RigInRoom(room)
    rig.mount(turned(rig.rig, "left", 3.0))
    walk(rig, keep=0.5)
    body = SE3.identity()
    images = rig.images(body, keep=0.5)
    both = rig.rig_engine.localize(1_000, images)
    assert set(both.by_camera) == {"front"}
    assert both.left_out["left"].reason is Reason.RIG_MISMATCH
    alone = rig.rig_engine.localize(1_000, {"left": images["left"]})
    assert isinstance(alone, Rejection)
    assert alone.reason is Reason.RIG_MISMATCH


def test_few_frames_say_nothing(room):
    rig = RigInRoom(room)
    assert walk(rig, frames=5).differences() == []


def test_outliers_do_not_move_the_mean_and_common_errors_widen_it():
    rng = np.random.default_rng(0)
    noise = rng.normal(0.0, 0.01, (100, 6))
    covariances = [np.diag([0.01**2] * 6)] * 100
    mean, covariance = robust_mean(list(noise), covariances)
    assert np.abs(mean).max() < 0.005
    spoilt = noise.copy()
    spoilt[::10] += 3.0
    assert np.abs(robust_mean(list(spoilt), covariances)[0]).max() < 0.01
    drifting = noise + np.repeat(rng.normal(0.0, 0.02, (5, 6)), 20, axis=0)  # of five stretches of the map
    mean, wide = robust_mean(list(drifting), covariances)
    assert np.trace(wide) > 4.0 * np.trace(covariance)
    assert mean @ np.linalg.solve(wide, mean) < 22.5
