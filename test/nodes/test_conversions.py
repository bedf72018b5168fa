import numpy as np
import pytest

pytest.importorskip("rclpy")

from geometry_msgs.msg import Pose
from sensor_msgs.msg import Image

from visloc_ros.core.camera import camera_from_calibration
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, OdometryPose, Reason, Rejection, State
from visloc_ros.nodes import conversions

STAMP_NS = 1_700_000_000_123_456_789
POSE = SE3.from_rotation_vector([0.3, -0.2, 2.9], [1.0, -2.0, 3.0])


def test_stamps_keep_every_nanosecond():
    assert conversions.stamp_from_msg(conversions.stamp_to_msg(STAMP_NS)) == STAMP_NS


def test_quaternions_are_x_y_z_w_in_messages():
    quarter_turn_about_z = SE3.from_rotation_vector([0, 0, np.pi / 2], [0, 0, 0])
    orientation = conversions.pose_to_msg(quarter_turn_about_z).orientation
    assert (orientation.z, orientation.w) == pytest.approx((np.sqrt(0.5), np.sqrt(0.5)))


def test_poses_and_transforms_round_trip():
    assert conversions.pose_from_msg(conversions.pose_to_msg(POSE)).is_close(POSE, 1e-12, 1e-6)
    message = conversions.transform_to_msg(STAMP_NS, "map", "odom", POSE)
    assert (message.header.frame_id, message.child_frame_id) == ("map", "odom")
    assert conversions.transform_from_msg(message.transform).is_close(POSE, 1e-12, 1e-6)


def test_impossible_poses_are_refused():
    message = Pose()
    message.orientation.w = 0.0
    with pytest.raises(conversions.MessageError, match="norm 0"):
        conversions.pose_from_msg(message)
    message.orientation.w, message.position.x = 1.0, float("nan")
    with pytest.raises(conversions.MessageError, match="finite"):
        conversions.pose_from_msg(message)


def test_odometry_carries_its_segment_in_the_frame_id():
    odometry = OdometryPose(STAMP_NS, POSE, segment=7, num_tracked=100)
    message = conversions.visual_odometry_to_msg(odometry, "camera")
    again = conversions.visual_odometry_from_msg(message)
    assert (again.stamp_ns, again.segment) == (STAMP_NS, 7)
    assert again.odom_from_camera.is_close(POSE, 1e-12, 1e-6)
    message.header.frame_id = "odom"
    with pytest.raises(conversions.MessageError, match="segment"):
        conversions.visual_odometry_from_msg(message)


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
    )
    again = conversions.anchor_from_msg(conversions.anchor_to_msg(anchor, "map", "camera"))
    assert isinstance(again, AnchorPose)
    assert again.map_from_camera.is_close(POSE, 1e-12, 1e-6)
    assert np.allclose(again.covariance, anchor.covariance)
    assert np.allclose(again.inlier_pixels, anchor.inlier_pixels, atol=1e-5)
    assert np.allclose(again.inlier_points, anchor.inlier_points, atol=1e-5)
    assert (again.num_inliers, again.references, again.stage_ms) == (50, anchor.references, anchor.stage_ms)


def test_a_rejection_round_trips_and_holds_no_pose():
    rejection = Rejection(STAMP_NS, Reason.FEW_INLIERS, {"inliers": 5, "matches": 40}, {"features": 300.0})
    message = conversions.anchor_to_msg(rejection, "map", "camera")
    assert not message.accepted
    again = conversions.anchor_from_msg(message)
    assert isinstance(again, Rejection)
    assert (again.reason, again.counts["inliers"]) == (Reason.FEW_INLIERS, 5)
    message.reason = "BECAUSE"
    with pytest.raises(conversions.MessageError, match="BECAUSE"):
        conversions.anchor_from_msg(message)


def test_an_anchor_with_an_impossible_covariance_is_refused():
    message = conversions.anchor_to_msg(AnchorPose(STAMP_NS, POSE, -np.eye(6), 50, 80, 1.0), "map", "camera")
    with pytest.raises(conversions.MessageError, match="covariance"):
        conversions.anchor_from_msg(message)


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


@pytest.mark.parametrize("state", list(State))
def test_states_round_trip(state):
    assert conversions.state_from_msg(conversions.state_to_msg(state)) is state


def test_point_clouds_are_written_as_little_endian_floats():
    points = np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    message = conversions.points_to_msg(STAMP_NS, "map", points)
    assert message.width == 2
    assert np.array_equal(np.frombuffer(bytes(message.data), "<f4").reshape(-1, 3), points)
