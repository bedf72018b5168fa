"""The odometry node with a map, and what sends it what the camera, the fusion and the anchor node would."""

import numpy as np
from geometry_msgs.msg import PoseWithCovarianceStamped
from node_harness import DEMO_MAP
from sensor_msgs.msg import CameraInfo, Image

from visloc_msgs.msg import Anchor as AnchorMsg
from visloc_msgs.msg import MapIdentity as MapIdentityMsg
from visloc_msgs.msg import TrackedPose as TrackedPoseMsg
from visloc_ros.core.camera import project
from visloc_ros.core.map import open_map
from visloc_ros.core.types import Anchor, AnchorPose
from visloc_ros.nodes import conversions
from visloc_ros.nodes.qos import LATCHED, RELIABLE
from visloc_ros.simulation import SimulationConfig
from visloc_ros.sources.ros_messages import tracked_pose_from_msg

SMALL = SimulationConfig(width=320, height=240, focal_px=240.0, rate_hz=20.0, samples=1)
RELIABLE_RAW = ("-p", "camera.qos:=reliable")
ARGUMENTS = ("-p", f"map_tracking.map_path:={DEMO_MAP}", *RELIABLE_RAW)


class Robot:
    """Sends what the camera, the fusion and the anchor node would, and keeps what comes back."""

    def __init__(self, harness):
        self.harness, probe, self.map = harness, harness.probe, open_map(DEMO_MAP)
        self.node = harness.node
        self.results = []
        self._publishers = {
            name: probe.create_publisher(message_type, name, RELIABLE)
            for name, message_type in (
                ("image", Image),
                ("camera_info", CameraInfo),
                ("anchor", AnchorMsg),
                ("camera_pose", PoseWithCovarianceStamped),
            )
        }
        self._publishers["map_in_use"] = probe.create_publisher(MapIdentityMsg, "map_in_use", LATCHED)
        probe.create_subscription(TrackedPoseMsg, "map_tracking", self._keep, RELIABLE)
        harness.wait_for(
            lambda: (
                all(one.get_subscription_count() for one in self._publishers.values())
                and self.node._output._tracking_publisher.get_subscription_count()
            ),
            "subscriptions",
        )

    def _keep(self, message):
        self.results.append(tracked_pose_from_msg(message))

    def track(self, frame, predicted=None):
        """The node's answer to a frame."""
        count = len(self.results)
        if predicted is not None:
            self.predict(frame.stamp_ns, predicted)
            known = self.node._remote
            self.harness.wait_for(
                lambda: (pose := known.predict(frame.stamp_ns)) is not None and pose.is_close(predicted), "prediction"
            )
        self._publishers["camera_info"].publish(conversions.camera_to_msg(frame.stamp_ns, "camera", frame.camera))
        height, width = frame.grey.shape
        header = conversions.header(frame.stamp_ns, "camera")
        self._publishers["image"].publish(
            Image(header=header, height=height, width=width, encoding="mono8", step=width, data=frame.grey.tobytes())
        )
        self.harness.wait_for(lambda: len(self.results) > count, "map_tracking")
        return self.results[-1]

    def predict(self, stamp_ns, map_from_camera):
        """Publish the fused pose of an image."""
        message = PoseWithCovarianceStamped(header=conversions.header(stamp_ns, "map"))
        message.pose.pose = conversions.pose_to_msg(map_from_camera)
        self._publishers["camera_pose"].publish(message)

    def use(self, identity, since_ns=0):
        """Announce the map that fused poses are in, from an image on."""
        message = conversions.map_identity_to_msg(identity, since_ns, "map", is_requested=True)
        self._publishers["map_in_use"].publish(message)
        self.harness.wait_for(lambda: self.node._remote.map == identity, "map in use")

    def find(self, frame, map_from_camera, identity=None):
        """An anchor of a frame; points of the map that lie before the camera stand for its inliers."""
        points = self.map.points
        local = map_from_camera.inverse @ points
        points, pixels = points[local[:, 2] > 0.5], project(frame.camera, local[local[:, 2] > 0.5])
        anchor = AnchorPose(frame.stamp_ns, map_from_camera, 1e-4 * np.eye(6), 100, 100, 1.0, pixels, points)
        found = Anchor(anchor, identity or self.map.identity)
        self._publishers["anchor"].publish(conversions.anchor_to_msg(found, "map", "camera"))
        self.harness.wait_for(lambda: self.node._remote._anchors, "anchor")
