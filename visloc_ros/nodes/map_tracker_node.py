"""Follows the map points of the last anchor from image to image: a pose in the map for every frame."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from geometry_msgs.msg import PoseWithCovarianceStamped

from visloc_msgs.msg import Anchor
from visloc_msgs.msg import TrackedPose as TrackedPoseMsg
from visloc_ros.core.config import Config, option, section
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import open_map
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig
from visloc_ros.nodes.base import VislocNode, run
from visloc_ros.nodes.camera_input import CameraInput, CameraInputConfig
from visloc_ros.nodes.conversions import (
    MessageError,
    anchor_from_msg,
    pose_from_msg,
    stamp_from_msg,
)
from visloc_ros.nodes.diagnostics import publish_diagnostics
from visloc_ros.nodes.frame_poses import FramePoses
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.tracked_pose_messages import tracked_pose_to_msg

FOLLOWED = "followed"


@dataclass(frozen=True)
class MapTrackerNodeConfig(Config):
    """Parameters of the map tracker node."""

    map_path: str = option("", "map folder or reference.tar.gz, the same as the anchor node's")
    map_frame: str = option("map", "frame id of the map")
    prediction_wait: float = option(
        0.05, "longest wait for the fused pose of a frame, which says where to look [s]", minimum=0.0, maximum=1.0
    )
    camera: CameraInputConfig = section(CameraInputConfig)
    tracking: MapTrackingConfig = section(MapTrackingConfig)


class MapTrackerNode(VislocNode[MapTrackerNodeConfig]):
    """Feeds images, fused poses and anchors to the map tracker. Anchors that contradict the fused pose are left out."""

    default_name = "map_tracker_node"
    config_type = MapTrackerNodeConfig

    def configure(self) -> None:
        """Load the map."""
        if not self.config.map_path:
            raise ConfigError("parameter 'map_path' is empty: give the map folder that the anchors are found in")
        place = open_map(Path(self.config.map_path))
        self._map_name, self._tracker = place.name, MapTracker(place, self.config.tracking)
        self._outcomes: Counter[str] = Counter()
        self._predictions = FramePoses()
        self._anchor: AnchorPose | None = None
        self._publisher = self.publisher(TrackedPoseMsg, "map_tracking", RELIABLE)

    def activate(self) -> None:
        """Start following."""
        if not self.config.tracking.enabled:
            return
        self.subscription(Anchor, "anchor", self._take_anchor, RELIABLE)
        self.subscription(PoseWithCovarianceStamped, "camera_pose", self._take_prediction, RELIABLE)
        self._input = CameraInput(self, self.config.camera, self._track, self._restart)
        self.undo(self._restart)
        publish_diagnostics(self, self._report)

    def _take_anchor(self, message: Anchor) -> None:
        try:
            anchor = anchor_from_msg(message)
        except MessageError as error:
            self._refuse(error)
            return
        if isinstance(anchor, Rejection):
            return
        if message.map_name != self._map_name:
            self._outcomes["anchor of another map"] += 1
            return
        self._anchor = anchor  # the worker takes it up between two frames

    def _take_prediction(self, message: PoseWithCovarianceStamped) -> None:
        try:
            self._predictions.add(stamp_from_msg(message.header.stamp), pose_from_msg(message.pose.pose))
        except MessageError as error:
            self._refuse(error)

    def _track(self, frame: Frame, camera_frame: str) -> None:
        anchor, self._anchor = self._anchor, None
        if anchor is not None and self._tracker.believes(anchor):
            self._tracker.restart(anchor)
        elif anchor is not None:
            self._outcomes["anchor contradicts the fused pose"] += 1
        predicted = self._predictions.of(frame.stamp_ns, self.config.prediction_wait)
        result = self._tracker.track(frame, predicted)
        self._outcomes[result.reason.value if isinstance(result, Rejection) else FOLLOWED] += 1
        self._publisher.publish(tracked_pose_to_msg(result, self.config.map_frame, camera_frame))

    def _restart(self) -> None:
        self._tracker.reset()
        self._predictions.clear()
        self._anchor = None

    def _refuse(self, error: MessageError) -> None:
        self._outcomes["bad message"] += 1
        self.get_logger().warning(f"message left out: {error}", throttle_duration_sec=5.0)

    def _report(self) -> tuple[str, str, dict[str, object]]:
        values: dict[str, object] = {"map": self._map_name, "received": self._input.received}
        values |= {"dropped": self._input.dropped, **self._outcomes, **self._input.rejected}
        if not self._outcomes[FOLLOWED]:
            return "warn", "No anchor followed yet", values
        return "ok", "Following", values


def main() -> None:
    """Run the node."""
    run(MapTrackerNode)


if __name__ == "__main__":
    main()
