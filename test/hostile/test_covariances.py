"""Covariances that no measurement has, at every place where one comes in or is made: a refusal with its reason."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from attacked_robot import (
    COVARIANCE,
    GOOD,
    ROOM,
    Robot,
    anchor_pose,
    map_from_camera,
    odometry_at,
    stamp_of,
    tracked_at,
)
from geometry_msgs.msg import PoseWithCovarianceStamped
from rig_world import RigInRoom, Room
from sensor_msgs.msg import Imu, NavSatFix
from synthetic_map import EXACT, World

from visloc_ros.core.camera import project, rays
from visloc_ros.core.errors import ConfigError, SourceError
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.plausibility import covariance_fault
from visloc_ros.core.result_mapping import result_from_mapping, result_to_mapping
from visloc_ros.core.types import Anchor, Frame, LoopClosure, OdometryScale, Reason, Rejection, State
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.last_pose import FILE_NAME, LastPose, read_last_pose, write_last_pose
from visloc_ros.fusion.single_source import AnchorsOnly
from visloc_ros.localization.config import PoseConfig
from visloc_ros.localization.map_uncertainty import MapUncertainty
from visloc_ros.localization.pose import judge_pose
from visloc_ros.localization.rig import RigImage, RigPose
from visloc_ros.localization.rig.solving import solve_rig_pose
from visloc_ros.localization.rig.view import RigView
from visloc_ros.localization.rough_pose import RoughPose
from visloc_ros.localization.uncertainty import inverse_hessian, projection_jacobian
from visloc_ros.map_tracking import MapTracker
from visloc_ros.nodes import conversions
from visloc_ros.odometry.aided import AidedOdometry, ImuConfig
from visloc_ros.odometry.gyroscope import Gyroscope
from visloc_ros.odometry.wheel_scale import WheelConfig
from visloc_ros.pipeline.backend import BasePrior
from visloc_ros.sources import ros_messages
from visloc_ros.sources.ros_messages import MessageError
from visloc_ros.tracking.pixels import pixels_per_ray
from visloc_ros.tracking.robust_pose import SeenPoints, fit_pose


def changed(*entries):
    covariance = COVARIANCE.copy()
    for row, column, value in entries:
        covariance[row, column] = value
    return covariance


ALONG = np.array([1e-2, 2e-2, 1e-2, 1e-3, 3e-3, 1e-3])
NOT_SYMMETRIC, NEGATIVE = changed((0, 4, 2e-5)), changed((0, 1, 2e-4), (1, 0, 2e-4))
HOSTILE = {
    "NaN": changed((2, 2, np.nan)),
    "infinite": changed((0, 0, np.inf)),
    "zero": np.zeros((6, 6)),
    "without variance along an axis": np.diag([1e-4, 1e-4, 0.0, 1e-5, 1e-5, 1e-5]),
    "with a negative variance": changed((3, 3, -1e-5)),
    "with a negative eigenvalue": NEGATIVE,
    "certain but along one direction": np.outer(ALONG, ALONG),
    "not symmetric": NOT_SYMMETRIC,
    "tiny": 1e-30 * np.eye(6),
    "huge": 1e30 * np.eye(6),
}
IMPOSSIBLE = ("NaN", "infinite", "with a negative variance", "with a negative eigenvalue", "not symmetric", "huge")
"""Those that cannot be a part of a covariance either."""
UNSAID = ("zero", "without variance along an axis")
"""Those that RViz sends of what it does not know."""


@pytest.fixture(params=HOSTILE)
def hostile(request):
    return HOSTILE[request.param]


@pytest.fixture(params=IMPOSSIBLE)
def impossible(request):
    return HOSTILE[request.param]


@pytest.fixture(scope="module")
def robot():
    robot = Robot()
    robot.go_on(GOOD)
    return robot


@pytest.fixture(scope="module")
def world():
    return World()


@pytest.fixture(scope="module")
def rig():
    return RigInRoom(Room())


def test_a_measured_covariance_is_one_and_a_part_of_it_may_be_zero():
    far = np.diag([1e12, 1.0, 1e-12, 1e-4, 1e-13, 1e6])
    for covariance in (COVARIANCE, far, COVARIANCE + np.outer(ALONG, ALONG)):
        assert covariance_fault(covariance) is None
        assert covariance_fault(covariance, is_part=True) is None
    for part in (np.zeros((6, 6)), np.outer(ALONG, ALONG), 1e-30 * np.eye(6)):
        assert covariance_fault(part, is_part=True) is None
    assert covariance_fault(np.eye(7), size=7) is None


@pytest.mark.parametrize("shape", [(36,), (3, 3), (7, 7), (6, 5), ()])
def test_a_covariance_of_another_shape_is_none(shape):
    assert "shape" in covariance_fault(np.ones(shape))


def test_each_covariance_that_cannot_be_is_named(hostile):
    assert covariance_fault(hostile)


def test_nor_is_an_impossible_one_a_part(impossible):
    assert covariance_fault(impossible, is_part=True)


def spoilt(good, hostile):
    """Anchors with this covariance, or with one whose part it cannot be."""
    yield replace(good, covariance=hostile)
    if covariance_fault(hostile, is_part=True) is not None:
        yield replace(good, map_covariance=hostile)
    yield replace(good, map_covariance=-1e-3 * COVARIANCE)


def is_as_before(robot):
    """Whether the back end goes on, and has not started again."""
    robot.go_on(1)
    last = robot.published[-1]
    near = last.pose.map_from_base.is_close(map_from_camera(robot.index), 0.05, 1.0)
    return last.estimate.state is State.LOCALIZED and near and robot.backend.estimator.failures == 0


def test_an_anchor_is_refused_by_the_fusion(robot, hostile):
    good = anchor_pose(robot.index)
    nothing_left, of_other_shape = (replace(good, map_covariance=one) for one in (COVARIANCE, np.eye(3)))
    for bad in (*spoilt(good, hostile), nothing_left, of_other_shape):
        assert robot.backend.estimator.add_anchor(bad).reason is Reason.BAD_MESSAGE
        assert AnchorsOnly(FusionConfig(), True).add_anchor(bad).reason is Reason.BAD_MESSAGE
    assert is_as_before(robot)


def test_a_tracked_pose_is_refused_by_the_fusion(robot, hostile):
    good = tracked_at(robot.index, (robot.index // 5) * 5 - 5)
    for field in ("covariance", "covariance_since_anchor"):
        verdict = robot.backend.add_tracked(replace(good, **{field: hostile}))
        assert verdict.reason is Reason.BAD_MESSAGE
    assert is_as_before(robot)


def test_a_loop_and_a_prior_are_refused_by_the_fusion(robot, hostile):
    wide = np.eye(7)
    wide[:6, :6] = hostile
    step = odometry_at(robot.index - 20).odom_from_camera.inverse @ odometry_at(robot.index).odom_from_camera
    loop = LoopClosure(stamp_of(robot.index - 20), stamp_of(robot.index), Sim3.from_se3(step, 1.0), wide)
    assert robot.backend.add_loop(loop).reason is Reason.BAD_MESSAGE
    assert not robot.backend.add_prior(BasePrior("somebody", map_from_camera(robot.index), hostile))
    assert is_as_before(robot)


def test_odometry_is_refused_by_the_fusion_and_where_it_is_made(hostile):
    robot = Robot()
    robot.go_on(GOOD)
    robot.go_on(1, lambda pose: replace(pose, covariance=hostile))
    assert robot.published[-1].estimate.reason is Reason.BAD_MESSAGE
    assert is_as_before(robot)
    visual = SimpleNamespace(track=lambda frame: replace(odometry_at(0), covariance=hostile))
    odometry = AidedOdometry(visual, Gyroscope(), ImuConfig(), WheelConfig())
    assert odometry.track(None).reason is Reason.UNCERTAIN


@pytest.mark.parametrize("log_sigma", [0.0, -1.0, np.nan, np.inf, 1e-30, 1e30])
def test_a_scale_without_a_standard_deviation_is_refused(log_sigma):
    robot = Robot()
    robot.go_on(GOOD)
    robot.go_on(1, lambda pose: replace(pose, scale=OdometryScale(2.5, log_sigma)))
    assert robot.published[-1].estimate.reason is Reason.BAD_MESSAGE
    message = conversions.odometry_status_to_msg(replace(odometry_at(0), scale=OdometryScale(2.5, log_sigma)), "camera")
    with pytest.raises(MessageError, match="scale"):
        ros_messages.odometry_from_status_msg(message)


def test_the_points_of_an_anchor_are_not_followed(world, hostile):
    tracker, camera = MapTracker(world.map), world.camera
    tracker.keep(Frame(1, np.zeros((camera.height, camera.width), np.uint8), camera))
    good = replace(anchor_pose(0), stamp_ns=1, map_from_camera=world.map.images[0].map_from_camera)
    for bad in spoilt(good, hostile):
        tracker.restart(bad)
    assert tracker.anchor_ns is None
    tracker.restart(good)
    assert tracker.anchor_ns == 1


def test_a_camera_of_a_rig_that_moved_nobody_knows_how_far_is_left_out(rig, impossible):
    images = rig.images(SE3.identity())
    late = RigImage(replace(images["left"].frame, stamp_ns=1), SE3.identity(), impossible)
    answer = rig.rig_engine.localize(1_000, images | {"left": late})
    assert isinstance(answer, RigPose)
    assert answer.left_out["left"].reason is Reason.UNCERTAIN


def test_a_map_of_impossible_errors_gives_no_pose_to_a_camera_or_a_rig(rig, impossible, monkeypatch):
    images = rig.images(SE3.identity())
    monkeypatch.setattr(MapUncertainty, "of_pose", lambda *_: impossible)
    with np.errstate(invalid="ignore"):
        for answer in (rig.engine.localize(images["front"].frame), rig.rig_engine.localize(1_000, images)):
            assert isinstance(answer, Rejection)
            assert answer.reason is Reason.UNCERTAIN
    monkeypatch.undo()
    assert not replace(EXACT, image_covariance=impossible.tolist()).is_sound


def test_messages_are_refused(hostile):
    tracked, wide = tracked_at(10, 5), np.eye(7)
    wide[:6, :6] = hostile
    loop = LoopClosure(stamp_of(1), stamp_of(2), Sim3.identity(), wide)
    anchors = [conversions.anchor_to_msg(Anchor(one, ROOM), "m", "c") for one in spoilt(anchor_pose(5), hostile)]
    poses = [replace(tracked, **{field: hostile}) for field in ("covariance", "covariance_since_anchor")]
    refused = [
        *((ros_messages.anchor_from_msg, message) for message in anchors),
        *((ros_messages.tracked_pose_from_msg, conversions.tracked_pose_to_msg(pose, "m", "c")) for pose in poses),
        (ros_messages.loop_closure_from_msg, conversions.loop_closure_to_msg(loop, "c")),
    ]
    status = conversions.odometry_status_to_msg(replace(odometry_at(0), covariance=hostile), "c")
    if hostile.any():
        refused.append((ros_messages.odometry_from_status_msg, status))
    else:  # odometry that reports none
        assert ros_messages.odometry_from_status_msg(status).covariance is None
    for from_msg, message in refused:
        with pytest.raises(MessageError, match="covariance"):
            from_msg(message)


@pytest.mark.parametrize("name", [name for name in HOSTILE if name not in UNSAID])
def test_an_initial_pose_is_refused(name):
    message = PoseWithCovarianceStamped()
    message.pose = conversions.pose_with_covariance_to_msg(SE3.identity(), HOSTILE[name])
    with pytest.raises(MessageError, match="covariance"):
        ros_messages.prior_from_msg(message)


@pytest.mark.parametrize("name", UNSAID)
def test_an_initial_pose_may_leave_variances_unsaid(name):
    message = PoseWithCovarianceStamped()
    message.pose = conversions.pose_with_covariance_to_msg(SE3.identity(), HOSTILE[name])
    assert covariance_fault(ros_messages.prior_from_msg(message)[1]) is None


def test_an_answer_over_http_is_none(hostile):
    for bad in spoilt(anchor_pose(5), hostile):
        with pytest.raises(ValueError, match="covariance"):
            result_from_mapping(result_to_mapping(bad), 1)


@pytest.mark.parametrize("sigma", [0.0, -1.0, np.nan, np.inf, 1e-30, 1e30])
def test_a_hint_is_refused(sigma):
    for hint in (
        RoughPose(position=(1.0, 2.0), position_sigma=sigma),
        RoughPose(heading_deg=90.0, heading_sigma_deg=sigma),
        RoughPose(gps=(55.0, 13.0), position_sigma=sigma),
    ):
        with pytest.raises(ConfigError):
            hint.in_map(ROOM)


def test_a_saved_pose_is_refused(tmp_path, hostile):
    write_last_pose(tmp_path, LastPose("room", 1, SE3.identity(), COVARIANCE))
    file = tmp_path / FILE_NAME
    file.write_text(json.dumps(json.loads(file.read_text()) | {"covariance": hostile.ravel().tolist()}))
    with pytest.raises(SourceError, match="delete it"):
        read_last_pose(tmp_path)


@pytest.mark.parametrize("variance", [np.nan, np.inf, -1e-4, 1e-30, 1e30])
def test_a_position_on_the_earth_and_a_heading_are_refused(variance):
    fix, compass = NavSatFix(position_covariance_type=NavSatFix.COVARIANCE_TYPE_KNOWN), Imu()
    fix.position_covariance[[0, 4]] = 1.0, variance
    compass.orientation_covariance[8] = variance
    for from_msg, message in ((conversions.position_from_msg, fix), (conversions.heading_from_msg, compass)):
        with pytest.raises(MessageError, match="invalid"):
            from_msg(message)


def test_covariances_of_wheels_and_of_an_imu_decide_nothing_but_what_is_measured(hostile):
    plain, spoilt = Imu(), Imu()
    for message in (plain, spoilt):
        message.angular_velocity.x = message.linear_acceleration.z = 1.0
    spoilt.angular_velocity_covariance[:] = hostile[:3, :3].ravel()
    spoilt.linear_acceleration_covariance[:] = hostile[3:, 3:].ravel()
    for one, other in zip(conversions.imu_from_msg(plain), conversions.imu_from_msg(spoilt), strict=True):
        assert np.array_equal(one, other)


def exceeds(covariance, least):
    """Whether a covariance is along no direction less than another one."""
    sigmas = np.sqrt(np.diag(least))
    return np.linalg.eigvalsh((covariance - least) / np.outer(sigmas, sigmas))[0] > -1e-6


def test_perfect_pixels_leave_the_error_that_keypoints_are_stated_to_have(world):
    pose, camera, config = world.map.images[2].map_from_camera, world.camera, PoseConfig()
    pixels, points = seen_by(world, pose)
    least = config.min_sigma_px**2 * inverse_hessian(projection_jacobian(pose, points, camera))
    of_camera = judge_pose(pose, pixels, points, camera, config)
    of_rig = solve_rig_pose([RigView("front", SE3.identity(), camera, pixels, points)], config, [pose])
    for solution in (of_camera, of_rig):
        assert exceeds(solution.covariance, least)
        assert covariance_fault(solution.covariance - solution.shared_covariance) is None


def test_perfect_points_leave_the_error_that_followed_ones_are_stated_to_have(world):
    pose, camera = world.map.images[2].map_from_camera, world.camera
    pixels, points = seen_by(world, pose)
    seen = rays(camera, pixels)
    fit = fit_pose(pose.inverse, SeenPoints(points, seen, pixels_per_ray(camera, seen), 0.5), 3.0)
    by_pixels = inverse_hessian(projection_jacobian(pose, points, camera))
    assert exceeds(fit.covariance, 0.5 * 0.5**2 * by_pixels)


@pytest.mark.parametrize("sigma", [1e-2, 1.1e-7])
def test_perfect_anchors_leave_the_error_that_a_map_is_stated_to_have(sigma):
    robot, noise = Robot(), FusionConfig().anchor_noise
    for index in range(2 * GOOD):
        robot.index = index
        if index >= 5 and index % 5 == 0:
            robot.send_anchor(replace(anchor_pose(index - 5), covariance=sigma**2 * np.eye(6)))
        robot.backend.add_odometry(odometry_at(index))
    floor = np.diag(np.repeat([noise.position_floor**2, np.deg2rad(noise.rotation_floor_deg) ** 2], 3))
    assert robot.published[-1].estimate.state is State.LOCALIZED
    assert exceeds(robot.published[-1].estimate.covariance, floor)


def seen_by(world, pose):
    pixels = project(world.camera, pose.inverse @ world.points)
    inside = ((pixels > 0) & (pixels < [world.camera.width, world.camera.height])).all(axis=1)
    return pixels[inside], world.points[inside]
