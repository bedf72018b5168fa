"""Anchors without odometry, odometry without a map: what there is, and nothing that is not."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.trajectory import NANOSECONDS as SECOND
from visloc_ros.core.types import (
    ACCEPTED,
    AnchorPose,
    LoopClosure,
    OdometryPose,
    OdometryScale,
    Reason,
    Rejection,
    State,
    Support,
    TrackedPose,
)
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.single_source import AnchorsOnly, OdometryOnly

CONFIG = FusionConfig()
MADE_OF_NOTHING = SE3(np.full((3, 3), np.nan), np.zeros(3))


def pose_at(seconds: float) -> SE3:
    """A curve with turns."""
    return SE3.from_rotation_vector(
        [0.1 * seconds, 0.2 * np.sin(seconds), 0.0], [0.4 * seconds, 0.3 * np.sin(seconds), 0.2 * np.cos(seconds)]
    )


def anchor_at(seconds: float, sigma: float = 0.01) -> AnchorPose:
    return AnchorPose(round(seconds * SECOND), pose_at(seconds), sigma**2 * np.eye(6), 100, 150, 0.5)


def odometry_at(seconds: float, scale: float | None = 2.5, segment: int = 0) -> OdometryPose:
    """Odometry in units of ``scale`` metres, or of unknown ones."""
    pose = pose_at(seconds)
    unit = scale or 1.0
    known = None if scale is None else OdometryScale(scale, 0.01)
    camera = SE3(pose.rotation, pose.translation / unit)
    return OdometryPose(round(seconds * SECOND), camera, segment, num_tracked=100, scale=known)


def stamp(seconds: float) -> int:
    return round(seconds * SECOND)


@pytest.fixture
def anchors() -> AnchorsOnly:
    return AnchorsOnly(CONFIG, metric=True)


@pytest.fixture
def odometry() -> OdometryOnly:
    return OdometryOnly(CONFIG, metric=False)


def test_an_anchor_is_the_pose_of_its_image(anchors):
    assert anchors.estimate(stamp(1.0)).reason is Reason.NO_ANCHOR
    for seconds in (1.0, 1.4, 2.1):
        assert anchors.add_anchor(anchor_at(seconds)) is ACCEPTED
        estimate = anchors.estimate(stamp(seconds))
        assert (estimate.state, estimate.reason, estimate.support) == (State.LOCALIZED, None, Support.ANCHOR)
        assert estimate.map_from_camera.is_close(pose_at(seconds))
        assert anchors.raw_map_from_odom.is_close(estimate.map_from_odom)
        assert np.array_equal(estimate.covariance, anchor_at(seconds).covariance)
        assert estimate.metric
    assert anchors.counts == {"ACCEPTED": 3}


def test_between_anchors_there_is_no_pose(anchors):
    anchors.add_anchor(anchor_at(1.0))
    lost_s = CONFIG.state.lost_without_pose_s
    for after_s, state in ((0.1, State.DEGRADED), (lost_s, State.DEGRADED), (lost_s + 0.1, State.LOST)):
        estimate = anchors.estimate(stamp(1.0 + after_s))
        assert (estimate.state, estimate.reason) == (state, Reason.STALE)
        assert (estimate.map_from_camera, estimate.covariance) == (None, None)
        assert estimate.age_ns == stamp(after_s)


def test_a_frame_that_was_not_found_states_why(anchors):
    anchors.add_anchor(Rejection(stamp(0.5), Reason.NO_RETRIEVAL))
    assert anchors.estimate(stamp(0.5)).reason is Reason.NO_RETRIEVAL
    anchors.add_anchor(anchor_at(1.0))
    anchors.add_anchor(Rejection(stamp(1.5), Reason.FEW_INLIERS))
    estimate = anchors.estimate(stamp(1.5))
    assert (estimate.state, estimate.reason) == (State.DEGRADED, Reason.FEW_INLIERS)
    assert anchors.counts == {"ACCEPTED": 1, "FEW_INLIERS": 1, "NO_RETRIEVAL": 1}


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (anchor_at(0.9), Reason.STALE),
        (anchor_at(1.0), Reason.STALE),
        (replace(anchor_at(2.0), map_from_camera=MADE_OF_NOTHING), Reason.BAD_MESSAGE),
        (replace(anchor_at(2.0), covariance=np.full((6, 6), np.nan)), Reason.BAD_MESSAGE),
    ],
)
def test_an_anchor_that_is_none_changes_no_pose(anchors, bad, reason):
    anchors.add_anchor(anchor_at(1.0))
    assert anchors.add_anchor(bad).reason is reason
    assert anchors.estimate(stamp(1.0)).map_from_camera.is_close(pose_at(1.0))


def test_an_uncertain_anchor_is_no_confident_pose(anchors):
    anchors.add_anchor(anchor_at(1.0, sigma=2.0 * CONFIG.state.lost_sigma))
    estimate = anchors.estimate(stamp(1.0))
    assert (estimate.state, estimate.reason) == (State.LOST, Reason.UNCERTAIN)


def test_anchors_are_forgotten_when_asked_and_when_the_clock_jumps_back(anchors):
    anchors.add_anchor(anchor_at(100.0))
    anchors.reset()
    assert anchors.add_anchor(anchor_at(1.0)) is ACCEPTED
    assert anchors.estimate(stamp(1.0)).state is State.LOCALIZED
    anchors.relocalize()
    assert anchors.estimate(stamp(1.0)).state is State.INITIALIZING
    assert anchors.raw_map_from_odom is None


def walk(source: OdometryOnly, begin: float, end: float, **how: object) -> list[SE3]:
    poses = []
    for seconds in np.arange(begin, end, 0.1):
        source.add_odometry(odometry_at(seconds, **how))
        estimate = source.estimate(stamp(seconds))
        assert estimate.map_from_camera is None
        poses.append(estimate.odom_from_camera)
    return poses


def test_odometry_is_in_metres_from_where_it_began(odometry):
    poses = walk(odometry, 0.0, 5.0)
    for index, pose in enumerate(poses):
        assert pose.is_close(pose_at(0.0).inverse @ pose_at(0.1 * index), 1e-9)
    estimate = odometry.estimate(stamp(4.9))
    assert (estimate.state, estimate.reason) == (State.UNINITIALIZED, Reason.NO_MAP)
    assert (estimate.scale, estimate.metric) == (2.5, True)


def test_without_a_scale_there_is_nothing_in_metres(odometry):
    assert walk(odometry, 0.0, 2.0, scale=None) == [None] * 20
    assert odometry.estimate(stamp(1.9)).reason is Reason.SCALE_UNSET
    assert not odometry.estimate(stamp(1.9)).metric
    assert walk(odometry, 2.0, 3.0)[0].is_close(SE3.identity())  # it begins where the scale is first known


def test_another_segment_goes_on_from_the_same_place(odometry):
    last = walk(odometry, 0.0, 2.0)[-1]
    odometry.add_odometry(Rejection(stamp(2.0), Reason.FEW_FEATURES))
    lost = odometry.estimate(stamp(2.0))
    assert (lost.odom_from_camera, lost.reason) == (None, Reason.FEW_FEATURES)
    poses = walk(odometry, 2.5, 4.0, scale=0.3, segment=1)
    assert poses[0].is_close(last, 1e-9)
    assert poses[-1].is_close(last @ pose_at(2.5).inverse @ pose_at(3.9), 1e-9)


def test_a_segment_of_unknown_scale_is_left_out(odometry):
    walk(odometry, 0.0, 2.0)
    assert walk(odometry, 2.0, 3.0, scale=None, segment=1) == [None] * 10


def test_anchors_alone_take_no_other_source(anchors):
    tracked = TrackedPose(stamp(1.5), pose_at(1.5), np.eye(6), stamp(1.0), np.eye(6), 90, 100, 0.5)
    anchors.add_odometry(odometry_at(1.0))
    assert anchors.add_tracked(tracked).reason is Reason.NO_ODOMETRY
    assert anchors.tracked_counts == {"NO_ODOMETRY": 1}
    assert anchors.estimate(stamp(1.0)).map_from_camera is None


def test_odometry_alone_takes_nothing_that_needs_a_map(odometry):
    walk(odometry, 0.0, 2.0)
    tracked = TrackedPose(stamp(1.5), pose_at(1.5), np.eye(6), stamp(1.0), np.eye(6), 90, 100, 0.5)
    loop = LoopClosure(stamp(0.5), stamp(1.5), Sim3.from_se3(pose_at(0.1)), np.eye(7))
    refused = [odometry.add_anchor(anchor_at(1.0)), odometry.add_tracked(tracked), odometry.add_loop(loop)]
    assert {one.reason for one in refused} == {Reason.NO_MAP}
    assert odometry.estimate(stamp(1.9)).map_from_odom is None
    assert odometry.predict(stamp(1.9)) is None
