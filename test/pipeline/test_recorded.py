"""What a back end did can be done again from its inputs and their order alone, to the last digit."""

from dataclasses import replace

import numpy as np
import pytest
from test_backend import (
    BASE_FROM_CAMERA,
    BASE_FROM_OTHER,
    HALL,
    ROOM,
    Recorder,
    Robot,
    anchor_of,
    map_from_camera,
    odometry_at,
    other_anchor_of,
    other_odometry_at,
    stamp_of,
)

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import Anchor, Reason, Rejection, TrackedPose
from visloc_ros.pipeline import Backend, BackendConfig
from visloc_ros.pipeline.anchors import RemoteAnchors
from visloc_ros.pipeline.backend import BasePrior
from visloc_ros.pipeline.inputs import InputKind
from visloc_ros.pipeline.recorded import LoadedMap, RecordedInputs, play

PRIOR = BasePrior("somebody", SE3.from_rotation_vector([0.0, 0.0, 1.0], [3.0, 0.0, 0.0]), np.eye(6))


OTHER = LoadedMap(HALL, stamp_of(130), is_requested=True)


def eventful_run():
    """Late anchors in pairs, a loss, frames without map points, a prior, silence, other starts; and its inputs."""
    robot, tracked, told = Robot(), [], []
    for index in range(140):
        if index in (5, 25, 45, 65, 85, 105, 125):
            robot.anchors.add(anchor_of(index - 5))
            robot.anchors.add(anchor_of(index - 3))
        if index == 70:
            robot.backend.add_prior(PRIOR)
        if index == 90:
            robot.backend.report_silence(stamp_of(89) + 10**9)
        if index == 95:
            robot.backend.relocalize()
        if index == 130:
            robot.backend.use_map(OTHER.identity, OTHER.stamp_ns, is_requested=OTHER.is_requested)
        told.append(odometry_at(index) if index % 31 else Rejection(stamp_of(index), Reason.FEW_FEATURES))
        robot.backend.add_odometry(told[-1])
        if index == 30:  # delivered again: refused, but recorded like any other
            told.append(odometry_at(index))
            robot.backend.add_odometry(told[-1])
        tracked.append(Rejection(stamp_of(index), Reason.FEW_MATCHES))
        robot.backend.add_tracked(tracked[-1])
    order = [joined for one in robot.heard.published for joined in one.inputs]
    anchors = [anchor_of(index) for start in range(0, 121, 20) for index in (start, start + 2)]
    return robot.heard.published, RecordedInputs(told, anchors, tracked, [], [PRIOR], [OTHER]), order


def test_an_eventful_run_is_computed_again():
    published, inputs, order = eventful_run()
    anchors, again = RemoteAnchors(), Recorder()
    play(inputs, order, Backend(BackendConfig(), anchors, lambda: BASE_FROM_CAMERA, again), anchors)
    assert {one.kind for one in order} == set(InputKind) - {InputKind.LOOP}
    assert [one.estimate.state for one in again.published] == [one.estimate.state for one in published]
    posed = [(one, other) for one, other in zip(published, again.published, strict=True) if one.pose is not None]
    assert len(posed) > 80
    for one, other in posed:
        np.testing.assert_array_equal(one.pose.map_from_base.matrix, other.pose.map_from_base.matrix)
        np.testing.assert_array_equal(one.pose.covariance, other.pose.covariance)
        np.testing.assert_array_equal(one.map_from_odom.matrix, other.map_from_odom.matrix)


def test_another_order_gives_another_run():
    """So the order is no decoration: an anchor joined a frame earlier changes what is published."""
    published, inputs, order = eventful_run()
    kinds = [one.kind for one in order]
    first = kinds.index(InputKind.ANCHOR, kinds.index(InputKind.ANCHOR) + 40)
    moved = [*order[: first - 3], order[first], *order[first - 3 : first], *order[first + 1 :]]
    anchors, again = RemoteAnchors(), Recorder()
    play(inputs, moved, Backend(BackendConfig(), anchors, lambda: BASE_FROM_CAMERA, again), anchors)
    raw = [
        (one.raw_map_from_odom, other.raw_map_from_odom) for one, other in zip(published, again.published, strict=True)
    ]
    assert any((one is None) != (other is None) or (one and not one.is_close(other, 0.0, 0.0)) for one, other in raw)


