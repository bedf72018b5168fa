"""The back end while its map changes: nothing of one frame is used in another, unless the transform is known."""

from dataclasses import replace

import numpy as np
import pytest
from test_backend import (
    BASE_FROM_CAMERA,
    HALL,
    MAP_FROM_ODOM,
    ROOM,
    Robot,
    anchor_of,
    map_from_camera,
    odometry_at,
    stamp_of,
)

from visloc_ros.core.coordinate_frame import CoordinateFrame
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import ACCEPTED, Reason, State, TrackedPose
from visloc_ros.pipeline.backend import BasePrior


def test_another_map_begins_the_search_again_and_odom_goes_on():
    robot = Robot()
    before = robot.run(range(60))
    assert robot.backend.use_map(HALL)
    robot.backend.add_odometry(odometry_at(60))
    robot.backend.add_odometry(odometry_at(61))
    after = robot.heard.published[-1]
    assert (after.estimate.state, after.map_from_odom) == (State.INITIALIZING, None)
    assert robot.backend.map_name == "hall"
    assert np.linalg.norm(after.odom_from_base.translation - before.odom_from_base.translation) < 0.2
    assert [identity.name for identity in robot.heard.priors] == ["room"]
    assert robot.heard.maps == [(ROOM, 0), (HALL, stamp_of(59) + 1)]


def test_anchors_of_a_map_that_nobody_asked_for_change_nothing():
    robot, alone = Robot(), Robot()
    for one in (robot, alone):
        one.run(range(60))
    robot.anchors.add(anchor_of(55, HALL))
    assert not robot.backend.use_map(HALL, is_requested=False)
    for one in (robot, alone):
        one.run(range(60, 80), anchors=())
    assert robot.heard.published[-1].pose.map_from_base.is_close(alone.heard.published[-1].pose.map_from_base, 1e-12)
    assert robot.backend.map_name == "room"
    assert robot.backend.refused == {
        "anchor in another frame than the map in use": 1,
        "map in another frame than the one in use": 1,
    }


def test_a_map_that_was_moved_on_the_earth_is_another_one_where_frames_are_not_known():
    robot = Robot()
    robot.run(range(60))
    moved = replace(ROOM, on_earth=GeoReference(55.7, 13.2))
    robot.backend.use_map(moved)
    robot.backend.add_odometry(odometry_at(60))
    robot.backend.add_odometry(odometry_at(61))
    assert robot.heard.published[-1].estimate.state is State.INITIALIZING
    assert robot.backend.on_earth == moved.on_earth


FRAME = CoordinateFrame.new()
IN_FRAME = replace(ROOM, frame=FRAME)
ALIGNED_FROM_MAP = Sim3.from_se3(SE3.from_rotation_vector([0.3, -0.2, 0.7], [3.0, -2.0, 0.5]), scale=1.3)
ALIGNED = replace(ROOM, frame=FRAME.moved(ALIGNED_FROM_MAP), model_id="aligned")


def in_aligned(index):
    """The true pose of the base in the aligned map."""
    return ALIGNED_FROM_MAP.apply_to_pose(map_from_camera(index)) @ BASE_FROM_CAMERA.inverse


def aligned_anchor_of(index):
    anchor = anchor_of(index, ALIGNED)
    moved = ALIGNED_FROM_MAP.apply_to_pose(anchor.result.map_from_camera)
    return replace(anchor, result=replace(anchor.result, map_from_camera=moved, covariance=np.diag([1e-4] * 6)))


def localized_in_frame():
    robot = Robot()
    for index in range(60):
        if index in (5, 25, 45):
            robot.anchors.add(anchor_of(index - 5, IN_FRAME))
        robot.backend.add_odometry(odometry_at(index))
    assert robot.heard.published[-1].estimate.state is State.LOCALIZED
    return robot


