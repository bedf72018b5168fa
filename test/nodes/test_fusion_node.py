"""The fusion node fed with exact messages over DDS: what it sends on /tf, and when it sends nothing."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")

from geometry_msgs.msg import PoseWithCovarianceStamped
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from tf2_msgs.msg import TFMessage

from visloc_msgs.msg import Anchor, LocalizationStatus, OdometryStatus
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.types import AnchorPose, OdometryPose, Reason, Rejection
from visloc_ros.nodes import conversions
from visloc_ros.nodes.fusion_node import FusionNode, move_covariance
from visloc_ros.nodes.qos import LATCHED, RELIABLE, TF, TF_STATIC

TIMEOUT_S = 20.0
BEGIN_NS, FRAME_NS = 1_700_000_000_000_000_000, 50_000_000
BASE_FROM_CAMERA = SE3.from_rotation_vector([0.2, -1.2, 0.4], [0.3, 0.1, 0.5])
MAP_FROM_ODOM = Sim3.from_se3(SE3.from_rotation_vector([0.1, 0.2, 1.5], [4.0, -2.0, 1.0]), scale=2.5)


def odom_from_camera(index: int) -> SE3:
    """A curve with turns, in the odometry's own unit."""
    t = 0.05 * index
    return SE3.from_rotation_vector([0.1 * t, 0.2 * np.sin(t), 0.0], [0.4 * t, 0.3 * np.sin(t), 0.2 * np.cos(0.7 * t)])


def map_from_camera(index: int) -> SE3:
    return MAP_FROM_ODOM.apply_to_pose(odom_from_camera(index))


class Probe(Node):
    """Plays the odometry and anchor nodes and keeps what the fusion node sends."""

    def __init__(self) -> None:
        super().__init__("probe", namespace="visloc")
        self.transforms: list[tuple[int, str, str, SE3]] = []
        self.statuses: list[LocalizationStatus] = []
        self.poses: list[PoseWithCovarianceStamped] = []
        self.camera_poses: list[PoseWithCovarianceStamped] = []
        self.odometry = self.create_publisher(Odometry, "visual_odom", RELIABLE)
        self.anchor = self.create_publisher(Anchor, "anchor", RELIABLE)
        self.static = self.create_publisher(TFMessage, "/tf_static", TF_STATIC)
        self.create_subscription(TFMessage, "/tf", self._take_tf, TF)
        self.create_subscription(LocalizationStatus, "status", self.statuses.append, LATCHED)
        self.create_subscription(PoseWithCovarianceStamped, "pose", self.poses.append, LATCHED)
        self.create_subscription(PoseWithCovarianceStamped, "camera_pose", self.camera_poses.append, RELIABLE)

    def _take_tf(self, message: TFMessage) -> None:
        for item in message.transforms:
            stamp_ns = conversions.stamp_from_msg(item.header.stamp)
            pose = conversions.transform_from_msg(item.transform)
            self.transforms.append((stamp_ns, item.header.frame_id, item.child_frame_id, pose))

    def send_mounting(self) -> None:
        mounting = conversions.transform_to_msg(BEGIN_NS, "base_link", "camera", BASE_FROM_CAMERA)
        self.static.publish(TFMessage(transforms=[mounting]))

    def send_odometry(self, index: int) -> None:
        pose = OdometryPose(BEGIN_NS + index * FRAME_NS, odom_from_camera(index), segment=0, num_tracked=100)
        self.odometry.publish(conversions.visual_odometry_to_msg(pose, "camera"))

    def send_anchor(self, index: int) -> None:
        covariance = np.diag([1e-4] * 3 + [1e-5] * 3)
        anchor = AnchorPose(BEGIN_NS + index * FRAME_NS, map_from_camera(index), covariance, 100, 150, 0.5)
        self.send_anchor_message(conversions.anchor_to_msg(anchor, "map", "camera"))

    def send_anchor_message(self, message: Anchor) -> None:
        message.map_name, message.metric = "room", True
        self.anchor.publish(message)


