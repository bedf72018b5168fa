"""The viewer shows what the other nodes send, over DDS, and survives what they would never send."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import Point32, PolygonStamped, PoseArray, PoseStamped, PoseWithCovarianceStamped
from nav_msgs.msg import Path
from node_harness import started
from sensor_msgs.msg import CompressedImage, PointCloud2

from visloc_msgs.msg import LocalizationStatus
from visloc_ros.core.geometry import SE3
from visloc_ros.nodes.conversions import (
    coloured_points_from_msg,
    header,
    points_from_msg,
    points_to_msg,
    pose_to_msg,
    pose_with_covariance_to_msg,
)
from visloc_ros.nodes.qos import EACH_LATCHED, LATCHED, RELIABLE
from visloc_ros.nodes.tracking_output import LINE
from visloc_ros.nodes.viewer_node import ViewerNode
from visloc_ros.sources.ros_images import encode_jpeg
from visloc_ros.sources.ros_messages import MessageError

COLOURS = np.random.default_rng(1).integers(0, 256, (50, 3), np.uint8)
POINTS = np.random.default_rng(0).uniform(-2.0, 2.0, (50, 3))
POSE = SE3.from_rotation_vector([0.1, 0.2, 0.3], [1.0, 0.5, 0.2])


@pytest.fixture
def harness(ros_domain):
    with started(ViewerNode) as harness:
        yield harness


def shown(harness, name):
    return harness.node._server.scene.get_handle_by_name(name)


def test_map_pose_points_anchors_picture_and_state_are_shown(harness):
    publishers = {
        topic: harness.probe.create_publisher(message_type, topic, qos)
        for topic, message_type, qos in (
            ("map_points", PointCloud2, LATCHED),
            ("inlier_points", PointCloud2, RELIABLE),
            ("camera_pose", PoseWithCovarianceStamped, RELIABLE),
            ("camera_frustum", PolygonStamped, RELIABLE),
            ("accepted_anchors", PoseArray, RELIABLE),
            ("map_path", Path, RELIABLE),
            ("keyframe/compressed", CompressedImage, RELIABLE),
            ("status", LocalizationStatus, EACH_LATCHED),
        )
    }
    for topic in publishers:
        harness.wait_for(lambda topic=topic: harness.probe.count_subscribers(f"/visloc/{topic}"), topic)
    head = header(1, "map")
    publishers["map_points"].publish(points_to_msg(1, "map", POINTS, COLOURS))
    harness.wait_for(lambda: shown(harness, "/map"), "map")
    assert np.array_equal(shown(harness, "/map").colors, COLOURS)
    corners = [Point32(x=float(x), y=float(x % 3), z=1.0) for x in range(len(LINE))]
    frustum = PolygonStamped(header=header(1, "camera"))
    frustum.polygon.points = corners
    picture = np.full((48, 64, 3), 200, np.uint8)
    path = [
        PoseStamped(header=head, pose=pose_to_msg(POSE)),
        PoseStamped(header=head, pose=pose_to_msg(SE3.identity())),
    ]
    status = LocalizationStatus(header=head, state=LocalizationStatus.DEGRADED, reason="NO_IMAGE", map_name="office")
    messages = {
        "inlier_points": points_to_msg(1, "map", POINTS[:5]),
        "camera_pose": PoseWithCovarianceStamped(header=head, pose=pose_with_covariance_to_msg(POSE, np.eye(6))),
        "camera_frustum": frustum,
        "accepted_anchors": PoseArray(header=head, poses=[pose_to_msg(POSE)]),
        "map_path": Path(header=head, poses=path),
        "keyframe/compressed": CompressedImage(header=head, format="jpeg", data=encode_jpeg(picture, 90)),
        "status": status,
    }
    for topic, message in messages.items():
        publishers[topic].publish(message)
    for name in ("/inlier_points", "/camera/frustum", "/accepted_anchors", "/path"):
        harness.wait_for(lambda name=name: shown(harness, name), name)
    harness.wait_for(lambda: shown(harness, "/camera").visible, "pose")
    camera = shown(harness, "/camera")
    assert SE3.from_quaternion(camera.wxyz, camera.position).is_close(POSE, 1e-6, 1e-4)
    assert np.allclose(shown(harness, "/inlier_points").points, POINTS[:5], atol=1e-6)
    arrow = shown(harness, "/accepted_anchors").points[0]
    assert np.allclose((arrow[1] - arrow[0]) / np.linalg.norm(arrow[1] - arrow[0]), POSE.rotation[:, 0], atol=1e-4)
    harness.wait_for(lambda: "DEGRADED" in harness.node._words.content, "state")
    assert "NO_IMAGE" in harness.node._words.content
    assert "office" in harness.node._words.content
    harness.wait_for(lambda: harness.node._picture.image.shape == (48, 64, 3), "picture")
    assert not harness.node.guard.failures


def test_a_cloud_keeps_its_colours():
    points, colours = coloured_points_from_msg(points_to_msg(1, "map", POINTS, COLOURS))
    assert np.allclose(points, POINTS, atol=1e-6)
    assert np.array_equal(colours, COLOURS)
    assert coloured_points_from_msg(points_to_msg(1, "map", POINTS))[1] is None
    cloud = points_to_msg(1, "map", POINTS[:1], COLOURS[:1])
    red, green, blue = COLOURS[0].tolist()
    assert int.from_bytes(bytes(cloud.data[12:16]), "little") == red << 16 | green << 8 | blue  # as in PCL
    assert np.allclose(points_from_msg(cloud), POINTS[:1], atol=1e-6)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda cloud: setattr(cloud, "point_step", 16),
        lambda cloud: cloud.fields.pop(),
        lambda cloud: setattr(cloud, "is_bigendian", True),
        lambda cloud: setattr(cloud, "data", cloud.data[:-5]),
        lambda cloud: setattr(cloud, "data", points_to_msg(1, "map", np.full((2, 3), np.nan)).data),
    ],
)
def test_a_cloud_of_another_layout_is_refused_in_words(spoil):
    cloud = points_to_msg(1, "map", POINTS)
    assert np.allclose(points_from_msg(cloud), POINTS, atol=1e-6)
    spoil(cloud)
    with pytest.raises(MessageError, match="point cloud"):
        points_from_msg(cloud)
