"""The fusion node in one executor with a probe that plays the odometry and anchor nodes from exactly known poses."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped, TransformStamped
from nav_msgs.msg import Odometry
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import NavSatFix
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from visloc_msgs.msg import Anchor, Innovation, LocalizationStatus, OdometryStatus
from visloc_msgs.msg import MapIdentity as MapIdentityMsg
from visloc_msgs.msg import TrackedPose as TrackedPoseMsg
from visloc_ros.core.coordinate_frame import CoordinateFrame, derived_uuid
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import SE3, Sim3
from visloc_ros.core.types import Anchor as CoreAnchor
from visloc_ros.core.types import AnchorPose, MapIdentity, OdometryPose, OdometryScale, Reason, Rejection, TrackedPose
from visloc_ros.fusion.estimator import Estimator
from visloc_ros.nodes import conversions
from visloc_ros.nodes.conversions import tracked_pose_to_msg
from visloc_ros.nodes.fusion_node import FusionNode
from visloc_ros.nodes.qos import LATCHED, RELIABLE, TF, TF_STATIC
from visloc_ros.sources import ros_messages

TIMEOUT_S = 20.0
# Messages go from one node of a process to another as they are published; a timer may never let it be quiet.
TURN_S, QUIET_TURNS, MOST_TURNS = 0.02, 5, 20
BEGIN_NS, FRAME_NS = 1_700_000_000_000_000_000, 50_000_000
BASE_FROM_CAMERA = SE3.from_rotation_vector([0.2, -1.2, 0.4], [0.3, 0.1, 0.5])
MAP_FROM_ODOM = Sim3.from_se3(SE3.from_rotation_vector([0.1, 0.2, 1.5], [4.0, -2.0, 1.0]), scale=2.5)


def stamp_of(index: int) -> int:
    return BEGIN_NS + index * FRAME_NS


def odom_from_camera(index: int) -> SE3:
    """A curve with turns, in the odometry's own unit."""
    t = 0.05 * index
    return SE3.from_rotation_vector([0.1 * t, 0.2 * np.sin(t), 0.0], [0.4 * t, 0.3 * np.sin(t), 0.2 * np.cos(0.7 * t)])


def map_from_camera(index: int) -> SE3:
    return MAP_FROM_ODOM.apply_to_pose(odom_from_camera(index))


def map_from_base(index: int) -> SE3:
    return map_from_camera(index) @ BASE_FROM_CAMERA.inverse


