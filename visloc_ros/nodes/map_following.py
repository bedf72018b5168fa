"""Beside the odometry and fed by the same images: the map points of the last anchor, a pose in the map a frame."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass

import rclpy
from geometry_msgs.msg import PoseWithCovarianceStamped

from visloc_msgs.msg import Anchor
from visloc_msgs.msg import TrackedPose as TrackedPoseMsg
from visloc_ros.core.config import option
from visloc_ros.core.map import Map
from visloc_ros.core.types import AnchorPose, Frame, Rejection
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import MessageError, anchor_from_msg, pose_from_msg, stamp_from_msg
from visloc_ros.nodes.frame_poses import FramePoses
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.tracked_pose_messages import tracked_pose_to_msg
from visloc_ros.nodes.worker import Worker

FOLLOWED = "followed"


@dataclass(frozen=True)
class MapFollowingConfig(MapTrackingConfig):
    """Which map's points are followed, and how."""

    map_path: str = option(
        "", "map folder or reference.tar.gz, the same as the anchor node's; empty: odometry alone, nothing is followed"
    )
    map_frame: str = option("map", "frame id of the map")
    prediction_wait: float = option(
        0.05, "longest wait for the fused pose of a frame, which says where to look [s]", minimum=0.0, maximum=1.0
    )


class MapFollowing:
    """Publishes ``map_tracking`` for the frames it is offered, in a thread of its own; where it is late it skips some.

    Anchors of another map, and such as contradict the fused pose, are left out. ``outcomes`` counts what became of
    frames and messages.
    """

    def __init__(self, node: VislocNode, config: MapFollowingConfig, place: Map) -> None:
        self._logger, self._config = node.get_logger(), config
        self._map_name, self._tracker = place.name, MapTracker(place, config)
        self.outcomes: Counter[str] = Counter()
        self._skipped = 0
        self._predictions = FramePoses()
        self._anchor: AnchorPose | None = None
        self._begins_anew = threading.Event()
        self._publisher = node.publisher(TrackedPoseMsg, "map_tracking", RELIABLE)
        self._worker: Worker[tuple[Frame, str]] = Worker(self._track, self._count_error, capacity=1)
        node.undo(self._worker.close)
        node.subscription(Anchor, "anchor", self._take_anchor, RELIABLE)
        node.subscription(PoseWithCovarianceStamped, "camera_pose", self._take_prediction, RELIABLE)

    def offer(self, frame: Frame, camera_frame: str, is_late: bool) -> None:
        """Take the next frame; never waits. A late one, which keeps the odometry of a newer one waiting, is skipped."""
        if is_late:
            self._skipped += 1
        else:
            self._worker.put((frame, camera_frame))

    def restart(self) -> None:
        """Forget the anchor and all images: stamps start anew, or the camera is another one."""
        self._predictions.clear()
        self._begins_anew.set()  # the worker does the rest between two frames

    def values(self) -> dict[str, object]:
        """What diagnostics tell."""
        skipped = self._skipped + self._worker.dropped
        return {"map": self._map_name, "skipped": skipped, **self.outcomes}

    def _take_anchor(self, message: Anchor) -> None:
        try:
            anchor = anchor_from_msg(message)
        except MessageError as error:
            self._refuse(error)
            return
        if isinstance(anchor, Rejection):
            return
        if message.map_name != self._map_name:
            self.outcomes["anchor of another map"] += 1
            return
        self._anchor = anchor  # the worker takes it up between two frames

    def _take_prediction(self, message: PoseWithCovarianceStamped) -> None:
        try:
            self._predictions.add(stamp_from_msg(message.header.stamp), pose_from_msg(message.pose.pose))
        except MessageError as error:
            self._refuse(error)

    def _track(self, item: tuple[Frame, str]) -> None:
        frame, camera_frame = item
        self._take_up_news()
        predicted = self._predictions.of(frame.stamp_ns, self._config.prediction_wait)
        result = self._tracker.track(frame, predicted)
        self.outcomes[result.reason.value if isinstance(result, Rejection) else FOLLOWED] += 1
        self._publisher.publish(tracked_pose_to_msg(result, self._config.map_frame, camera_frame))

    def _take_up_news(self) -> None:
        anchor, self._anchor = self._anchor, None
        if self._begins_anew.is_set():
            self._begins_anew.clear()
            self._tracker.reset()
        elif anchor is not None and self._tracker.is_consistent(anchor):
            self._tracker.restart(anchor)
        elif anchor is not None:
            self.outcomes["anchor contradicts the fused pose"] += 1

    def _refuse(self, error: MessageError) -> None:
        self.outcomes["bad message"] += 1
        self._logger.warning(f"message left out: {error}", throttle_duration_sec=5.0)

    def _count_error(self, error: Exception) -> None:
        if rclpy.ok():  # Ctrl-C shuts the context down under the last frame
            self.outcomes[type(error).__name__] += 1
            self._logger.error(f"map points not followed: {type(error).__name__}: {error}")
