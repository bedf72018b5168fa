from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import Pose, PoseStamped, Vector3
from sensor_msgs.msg import Image, Imu

from visloc_ros.core.camera import camera_from_calibration
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import (
    Anchor,
    AnchorPose,
    MapIdentity,
    OdometryPose,
    OdometryScale,
    Reason,
    Rejection,
    State,
    Support,
)
from visloc_ros.fusion.innovation import TRACKED, Innovation
from visloc_ros.nodes import conversions
from visloc_ros.sources import ros_messages

STAMP_NS = 1_700_000_000_123_456_789
POSE = SE3.from_rotation_vector([0.3, -0.2, 2.9], [1.0, -2.0, 3.0])
ROOM = MapIdentity("room", metric=True, gravity_aligned=True)


def test_stamps_keep_every_nanosecond():
    assert ros_messages.stamp_from_msg(conversions.stamp_to_msg(STAMP_NS)) == STAMP_NS


def test_quaternions_are_x_y_z_w_in_messages():
    quarter_turn_about_z = SE3.from_rotation_vector([0, 0, np.pi / 2], [0, 0, 0])
    orientation = conversions.pose_to_msg(quarter_turn_about_z).orientation
    assert (orientation.z, orientation.w) == pytest.approx((np.sqrt(0.5), np.sqrt(0.5)))


def test_poses_and_transforms_round_trip():
    assert ros_messages.pose_from_msg(conversions.pose_to_msg(POSE)).is_close(POSE, 1e-12, 1e-6)
    message = conversions.transform_to_msg(STAMP_NS, "map", "odom", POSE)
    assert (message.header.frame_id, message.child_frame_id) == ("map", "odom")
    assert ros_messages.transform_from_msg(message.transform).is_close(POSE, 1e-12, 1e-6)


def test_impossible_poses_are_refused():
    message = Pose()
    message.orientation.w = 0.0
    with pytest.raises(ros_messages.MessageError, match="norm 0"):
        ros_messages.pose_from_msg(message)
    message.orientation.w, message.position.x = 1.0, float("nan")
    with pytest.raises(ros_messages.MessageError, match="finite"):
        ros_messages.pose_from_msg(message)


def test_visual_odometry_carries_its_segment_in_the_frame_id():
    covariance = np.diag(np.arange(1.0, 7.0)) + 0.1
    message = conversions.visual_odometry_to_msg(OdometryPose(STAMP_NS, POSE, 7, 100, covariance=covariance), "camera")
    assert (message.header.frame_id, message.child_frame_id) == ("visual_odom/7", "camera")
    assert ros_messages.pose_from_msg(message.pose.pose).is_close(POSE, 1e-12, 1e-6)
    np.testing.assert_array_equal(message.pose.covariance, covariance.reshape(36))


def test_odometry_round_trips_with_all_that_is_known_beside_the_pose():
    plain = OdometryPose(STAMP_NS, POSE, 7, 100, True, {"track": 4.0}, is_recovered=True)
    again = ros_messages.odometry_from_status_msg(conversions.odometry_status_to_msg(plain, "camera"))
    assert again.odom_from_camera.is_close(POSE, 1e-12, 1e-6)
    kept = (
        "stamp_ns",
        "segment",
        "num_tracked",
        "is_keyframe",
        "is_recovered",
        "stage_ms",
        "covariance",
        "scale",
        "up_in_odom",
    )
    assert [getattr(again, name) for name in kept] == [getattr(plain, name) for name in kept]

    covariance, up = np.diag(np.arange(1.0, 7.0)) + 0.1, np.array([0.6, -0.8, 0.0])
    earlier = {STAMP_NS - 2: SE3.identity(), STAMP_NS - 1: POSE}
    full = replace(plain, covariance=covariance, scale=OdometryScale(0.25, 0.5), up_in_odom=up, earlier=earlier)
    again = ros_messages.odometry_from_status_msg(conversions.odometry_status_to_msg(full, "camera"))
    np.testing.assert_array_equal(again.covariance, covariance)
    np.testing.assert_array_equal(again.up_in_odom, up)
    assert again.scale == OdometryScale(0.25, 0.5)
    assert list(again.earlier) == list(earlier)
    assert all(again.earlier[stamp_ns].is_close(one, 1e-12, 1e-6) for stamp_ns, one in earlier.items())

    loss = Rejection(STAMP_NS, Reason.BLURRED, stage_ms={"track": 4.0})
    assert ros_messages.odometry_from_status_msg(conversions.odometry_status_to_msg(loss, "camera")) == loss


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda message: setattr(message.pose.pose.position, "x", np.nan), "finite"),
        (lambda message: message.pose.covariance.__setitem__(0, -1.0), "variance"),
        (lambda message: setattr(message, "metres_per_unit", -1.0), "scale"),
        (lambda message: setattr(message, "scale_log_sigma", np.nan), "scale"),
        (lambda message: setattr(message.up, "y", 2.0), "gravity"),
        (lambda message: setattr(message.up, "x", np.nan), "gravity"),
        (lambda message: message.earlier_poses.append(PoseStamped()), "stamp"),
        (lambda message: message.earlier_poses.extend([PoseStamped()] * 1001), "1001 earlier poses"),
    ],
)
def test_odometry_that_cannot_be_is_refused(spoil, words):
    pose = OdometryPose(STAMP_NS, POSE, 7, 100, scale=OdometryScale(0.25, 0.5), up_in_odom=np.array([0.0, -1.0, 0.0]))
    message = conversions.odometry_status_to_msg(pose, "camera")
    spoil(message)
    with pytest.raises(ros_messages.MessageError, match=words):
        ros_messages.odometry_from_status_msg(message)