class Probe(Node):
    """Plays the odometry and anchor nodes and keeps what the fusion node sends."""

    def __init__(self) -> None:
        super().__init__("probe", namespace="visloc")
        self.transforms: list[tuple[int, str, str, SE3]] = []
        self.statuses: list[LocalizationStatus] = []
        self.poses: list[PoseWithCovarianceStamped] = []
        self.camera_poses: list[PoseWithCovarianceStamped] = []
        self.search_priors: list[PoseWithCovarianceStamped] = []
        self.odoms: list[Odometry] = []
        self.raw: list[TransformStamped] = []
        self.fixes: list[NavSatFix] = []
        self.on_earth: GeoReference | None = None  # where the map is that the anchors are of
        self.frames_received = 0  # by the odometry node that it plays
        self.innovations: list[Innovation] = []
        self.odometry = self.create_publisher(OdometryStatus, "odometry_status", RELIABLE)
        self.anchor = self.create_publisher(Anchor, "anchor", RELIABLE)
        self.tracking = self.create_publisher(TrackedPoseMsg, "map_tracking", RELIABLE)
        self.loaded_map = self.create_publisher(MapIdentityMsg, "loaded_map", LATCHED)
        self.maps_in_use: list[MapIdentityMsg] = []
        self.create_subscription(MapIdentityMsg, "map_in_use", self.maps_in_use.append, LATCHED)
        self.initial_pose = self.create_publisher(PoseWithCovarianceStamped, "/initialpose", RELIABLE)
        self.static = self.create_publisher(TFMessage, "/tf_static", TF_STATIC)
        self.tf = self.create_publisher(TFMessage, "/tf", TF)
        self.create_subscription(TFMessage, "/tf", self._take_tf, TF)
        self.create_subscription(LocalizationStatus, "status", self.statuses.append, LATCHED)
        self.create_subscription(PoseWithCovarianceStamped, "pose", self.poses.append, LATCHED)
        self.create_subscription(PoseWithCovarianceStamped, "camera_pose", self.camera_poses.append, RELIABLE)
        self.create_subscription(PoseWithCovarianceStamped, "search_prior", self.search_priors.append, RELIABLE)
        self.create_subscription(Odometry, "odom", self.odoms.append, RELIABLE)
        self.create_subscription(Innovation, "innovation", self.innovations.append, RELIABLE)
        self.create_subscription(TransformStamped, "map_to_odom_raw", self.raw.append, RELIABLE)
        self.create_subscription(NavSatFix, "gps/filtered", self.fixes.append, RELIABLE)

    def _take_tf(self, message: TFMessage) -> None:
        for item in message.transforms:
            stamp_ns = ros_messages.stamp_from_msg(item.header.stamp)
            pose = ros_messages.transform_from_msg(item.transform)
            self.transforms.append((stamp_ns, item.header.frame_id, item.child_frame_id, pose))

    def edge(self, parent: str, child: str) -> dict[int, SE3]:
        """Transforms of one edge by stamp, in the order they came."""
        return {stamp: pose for stamp, *names, pose in self.transforms if names == [parent, child]}

    def send_mounting(self) -> None:
        mounting = conversions.transform_to_msg(BEGIN_NS, "base_link", "camera", BASE_FROM_CAMERA)
        self.static.publish(TFMessage(transforms=[mounting]))

    def send_odometry(
        self,
        index: int,
        segment: int = 0,
        camera: SE3 | None = None,
        scale: OdometryScale | None = None,
        frame_id: str = "camera",
    ) -> None:
        pose = OdometryPose(stamp_of(index), camera or odom_from_camera(index), segment, num_tracked=100, scale=scale)
        self._send_status(conversions.odometry_status_to_msg(pose, frame_id))

    def _send_status(self, message: OdometryStatus) -> None:
        self.frames_received += 1
        message.frames_received = self.frames_received
        self.odometry.publish(message)

    def send_loss(self, index: int, reason: Reason = Reason.FEW_FEATURES) -> None:
        loss = Rejection(stamp_of(index), reason)
        self._send_status(conversions.odometry_status_to_msg(loss, "camera"))

    def send_anchor(self, index: int, map_name: str = "room", shift: float = 0.0) -> None:
        covariance = np.diag([1e-4] * 3 + [1e-5] * 3)
        camera = map_from_camera(index)
        camera = SE3(camera.rotation, camera.translation + np.array([shift, 0.0, 0.0]))
        anchor = AnchorPose(stamp_of(index), camera, covariance, 100, 150, 0.5, probability=0.999)
        self.send_result(anchor, map_name)

    def send_map(self, identity: MapIdentity, is_requested: bool = True) -> None:
        """The map that the anchor node has loaded."""
        self.loaded_map.publish(conversions.map_identity_to_msg(identity, BEGIN_NS, "map", is_requested))

    def send_no_anchor(self, index: int) -> None:
        """A frame that was searched for and not found."""
        self.send_result(Rejection(stamp_of(index), Reason.NO_RETRIEVAL))

    def send_tracked(self, index: int, anchor_index: int) -> None:
        since_anchor = np.diag([1e-6] * 3 + [1e-7] * 3)
        stamps = stamp_of(index), stamp_of(anchor_index)
        pose = TrackedPose(
            stamps[0], map_from_camera(index), 100.0 * since_anchor, stamps[1], since_anchor, 90, 100, 0.5
        )
        self.tracking.publish(tracked_pose_to_msg(pose, "map", "camera"))

    def send_result(self, result: AnchorPose | Rejection, map_name: str = "room") -> None:
        """What a search in a metric map gave."""
        anchor = CoreAnchor(result, self.map_of(map_name))
        self.anchor.publish(conversions.anchor_to_msg(anchor, "map", "camera"))

    def map_of(self, name: str) -> MapIdentity:
        """A metric map in a frame of its own."""
        return MapIdentity(name, metric=True, on_earth=self.on_earth, frame=CoordinateFrame(derived_uuid(name)))

    def send_initial_pose(self, pose: SE3, frame_id: str = "map", sigma: float = 0.5) -> None:
        """As RViz does."""
        self.initial_pose.publish(self.initial_pose_msg(pose, frame_id, sigma))

    def initial_pose_msg(self, pose: SE3, frame_id: str = "map", sigma: float = 0.5) -> PoseWithCovarianceStamped:
        """A pose of the base, nothing said about z, roll and pitch."""
        message = PoseWithCovarianceStamped(header=conversions.header(BEGIN_NS, frame_id))
        variances = np.diag([sigma**2, sigma**2, 0.0, 0.0, 0.0, 0.07])
        message.pose = conversions.pose_with_covariance_to_msg(pose, variances)
        return message