def test_an_input_that_was_not_recorded_is_missed():
    _, inputs, order = eventful_run()
    short = RecordedInputs(list(inputs.odometry)[:3], [], [], [], [])
    with pytest.raises(SourceError, match="was it begun before the nodes were"):
        play(short, order, Backend(BackendConfig()), RemoteAnchors())


def standing_start():
    """A standstill, a start by followed map points while odometry waits, the loss of these; and its inputs."""
    robot, told, tracked, pose = Robot(), [], [], map_from_camera(0)
    anchors = [anchor_of(0) for _ in range(6)]
    anchors = [Anchor(replace(one.result, stamp_ns=stamp_of(5 * i)), ROOM) for i, one in enumerate(anchors)]
    for index in range(60):
        reason = Reason.STANDING_STILL if index < 40 else Reason.DEGENERATE_MOTION
        if index % 5 == 2 and index // 5 < len(anchors):
            robot.anchors.add(anchors[index // 5])
        told.append(Rejection(stamp_of(index), reason))
        robot.backend.add_odometry(told[-1])
        tracked.append(TrackedPose(stamp_of(index), pose, 1e-4 * np.eye(6), stamp_of(0), 1e-6 * np.eye(6), 50, 60, 0.5))
        if index >= 50:
            tracked[-1] = Rejection(stamp_of(index), Reason.FEW_MATCHES)
        robot.backend.add_tracked(tracked[-1])
    return robot.heard.published, RecordedInputs(told, anchors, tracked, [], [])


def test_a_start_by_followed_map_points_is_computed_again():
    published, inputs = standing_start()
    assert [one.stamp_ns for one in published] == [stamp_of(index) for index in range(60)]
    assert [one.pose is not None for one in published[40:]] == [True] * 14 + [False] * 6
    order = [joined for one in published for joined in one.inputs]
    anchors, again = RemoteAnchors(), Recorder()
    play(inputs, order, Backend(BackendConfig(), anchors, lambda: BASE_FROM_CAMERA, again), anchors)
    assert len(again.published) == len(published)
    for one, other in zip(published, again.published, strict=True):
        assert (one.stamp_ns, one.pose is None) == (other.stamp_ns, other.pose is None)
        if one.pose is not None and other.pose is not None:
            np.testing.assert_array_equal(one.pose.map_from_base.matrix, other.pose.map_from_base.matrix)


def test_a_run_in_which_another_camera_takes_over_is_computed_again():
    robot, told, found = Robot(), [], []
    for index in range(110):
        if index == 60:
            robot.backend.change_camera(stamp_of(60), lambda: BASE_FROM_OTHER)
        if index in (5, 25, 45, 65, 85, 105):
            found.append((anchor_of if index < 60 else other_anchor_of)(index - 5))
            robot.anchors.add(found[-1])
        told.append((odometry_at if index < 60 else other_odometry_at)(index))
        robot.backend.add_odometry(told[-1])
    order = [joined for one in robot.heard.published for joined in one.inputs]
    anchors, again = RemoteAnchors(), Recorder()
    backend = Backend(BackendConfig(), anchors, lambda: BASE_FROM_CAMERA, again)

    def change_camera(one):
        if one.kind is InputKind.ODOMETRY and one.stamp_ns == stamp_of(60):
            backend.change_camera(one.stamp_ns, lambda: BASE_FROM_OTHER)

    play(RecordedInputs(told, found, [], [], []), order, backend, anchors, change_camera)
    assert len(again.published) == len(robot.heard.published)
    for one, other in zip(again.published, robot.heard.published, strict=True):
        assert (one.pose is None) == (other.pose is None)
        if one.pose is not None:
            assert np.array_equal(one.pose.map_from_base.matrix, other.pose.map_from_base.matrix)
    assert again.published[-1].pose is not None
