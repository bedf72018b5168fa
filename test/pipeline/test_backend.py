"""The back end by itself, from exact measurements: what it decides, and that its order is all there is to know."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import (
    ACCEPTED,
    Anchor,
    AnchorPose,
    MapIdentity,
    OdometryPose,
    Reason,
    Rejection,
    State,
)
from visloc_ros.pipeline import Backend, BackendConfig, BackendListener
from visloc_ros.pipeline.anchors import RemoteAnchors
from visloc_ros.pipeline.backend import BasePrior
from visloc_ros.pipeline.inputs import InputKind

BASE_FROM_CAMERA = SE3.from_rotation_vector([0.2, -1.2, 0.4], [0.3, 0.1, 0.5])
MAP_FROM_ODOM = Sim3.from_se3(SE3.from_rotation_vector([0.1, 0.2, 1.5], [4.0, -2.0, 1.0]), scale=2.5)
ROOM = MapIdentity("room", metric=True)
HALL = MapIdentity("hall", metric=False)
BEGIN_NS, FRAME_NS = 10**15, NANOSECONDS // 20


def stamp_of(index: int) -> int:
    return BEGIN_NS + index * FRAME_NS


def odometry_at(index: int) -> OdometryPose:
    t = 0.05 * index
    pose = SE3.from_rotation_vector([0.1 * t, 0.2 * np.sin(t), 0.0], [0.4 * t, 0.3 * np.sin(t), 0.2 * np.cos(0.7 * t)])
    return OdometryPose(stamp_of(index), pose, 0, num_tracked=100)


def map_from_camera(index: int) -> SE3:
    return MAP_FROM_ODOM.apply_to_pose(odometry_at(index).odom_from_camera)


def anchor_of(index: int, identity: MapIdentity = ROOM) -> Anchor:
    covariance = np.diag([1e-4] * 3 + [1e-5] * 3)
    return Anchor(
        AnchorPose(stamp_of(index), map_from_camera(index), covariance, 100, 150, 0.5, probability=0.999), identity
    )


class Recorder(BackendListener):
    def __init__(self, backend=None):
        self.published, self.verdicts, self.jumps, self.priors, self.maps = [], [], 0, [], []

    def on_published(self, published):
        self.published.append(published)

    @property
    def inputs(self):
        return [tuple(joined.kind for joined in one.inputs) for one in self.published]

    def on_anchor(self, anchor, verdict):
        self.verdicts.append(verdict)

    def on_clock_jump(self):
        self.jumps += 1

    def on_map(self, identity, since_ns):
        self.maps.append((identity, since_ns))

    def prior_of_map(self, identity):
        self.priors.append(identity)
        return


class Robot:
    """A back end with what goes into it and comes out of it."""

    def __init__(self, mount=lambda: BASE_FROM_CAMERA, **options):
        self.anchors, self.heard = RemoteAnchors(), Recorder()
        self.backend = Backend(BackendConfig(**options), self.anchors, mount, self.heard)

    def run(self, frames, anchors=(0, 20, 40)):
        for index in frames:
            if index - 5 in anchors:
                self.anchors.add(anchor_of(index - 5))
            self.backend.add_odometry(odometry_at(index))
        return self.heard.published[-1]


def test_exact_measurements_give_the_exact_pose_of_the_base():
    last = Robot().run(range(60))
    assert last.estimate.state is State.LOCALIZED
    assert last.pose.map_from_base.is_close(map_from_camera(59) @ BASE_FROM_CAMERA.inverse, 1e-6, 1e-4)
    assert (last.map_from_odom @ last.odom_from_base).is_close(last.pose.map_from_base)


BASE_FROM_OTHER = SE3.from_rotation_vector([0.2, 0.3, 1.0], [-0.2, 0.4, 0.5])
OTHER_UNIT = 0.4  # of the other camera's odometry, in units of the first one's


def other_odometry_at(index: int) -> OdometryPose:
    """That of the other camera, which begins at its own place, with its own scale."""
    begin, now = (map_from_camera(i) @ BASE_FROM_CAMERA.inverse @ BASE_FROM_OTHER for i in (60, index))
    step = begin.inverse @ now
    pose = SE3(step.rotation, step.translation / (MAP_FROM_ODOM.scale * OTHER_UNIT))
    return OdometryPose(stamp_of(index), pose, 1, num_tracked=100)


def other_anchor_of(index: int) -> Anchor:
    anchor = anchor_of(index)
    pose = map_from_camera(index) @ BASE_FROM_CAMERA.inverse @ BASE_FROM_OTHER
    return replace(anchor, result=replace(anchor.result, map_from_camera=pose))


def test_another_camera_on_the_body_goes_on_where_the_first_one_ended():
    robot = Robot()
    before = robot.run(range(60))
    robot.backend.change_camera(stamp_of(60), lambda: BASE_FROM_OTHER)
    for index in range(60, 120):
        if index in (65, 85, 105):
            robot.anchors.add(other_anchor_of(index - 5))
        robot.backend.add_odometry(other_odometry_at(index))
        if index == 60:
            expected = robot.backend.expected()
            there = map_from_camera(59) @ BASE_FROM_CAMERA.inverse @ BASE_FROM_OTHER
            assert expected.map_from_camera.is_close(there, 1e-3, 0.1)  # the search begins at the last pose
    after = robot.heard.published[-1]
    assert after.estimate.state is State.LOCALIZED
    assert after.pose.map_from_base.is_close(map_from_camera(119) @ BASE_FROM_CAMERA.inverse, 1e-3, 0.1)
    assert after.estimate.scale == pytest.approx(MAP_FROM_ODOM.scale * OTHER_UNIT, rel=1e-2)
    # odom -> base goes on from its last value: it stands while odometry has no scale.
    later = next(one for one in robot.heard.published[60:] if one.odom_from_base is not None)
    assert np.linalg.norm(later.odom_from_base.translation - before.odom_from_base.translation) < 0.1


def test_a_camera_whose_place_is_not_known_gives_no_pose():
    robot = Robot()
    robot.run(range(60))
    robot.backend.change_camera(stamp_of(60), lambda: None)
    robot.backend.add_odometry(other_odometry_at(60))
    last = robot.heard.published[-1].estimate
    assert (last.state, last.reason) == (State.INITIALIZING, Reason.NO_TRANSFORM)
    assert robot.heard.published[-1].pose is None


def test_an_anchor_joins_after_the_pose_of_the_frame_that_it_came_before():
    robot = Robot()
    robot.anchors.add(anchor_of(0))
    robot.backend.add_odometry(odometry_at(0))
    robot.backend.add_odometry(odometry_at(1))
    assert robot.heard.inputs == [(InputKind.ODOMETRY,), (InputKind.ANCHOR, InputKind.ODOMETRY)]


def test_the_order_of_what_was_joined_is_reported():
    robot = Robot()
    for index in range(3):
        robot.backend.add_odometry(odometry_at(index))
    robot.backend.add_tracked(Rejection(stamp_of(2), Reason.FEW_MATCHES))
    robot.backend.relocalize()
    robot.backend.add_prior(BasePrior("somebody", SE3.identity(), np.eye(6)))
    robot.backend.report_silence(stamp_of(30))
    joined = (InputKind.TRACKED_POSE, InputKind.RELOCALIZE, InputKind.POSE_PRIOR, InputKind.SILENCE)
    assert robot.heard.inputs == [(InputKind.ODOMETRY,)] * 3 + [joined]


def test_frames_out_of_order_are_left_out_and_a_clock_that_jumps_back_begins_again():
    robot = Robot()
    robot.run(range(60))
    count = len(robot.heard.published)
    assert robot.backend.add_odometry(odometry_at(59)) is None
    assert len(robot.heard.published) == count
    assert robot.backend.refused == {"unordered": 1}
    assert robot.backend.add_odometry(odometry_at(0)).state is State.INITIALIZING
    assert robot.heard.jumps == 1


def test_a_frame_that_there_was_no_time_for_gets_the_pose_carried_on_and_changes_nothing_after_it():
    robot, other = Robot(), Robot()
    robot.run(range(60))
    other.run(range(60))
    skipped = robot.backend.add_odometry(Rejection(stamp_of(60), Reason.OVERLOADED))
    assert (skipped.state, skipped.reason) == (State.LOCALIZED, Reason.OVERLOADED)
    assert skipped.map_from_camera.is_close(map_from_camera(60), 1e-2, 0.5)
    before, published = robot.heard.published[-2:]
    assert published.estimate is skipped
    assert published.stamp_ns == stamp_of(60)
    assert np.all(np.diag(published.pose.covariance) > np.diag(before.pose.covariance))
    for one in (robot, other):
        one.backend.add_odometry(odometry_at(61))
    last, alone = robot.heard.published[-1], other.heard.published[-1]
    assert last.pose.map_from_base.is_close(alone.pose.map_from_base, 1e-9, 1e-7)
    assert np.allclose(last.pose.covariance, alone.pose.covariance)


def test_a_frame_that_there_was_no_time_for_has_no_pose_where_none_can_be_carried_on():
    robot = Robot()
    estimate = robot.backend.add_odometry(Rejection(stamp_of(0), Reason.OVERLOADED))
    assert (estimate.map_from_camera, estimate.reason) == (None, Reason.OVERLOADED)


@pytest.mark.parametrize("forgets", ["relocalize", "other map"])
def test_a_pose_that_was_forgotten_is_not_carried_on(forgets):
    robot = Robot()
    robot.run(range(60))
    if forgets == "relocalize":
        robot.backend.relocalize()
    else:
        robot.backend.use_map(HALL)
    estimate = robot.backend.add_odometry(Rejection(stamp_of(60), Reason.OVERLOADED))
    assert (estimate.state, estimate.map_from_camera) == (State.INITIALIZING, None)


def test_without_the_cameras_place_on_the_base_there_is_a_reason_and_nothing_else():
    robot = Robot(mount=lambda: None)
    last = robot.run(range(60))
    assert (last.estimate.state, last.estimate.reason) == (State.INITIALIZING, Reason.NO_TRANSFORM)
    assert (last.odom_from_base, last.map_from_odom, last.pose) == (None, None, None)


def test_silence_is_a_loss_and_the_first_frame_after_it_ends_it():
    robot = Robot(silence_s=1.0)
    robot.run(range(60))
    for seconds in (0.0, 0.9, 1.5, 4.0):
        robot.backend.watch(round(seconds * NANOSECONDS))
    told = [one.estimate for one in robot.heard.published[60:]]
    assert [(one.state, one.reason) for one in told] == [
        (State.DEGRADED, Reason.NO_ODOMETRY),
        (State.LOST, Reason.NO_ODOMETRY),
    ]
    assert told[-1].stamp_ns == stamp_of(59) + 4 * NANOSECONDS


def test_nothing_is_reported_of_silence_before_the_first_frame():
    robot = Robot()
    robot.backend.watch(10 * NANOSECONDS)
    assert robot.heard.published == []


def test_anchors_alone_are_published_as_they_come():
    robot = Robot(mode="hloc")
    robot.anchors.add(anchor_of(3))
    robot.backend.join_anchors()
    (one,) = robot.heard.published
    assert one.pose.map_from_base.is_close(map_from_camera(3) @ BASE_FROM_CAMERA.inverse)
    assert one.estimate.stamp_ns == stamp_of(3)
    assert one.odom is None


@pytest.mark.parametrize("is_mounted", [True, False])
def test_a_prior_waits_until_the_cameras_place_is_known(is_mounted):
    robot = Robot(mount=lambda: BASE_FROM_CAMERA if is_mounted else None)
    robot.backend.add_prior(BasePrior("somebody", SE3.identity(), 0.01 * np.eye(6)))
    robot.backend.add_odometry(odometry_at(0))
    predicted = robot.backend.predict(stamp_of(0))
    assert predicted.is_close(BASE_FROM_CAMERA) if is_mounted else predicted is None


def test_an_anchor_that_is_delivered_twice_counts_once():
    once, twice = Robot(), Robot()
    for robot, times in ((once, 1), (twice, 2)):
        for index in range(60):
            if index in (5, 25, 45):
                for _ in range(times):
                    robot.anchors.add(anchor_of(index - 5))
            robot.backend.add_odometry(odometry_at(index))
    assert once.backend.estimator.counts == twice.backend.estimator.counts == {"ACCEPTED": 3}
    assert twice.backend.refused == {"repeated anchor": 3}
    (one, other) = (robot.heard.published[-1] for robot in (once, twice))
    np.testing.assert_array_equal(one.pose.covariance, other.pose.covariance)


def test_an_anchor_of_an_image_that_is_frozen_is_rejected():
    robot = Robot()
    robot.run(range(60))
    robot.backend.add_odometry(Rejection(stamp_of(60), Reason.FROZEN))
    robot.anchors.add(anchor_of(60))
    robot.anchors.add(anchor_of(59))
    robot.backend.add_odometry(odometry_at(61))
    frozen, sound = robot.heard.verdicts[-2:]
    assert frozen.reason is Reason.FROZEN
    assert sound is ACCEPTED
    accepted = [anchor.result.stamp_ns for anchor in robot.backend.take_accepted()]
    assert stamp_of(59) in accepted
    assert stamp_of(60) not in accepted


def test_anchors_alone_are_taken_again_when_a_bag_is_played_again():
    robot = Robot(mode="hloc")
    for index in (10, 50, 10, 50):
        robot.anchors.add(anchor_of(index))
        robot.backend.join_anchors()
    assert [one.estimate.stamp_ns for one in robot.heard.published] == [stamp_of(index) for index in (10, 50, 10, 50)]
    assert [one.estimate.state for one in robot.heard.published] == [State.LOCALIZED] * 4
    assert robot.heard.jumps == 1


def test_an_anchor_of_before_a_clock_jump_does_not_meet_odometry_of_after_it():
    """Its search ends when the clock has jumped; later another image has its stamp."""
    robot = Robot()
    robot.run(range(60))
    robot.backend.add_odometry(odometry_at(0))
    elsewhere = anchor_of(55)
    moved = SE3(elsewhere.result.map_from_camera.rotation, elsewhere.result.map_from_camera.translation + 3.0)
    robot.anchors.add(replace(elsewhere, result=replace(elsewhere.result, map_from_camera=moved)))
    heard = len(robot.heard.verdicts)
    for index in range(1, 60):
        robot.backend.add_odometry(odometry_at(index))
    assert len(robot.heard.verdicts) == heard
    assert robot.backend.refused["anchor from before the clock jumped"] == 1
    robot.anchors.add(anchor_of(58))
    robot.backend.add_odometry(odometry_at(60))
    assert len(robot.heard.verdicts) == heard + 1


def test_accepted_anchors_are_given_once():
    robot = Robot()
    robot.run(range(60))
    stamps = [anchor.result.stamp_ns for anchor in robot.backend.take_accepted()]
    assert stamps == [stamp_of(0), stamp_of(20), stamp_of(40)]
    assert robot.backend.take_accepted() == ()