def test_an_anchor_round_trips_with_everything_it_rests_on():
    rng = np.random.default_rng(0)
    anchor = AnchorPose(
        STAMP_NS,
        POSE,
        np.diag(rng.uniform(0.1, 1, 6)),
        50,
        80,
        1.25,
        rng.normal(size=(50, 2)),
        rng.normal(size=(50, 3)),
        ("a.jpg", "b.jpg"),
        {"features": 300.0, "pnp": 4.0},
        map_covariance=0.05 * np.eye(6),
        inlier_landmarks=rng.integers(1, 9, 50, np.int32),
    )
    found = ros_messages.anchor_from_msg(conversions.anchor_to_msg(Anchor(anchor, ROOM), "map", "camera"))
    again = found.result
    assert found.map == ROOM
    for origin in (GeoReference(-33.9, 151.2, 20.0), GeoReference(55.7, 13.2)):
        here = replace(ROOM, on_earth=origin)
        message = conversions.anchor_to_msg(Anchor(anchor, here), "map", "camera")
        assert ros_messages.anchor_from_msg(message).map == here
    assert isinstance(again, AnchorPose)
    assert again.map_from_camera.is_close(POSE, 1e-12, 1e-6)
    assert np.allclose(again.covariance, anchor.covariance)
    assert np.allclose(again.map_covariance, anchor.map_covariance)
    assert np.allclose(again.inlier_pixels, anchor.inlier_pixels, atol=1e-5)
    assert np.allclose(again.inlier_points, anchor.inlier_points, atol=1e-5)
    np.testing.assert_array_equal(again.inlier_landmarks, anchor.inlier_landmarks)
    assert (again.num_inliers, again.references, again.stage_ms) == (50, anchor.references, anchor.stage_ms)


def test_an_anchor_whose_pixels_and_points_do_not_belong_together_is_refused():
    anchor = AnchorPose(STAMP_NS, POSE, np.eye(6), 2, 3, 1.0, np.zeros((2, 2)), np.zeros((2, 3)))
    message = conversions.anchor_to_msg(Anchor(anchor, ROOM), "map", "camera")
    message.inlier_pixels = message.inlier_pixels[:3]
    with pytest.raises(ros_messages.MessageError, match="3 coordinates"):
        ros_messages.anchor_from_msg(message)
    message = conversions.anchor_to_msg(Anchor(anchor, ROOM), "map", "camera")
    message.inlier_landmarks = [1]
    with pytest.raises(ros_messages.MessageError, match="1 landmarks belong to 2 points"):
        ros_messages.anchor_from_msg(message)


def test_an_anchor_of_a_map_at_no_place_on_the_earth_is_refused():
    on_earth = replace(ROOM, on_earth=GeoReference(55.7, 13.2))
    message = conversions.anchor_to_msg(Anchor(Rejection(STAMP_NS, Reason.STALE), on_earth), "map", "camera")
    message.origin_latitude = float("nan")
    with pytest.raises(ros_messages.MessageError, match="no place"):
        ros_messages.anchor_from_msg(message)


def test_a_measurement_without_a_stamp_is_refused():
    nothing = Rejection(0, Reason.STALE)
    with pytest.raises(ros_messages.MessageError, match="no stamp"):
        ros_messages.anchor_from_msg(conversions.anchor_to_msg(Anchor(nothing, ROOM), "map", "camera"))
    with pytest.raises(ros_messages.MessageError, match="no stamp"):
        ros_messages.odometry_from_status_msg(conversions.odometry_status_to_msg(nothing, "camera"))


def test_a_rejection_round_trips_and_holds_no_pose():
    rejection = Rejection(STAMP_NS, Reason.FEW_INLIERS, {"inliers": 5, "matches": 40}, {"features": 300.0})
    message = conversions.anchor_to_msg(Anchor(rejection, ROOM), "map", "camera")
    assert not message.accepted
    again = ros_messages.anchor_from_msg(message).result
    assert isinstance(again, Rejection)
    assert (again.reason, again.counts["inliers"]) == (Reason.FEW_INLIERS, 5)
    message.reason = "BECAUSE"
    with pytest.raises(ros_messages.MessageError, match="BECAUSE"):
        ros_messages.anchor_from_msg(message)