class Setup:
    """The fusion node and the probe in one executor."""

    def __init__(self, probe: Probe, executor: SingleThreadedExecutor) -> None:
        self.probe, self._executor = probe, executor

    def wait_for(self, condition: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {TIMEOUT_S} s"
            self._executor.spin_once(timeout_sec=0.05)

    def send_frame(self, index: int) -> LocalizationStatus:
        """Send one odometry pose and wait for the status of that frame, which the node sends before its TF."""
        stamp_ns = BEGIN_NS + index * FRAME_NS
        self.probe.send_odometry(index)
        self.wait_for(
            lambda: (
                bool(self.probe.statuses)
                and conversions.stamp_from_msg(self.probe.statuses[-1].header.stamp) == stamp_ns
            ),
            f"status of frame {index}",
        )
        return self.probe.statuses[-1]

    def settle(self) -> None:
        """Serve whatever is still on its way: nothing new for a while."""
        for _ in range(10):
            self._executor.spin_once(timeout_sec=0.02)


@contextmanager
def running(*arguments: str) -> Iterator[Setup]:
    rclpy.init(args=["--ros-args", *arguments])
    node, probe, executor = FusionNode(), Probe(), SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(probe)
    try:
        assert node.start()
        setup = Setup(probe, executor)
        setup.wait_for(
            lambda: probe.odometry.get_subscription_count() > 0 and probe.anchor.get_subscription_count() > 0,
            "subscription",
        )
        yield setup
    finally:
        node.release()
        probe.destroy_node()
        node.destroy_node()
        rclpy.shutdown()


def localize(setup: Setup, frames: int = 80, anchors: tuple[int, ...] = (0, 20, 40, 60)) -> None:
    """Play exact odometry with exact anchors that come five frames late."""
    setup.probe.send_mounting()
    for index in range(frames):
        setup.send_frame(index)
        if index - 5 in anchors:
            setup.probe.send_anchor(index - 5)
            setup.settle()
    setup.settle()


def test_exact_messages_give_exact_transforms_at_the_images_stamps(ros_domain):
    with running() as setup:
        localize(setup)
        assert setup.probe.statuses[-1].state == LocalizationStatus.LOCALIZED
        assert setup.probe.statuses[-1].metric
        last = 79
        stamp_ns = BEGIN_NS + last * FRAME_NS
        odom_from_base = next(
            pose
            for stamp, parent, child, pose in setup.probe.transforms
            if (stamp, parent, child) == (stamp_ns, "odom", "base_link")
        )
        map_from_odom = [
            pose for _, parent, child, pose in setup.probe.transforms if (parent, child) == ("map", "odom")
        ]
        map_from_base = map_from_camera(last) @ BASE_FROM_CAMERA.inverse
        assert (map_from_odom[-1] @ odom_from_base).is_close(map_from_base, 0.01, 0.1)
        setup.wait_for(
            lambda: conversions.stamp_from_msg(setup.probe.poses[-1].header.stamp) == stamp_ns, "pose of the last frame"
        )
        assert conversions.pose_from_msg(setup.probe.poses[-1].pose.pose).is_close(map_from_base, 0.01, 0.1)
        assert np.linalg.eigvalsh(conversions.covariance_from_msg(setup.probe.poses[-1].pose))[0] > 0


def test_the_anchor_node_is_told_where_the_camera_is(ros_domain):
    with running() as setup:
        localize(setup)
        stamp_ns = BEGIN_NS + 79 * FRAME_NS
        poses = setup.probe.camera_poses
        setup.wait_for(
            lambda: conversions.stamp_from_msg(poses[-1].header.stamp) == stamp_ns, "camera pose of the last frame"
        )
        assert conversions.pose_from_msg(poses[-1].pose.pose).is_close(map_from_camera(79), 0.01, 0.1)


def test_map_to_odom_is_dated_ahead_and_odom_to_base_is_not(ros_domain):
    with running("-p", "transform_tolerance:=0.2") as setup:
        localize(setup, frames=50)
        stamps = {BEGIN_NS + index * FRAME_NS for index in range(50)}
        assert all(stamp - 200_000_000 in stamps for stamp, parent, _, _ in setup.probe.transforms if parent == "map")
        assert all(stamp in stamps for stamp, parent, _, _ in setup.probe.transforms if parent == "odom")
        assert {(parent, child) for _, parent, child, _ in setup.probe.transforms} == {
            ("map", "odom"),
            ("odom", "base_link"),
        }


def test_nothing_is_sent_before_a_true_fix(ros_domain):
    with running() as setup:
        setup.probe.send_mounting()
        for index in range(30):
            status = setup.send_frame(index)
            if index % 5 == 0:
                rejection = Rejection(BEGIN_NS + index * FRAME_NS, Reason.FEW_MATCHES, {"matches": 3})
                setup.probe.send_anchor_message(conversions.anchor_to_msg(rejection, "map", "camera"))
        setup.settle()
        assert status.state == LocalizationStatus.INITIALIZING
        assert setup.probe.transforms == []
        assert setup.probe.poses == []
        assert setup.probe.camera_poses == []


def test_without_the_cameras_mounting_there_is_a_reason_and_no_transform(ros_domain):
    with running() as setup:
        for index in range(40):
            status = setup.send_frame(index)
            if index in (5, 15, 25):
                setup.probe.send_anchor(index - 5)
                setup.settle()
        assert status.reason == Reason.NO_TRANSFORM.value
        assert setup.probe.transforms == []


def test_a_bare_camera_is_its_own_base(ros_domain):
    with running("-p", "base_frame:=camera", "-p", "publish_odom_to_base_tf:=false") as setup:
        localize(setup, frames=50)
        assert {(parent, child) for _, parent, child, _ in setup.probe.transforms} == {("map", "odom")}


def test_impossible_messages_are_counted_and_change_nothing(ros_domain):
    with running() as setup:
        localize(setup, frames=50)
        before = setup.probe.statuses[-1]
        broken = conversions.anchor_to_msg(
            AnchorPose(BEGIN_NS, map_from_camera(0), np.full((6, 6), np.nan), 100, 150, 0.5), "map", "camera"
        )
        setup.probe.send_anchor_message(broken)
        status = setup.send_frame(50)
        assert status.state == before.state == LocalizationStatus.LOCALIZED
        assert status.anchors_accepted == before.anchors_accepted


def test_a_loss_with_an_unknown_reason_is_left_out(ros_domain):
    with running() as setup:
        localize(setup, frames=50)
        losses = setup.probe.create_publisher(OdometryStatus, "odometry_status", RELIABLE)
        setup.wait_for(losses.get_subscription_count, "subscription")
        losses.publish(OdometryStatus(header=conversions.header(BEGIN_NS + 50 * FRAME_NS, "camera"), reason="BECAUSE"))
        assert setup.send_frame(51).state == LocalizationStatus.LOCALIZED


def test_a_looped_bag_starts_anew(ros_domain):
    with running() as setup:
        localize(setup, frames=50)
        assert setup.send_frame(0).state in (LocalizationStatus.UNINITIALIZED, LocalizationStatus.INITIALIZING)


def test_covariances_turn_with_the_lever_arm():
    rng = np.random.default_rng(0)
    covariance = np.diag([1e-6, 1e-6, 1e-6, 1e-4, 2e-4, 3e-4])
    camera = map_from_camera(3)
    base = camera @ BASE_FROM_CAMERA.inverse
    errors = rng.multivariate_normal(np.zeros(6), covariance, size=20_000)
    bases = [
        SE3.from_rotation_vector(error[3:], np.zeros(3)).rotation @ (base.translation - camera.translation)
        + camera.translation
        + error[:3]
        for error in errors
    ]
    sampled = np.cov(np.array(bases).T)
    assert np.allclose(move_covariance(covariance, base, BASE_FROM_CAMERA)[:3, :3], sampled, atol=5e-6)