class Setup:
    """The fusion node and the probe in one executor."""

    def __init__(self, node: FusionNode, probe: Probe, executor: SingleThreadedExecutor) -> None:
        self.node, self.probe, self._executor = node, probe, executor

    @property
    def estimator(self) -> Estimator:
        """The node's estimator, to look at its counts."""
        return self.node._backend.estimator

    def wait_for(self, condition: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not condition():
            assert time.monotonic() < deadline, f"no {what} within {TIMEOUT_S} s"
            self._executor.spin_once(timeout_sec=0.05)

    def mount(self) -> None:
        """Tell where the camera is on the base, and wait until the node knows it."""
        self.probe.send_mounting()
        self.wait_for(lambda: self.node._static.lookup("base_link", "camera"), "place of the camera")

    def send_frame(self, index: int, **how: object) -> LocalizationStatus:
        """Send one odometry pose and wait for the status of that frame, which the node sends before its TF."""
        known = len(self.probe.statuses)
        self.probe.send_odometry(index, **how)
        return self.wait_for_status(index, known)

    def send_loss(self, index: int, reason: Reason = Reason.FEW_FEATURES) -> LocalizationStatus:
        """Send a frame that odometry could not track."""
        known = len(self.probe.statuses)
        self.probe.send_loss(index, reason)
        return self.wait_for_status(index, known)

    def send_anchor(self, index: int, **how: object) -> None:
        """Send the anchor of a frame and wait until the node has judged it; it may be pending then."""
        backend, judged = self.node._backend, []
        judge = backend._estimator.add_anchor
        backend._estimator.add_anchor = lambda result: (judged.append(result), judge(result))[1]
        self.probe.send_anchor(index, **how)
        self.wait_for(lambda: judged, f"verdict on the anchor of frame {index}")
        backend._estimator.add_anchor = judge

    def send_anchor_alone(self, index: int) -> LocalizationStatus:
        """Send the anchor of a frame to a node that makes its output of anchors alone, and wait for its status."""
        known = len(self.probe.statuses)
        self.probe.send_anchor(index)
        return self.wait_for_status(index, known)

    def wait_for_status(self, index: int, known: int) -> LocalizationStatus:
        """Wait for the status of a frame among those that are not known yet."""

        def found() -> list[LocalizationStatus]:
            new = self.probe.statuses[known:]
            return [one for one in new if ros_messages.stamp_from_msg(one.header.stamp) == stamp_of(index)]

        self.wait_for(found, f"status of frame {index}")
        return found()[0]

    def send_map(self, identity: MapIdentity) -> None:
        """Have the node use another map, and wait until it has announced that."""
        count = len(self.probe.maps_in_use)
        self.probe.send_map(identity)
        self.wait_for(lambda: len(self.probe.maps_in_use) > count, "map in use")

    def settle(self) -> None:
        """Serve whatever is still on its way: nothing new for a while."""
        quiet = 0
        for _ in range(MOST_TURNS):
            begin_s = time.monotonic()
            self._executor.spin_once(timeout_sec=TURN_S)
            quiet = quiet + 1 if time.monotonic() - begin_s >= TURN_S else 0
            if quiet == QUIET_TURNS:
                break

    def relocalize(self) -> Trigger.Response:
        client = self.probe.create_client(Trigger, "fusion_node/relocalize")
        self.wait_for(client.service_is_ready, "service")
        future = client.call_async(Trigger.Request())
        self.wait_for(future.done, "answer")
        return future.result()

    def localize(self, frames: int = 50, anchors: tuple[int, ...] = (0, 20, 40), begin: int = 0) -> None:
        """Play exact odometry with exact anchors that come five frames late."""
        self.probe.send_mounting()
        for index in range(begin, begin + frames):
            self.send_frame(index)
            if index - begin - 5 in anchors:
                self.send_anchor(index - 5)
        self.settle()


@contextmanager
def running(*arguments: str, mode: str = "fused") -> Iterator[Setup]:
    """Start the fusion node with ROS arguments; however busy the machine is, the probe is not taken for silent.

    Transforms come with frames alone, so that each is known.
    """
    fixed = parameters(silence_s=60.0, mode=mode, tf_publish_rate=0.0)
    rclpy.init(args=["--ros-args", *fixed, *arguments])
    node, probe, executor = FusionNode(), Probe(), SingleThreadedExecutor()
    executor.add_node(node)
    executor.add_node(probe)
    try:
        assert node.start()
        setup = Setup(node, probe, executor)
        publishers = {
            "fused": (probe.odometry, probe.anchor, probe.tracking, probe.initial_pose, probe.static),
            "hloc": (probe.anchor, probe.static),
            "odom": (probe.odometry, probe.static),
        }[mode]
        setup.wait_for(lambda: all(one.get_subscription_count() for one in publishers), "subscriptions")
        yield setup
    finally:
        node.release()
        probe.destroy_node()
        node.destroy_node()
        rclpy.shutdown()


def parameters(**values: object) -> list[str]:
    """ROS arguments; two underscores stand for a dot."""
    return [word for name, value in values.items() for word in ("-p", f"{name.replace('__', '.')}:={value}")]