def test_an_anchor_with_an_impossible_covariance_is_refused():
    anchor = Anchor(AnchorPose(STAMP_NS, POSE, -np.eye(6), 50, 80, 1.0), ROOM)
    message = conversions.anchor_to_msg(anchor, "map", "camera")
    with pytest.raises(ros_messages.MessageError, match="covariance"):
        ros_messages.anchor_from_msg(message)


def test_camera_info_round_trips():
    camera = camera_from_calibration(
        752, 480, [458.654, 0, 367.215, 0, 457.296, 248.375, 0, 0, 1], "plumb_bob", [-0.283, 0.074, 2e-4, 2e-5]
    )
    again = conversions.camera_from_msg(conversions.camera_to_msg(STAMP_NS, "camera", camera))
    assert again.model == camera.model
    assert np.allclose(again.params, camera.params)


def test_an_empty_camera_info_is_refused():
    message = conversions.camera_to_msg(STAMP_NS, "camera", camera_from_calibration(640, 480, np.diag([500, 500, 1.0])))
    message.k = np.zeros(9)
    with pytest.raises(CalibrationError, match="K is zero"):
        conversions.camera_from_msg(message)


def test_an_image_whose_size_lies_is_refused():
    message = Image(height=4, width=4, encoding="mono8", step=4, data=bytes(15))
    with pytest.raises(SourceError):
        conversions.image_from_msg(message)


def test_a_status_shows_scale_and_up_once_they_are_known():
    plain = OdometryPose(STAMP_NS, POSE, 3, 80, stage_ms={"track": 4.0, "adjust": 8.0})
    status = conversions.odometry_status_to_msg(plain, "camera")
    assert (status.tracked, status.reason, status.latency_ms) == (True, "", 12.0)
    assert (status.metres_per_unit, status.scale_log_sigma, status.up) == (0.0, 0.0, Vector3())
    scaled = replace(plain, scale=OdometryScale(0.25, 0.5), up_in_odom=np.array([0.0, -1.0, 0.0]))
    status = conversions.odometry_status_to_msg(scaled, "camera")
    assert (status.metres_per_unit, status.scale_log_sigma, status.up) == (0.25, 0.5, Vector3(y=-1.0))


def test_a_status_without_a_pose_shows_why():
    status = conversions.odometry_status_to_msg(Rejection(STAMP_NS, Reason.BLURRED), "camera")
    assert (status.tracked, status.reason, status.header.frame_id) == (False, "BLURRED", "camera")


def test_what_an_imu_does_not_measure_is_left_out():
    message = Imu(angular_velocity=Vector3(x=0.1), linear_acceleration=Vector3(z=9.8))
    rate, acceleration = conversions.imu_from_msg(message)
    assert (rate.tolist(), acceleration.tolist()) == ([0.1, 0.0, 0.0], [0.0, 0.0, 9.8])
    message.angular_velocity_covariance[0] = -1.0
    message.linear_acceleration = Vector3()
    assert conversions.imu_from_msg(message) == (None, None)
    message.linear_acceleration.y = float("inf")
    with pytest.raises(ros_messages.MessageError, match="not finite"):
        conversions.imu_from_msg(message)


def test_states_and_supports_round_trip_and_unknown_ones_are_refused():
    for state in State:
        assert conversions.state_from_msg(conversions.state_to_msg(state)) is state
    for support in Support:
        assert conversions.support_from_msg(conversions.support_to_msg(support)) is support
    for read, kind in ((conversions.state_from_msg, "state 200"), (conversions.support_from_msg, "support 200")):
        with pytest.raises(ros_messages.MessageError, match=f"unknown .*{kind}"):
            read(200)


def test_an_innovation_keeps_its_images_stamp_and_its_size():
    error = np.array([0.2, 0.0, 0.0, 0.0, 0.0, 0.1])
    innovation = Innovation(STAMP_NS, TRACKED, error, np.diag([0.01] * 3 + [0.0025] * 3), False)
    message = conversions.innovation_to_msg(innovation, "map")
    assert ros_messages.stamp_from_msg(message.header.stamp) == STAMP_NS
    assert (message.header.frame_id, message.source, message.accepted) == ("map", "tracked", False)
    assert message.squared == pytest.approx(8.0)
    assert message.error.tolist() == error.tolist()


def test_point_clouds_are_written_as_little_endian_floats():
    points = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    message = conversions.points_to_msg(STAMP_NS, "map", points)
    assert message.width == 2
    assert np.array_equal(np.frombuffer(bytes(message.data), "<f4").reshape(-1, 3), points)


def test_a_stamp_after_the_last_one_of_ros_is_the_last_one():
    """An image may claim it; map -> odom is dated ahead of it, and a silence after it."""
    last = conversions.stamp_to_msg(conversions.LAST_STAMP_NS + 10**9)
    assert (last.sec, last.nanosec) == (2**31 - 1, 999_999_999)