def test_an_aligned_map_carries_the_pose_over_without_a_gap():
    robot = localized_in_frame()
    before = robot.heard.published[-1]
    assert robot.backend.use_map(ALIGNED)
    for index in range(60, 120):
        if index in (75, 95):
            robot.anchors.add(aligned_anchor_of(index - 5))
        robot.backend.add_odometry(odometry_at(index))
    after = robot.heard.published[60:]
    assert {one.estimate.state for one in after} == {State.LOCALIZED}
    for index, one in enumerate(after, 60):
        assert one.pose.map_from_base.is_close(in_aligned(index), 2e-3, 0.1)
        if one.map_from_odom is not None:
            assert (one.map_from_odom @ one.odom_from_base).is_close(one.pose.map_from_base, 1e-9, 1e-7)
    assert after[0].estimate.scale == pytest.approx(MAP_FROM_ODOM.scale * ALIGNED_FROM_MAP.scale, rel=1e-2)
    sigmas = [np.sqrt(np.linalg.eigvalsh(one.pose.covariance[:3, :3])[-1]) for one in (before, after[0])]
    assert sigmas[1] == pytest.approx(ALIGNED_FROM_MAP.scale * sigmas[0], rel=0.2)


def test_odom_is_continuous_when_an_aligned_map_has_other_units():
    robot = localized_in_frame()
    before = [one.odom_from_base.translation for one in robot.heard.published[-2:]]
    robot.backend.use_map(ALIGNED)
    for index in (60, 61):
        robot.backend.add_odometry(odometry_at(index))
    after = [one.odom_from_base.translation for one in robot.heard.published[-2:]]
    step = np.linalg.norm(before[1] - before[0])
    assert np.linalg.norm(after[0] - before[1]) < 2.0 * step
    assert np.linalg.norm(after[1] - after[0]) == pytest.approx(ALIGNED_FROM_MAP.scale * step, rel=0.1)


def test_no_transform_in_the_new_frame_is_dated_before_the_last_one_in_the_frame_before():
    robot = localized_in_frame()
    until_ns = stamp_of(59) + NANOSECONDS // 10
    robot.backend.use_map(ALIGNED)
    for index in range(60, 66):
        robot.backend.add_odometry(odometry_at(index))
    sent = {one.stamp_ns: one.map_from_odom is not None for one in robot.heard.published[60:]}
    assert sent == {stamp_of(index): stamp_of(index) > until_ns for index in range(60, 66)}
    assert all(one.pose is not None for one in robot.heard.published[60:])


def test_an_anchor_of_the_frame_before_that_comes_late_is_carried_over():
    robot = localized_in_frame()
    robot.backend.use_map(ALIGNED)
    robot.anchors.add(anchor_of(58, IN_FRAME))
    robot.backend.add_odometry(odometry_at(60))
    assert robot.heard.verdicts[-1] is ACCEPTED
    (anchor,) = robot.backend.take_accepted()
    assert anchor.map == ALIGNED
    assert anchor.result.map_from_camera.is_close(ALIGNED_FROM_MAP.apply_to_pose(map_from_camera(58)), 1e-9, 1e-7)


def test_going_back_to_the_frame_before_gives_the_poses_of_before():
    robot = localized_in_frame()
    for identity in (ALIGNED, IN_FRAME):
        robot.backend.use_map(identity)
        robot.backend.add_odometry(odometry_at(len(robot.heard.published)))
    last = robot.heard.published[-1]
    expected = map_from_camera(61) @ BASE_FROM_CAMERA.inverse
    assert last.pose.map_from_base.is_close(expected, 1e-3, 0.1)


def test_a_tracked_pose_in_the_frame_of_a_map_before_is_refused():
    robot = localized_in_frame()
    robot.backend.use_map(ALIGNED)
    robot.backend.add_odometry(odometry_at(60))
    covariance = np.diag([1e-6] * 6)
    tracked = TrackedPose(
        stamp_of(60), map_from_camera(60), covariance, stamp_of(40), covariance, 90, 100, 0.3, frame=FRAME
    )
    assert robot.backend.add_tracked(tracked).reason is Reason.OTHER_FRAME


def test_a_pose_prior_that_waits_is_carried_over():
    robot = Robot()
    there = map_from_camera(0) @ BASE_FROM_CAMERA.inverse
    robot.backend.use_map(IN_FRAME)
    robot.backend.add_prior(BasePrior("somebody", there, np.diag([0.01] * 3 + [0.001] * 3)))
    robot.backend.use_map(ALIGNED)
    robot.backend.add_odometry(odometry_at(0))
    expected = robot.backend.expected().map_from_camera
    assert expected.is_close(ALIGNED_FROM_MAP.apply_to_pose(there) @ BASE_FROM_CAMERA, 1e-9, 1e-7)
