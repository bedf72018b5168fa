"""What the nodes send for viewers alone: anchors accepted and refused, followed points, the camera's pyramid."""

import numpy as np
import pytest

pytest.importorskip("rclpy")

from fusion_probe import map_from_camera, running, stamp_of
from geometry_msgs.msg import PolygonStamped, PoseArray
from node_harness import started
from sensor_msgs.msg import PointCloud2
from tracking_robot import ARGUMENTS, SMALL, Robot

from visloc_ros.core.camera import project
from visloc_ros.core.geometry import SE3
from visloc_ros.core.types import AnchorPose, TrackedPose
from visloc_ros.nodes.conversions import BASE_FROM_OPTICAL
from visloc_ros.nodes.odometry_node import OdometryNode
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.tracking_output import DEPTH, LINE, PERIOD_NS, frustum
from visloc_ros.simulation import simulate
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg


@pytest.fixture(scope="module")
def walk():
    simulation = simulate(SMALL, "localize")
    return simulation, [simulation.frame(index) for index in range(6)]


def test_who_listens_sees_which_anchors_hold_the_pose_and_which_were_refused(ros_domain):
    accepted: list[PoseArray] = []
    refused: list[PoseArray] = []
    with running() as setup:
        setup.localize(60, anchors=(0, 20, 40))
        wrong = SE3(map_from_camera(55).rotation, map_from_camera(55).translation + np.array([3.0, 0.0, 0.0]))
        known = sum(setup.estimator.counts.values())
        setup.probe.send_result(AnchorPose(stamp_of(55), wrong, 1e-4 * np.eye(6), 100, 100, 1.0))
        setup.send_frame(60)
        setup.wait_for(lambda: sum(setup.estimator.counts.values()) > known, "verdict on a wrong anchor")
        setup.probe.create_subscription(PoseArray, "accepted_anchors", accepted.append, RELIABLE)
        setup.probe.create_subscription(PoseArray, "refused_anchors", refused.append, RELIABLE)
        setup.wait_for(lambda: accepted and refused, "anchors")
    assert accepted[-1].header.frame_id == refused[-1].header.frame_id == "map"
    for message, index in zip(accepted[-1].poses[-2:], (20, 40), strict=True):
        assert (pose_from_msg(message) @ BASE_FROM_OPTICAL).is_close(map_from_camera(index), 1e-6, 1e-4)
    assert [stamp_from_msg(refused[-1].header.stamp)] == [stamp_of(55)]
    assert (pose_from_msg(refused[-1].poses[-1]) @ BASE_FROM_OPTICAL).is_close(wrong, 1e-6, 1e-4)


def test_the_points_that_hold_a_frame_are_points_of_the_map_before_the_camera(ros_domain, walk):
    simulation, frames = walk
    clouds: dict[int, PointCloud2] = {}
    with started(OdometryNode, *ARGUMENTS) as harness:
        robot = Robot(harness)
        harness.probe.create_subscription(
            PointCloud2, "followed_points", lambda one: clouds.update({stamp_from_msg(one.header.stamp): one}), RELIABLE
        )
        harness.wait_for(lambda: harness.node._output._points_publisher.get_subscription_count(), "viewer")
        robot.track(frames[0], simulation.pose(0))
        robot.find(frames[0], simulation.pose(0))
        result = robot.track(frames[1], simulation.pose(1))
        harness.wait_for(lambda: frames[1].stamp_ns in clouds, "followed points")
    assert isinstance(result, TrackedPose)
    assert clouds[frames[0].stamp_ns].width == 0  # nothing was followed yet
    cloud = clouds[frames[1].stamp_ns]
    assert (cloud.header.frame_id, cloud.width) == ("map", result.num_inliers)
    points = np.frombuffer(bytes(cloud.data), dtype="<f4").reshape(-1, 3)
    pixels = project(frames[1].camera, simulation.pose(1).inverse @ points.astype(float))
    assert np.all((pixels > 0) & (pixels < [SMALL.width, SMALL.height]))
    from_map = np.linalg.norm(robot.map.points[None] - points[:, None], axis=2).min(axis=1)
    assert np.median(from_map) < 0.05


def test_the_pyramid_of_the_camera_comes_at_most_ten_times_a_second_to_those_who_listen(ros_domain, walk):
    simulation, frames = walk
    pyramids: list[PolygonStamped] = []
    with started(OdometryNode, *ARGUMENTS) as harness:
        robot = Robot(harness)
        robot.track(frames[0], simulation.pose(0))  # nobody listens yet
        harness.probe.create_subscription(PolygonStamped, "camera_frustum", pyramids.append, RELIABLE)
        harness.wait_for(lambda: harness.node._output._frustum._publisher.get_subscription_count(), "viewer")
        for index in range(1, 6):
            robot.track(frames[index], simulation.pose(index))
        harness.wait_for(lambda: len(pyramids) >= 3, "pyramids")
    stamps = [stamp_from_msg(one.header.stamp) for one in pyramids]
    assert stamps == [frames[index].stamp_ns for index in (1, 3, 5)]
    assert min(np.diff(stamps)) >= PERIOD_NS
    assert pyramids[0].header.frame_id == "camera"
    points = np.array([[point.x, point.y, point.z] for point in pyramids[0].polygon.points])
    assert np.allclose(points, frustum(frames[1].camera)[list(LINE)])


def test_the_line_draws_each_edge_of_the_pyramid():
    drawn = {frozenset(edge) for edge in zip(LINE, (*LINE[1:], LINE[0]), strict=True)}
    apex = {frozenset({0, corner}) for corner in (1, 2, 3, 4)}
    assert drawn == apex | {frozenset(side) for side in ((1, 2), (2, 3), (3, 4), (4, 1))}


def test_the_corners_of_the_pyramid_are_those_of_the_image(walk):
    camera = walk[1][0].camera
    points = frustum(camera)
    assert np.allclose(points[:, 2], [0.0, DEPTH, DEPTH, DEPTH, DEPTH])
    corners = [[0, 0], [camera.width, 0], [camera.width, camera.height], [0, camera.height]]
    assert np.allclose(project(camera, points[1:]), corners, atol=1e-6)
