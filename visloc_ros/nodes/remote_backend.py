"""The back end of an odometry node that runs alone: the fusion node, in another process."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped

from visloc_msgs.msg import Anchor as AnchorMsg
from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Anchor, AnchorPose
from visloc_ros.map_tracking import MapTracker
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.recent_poses import RecentPoses
from visloc_ros.pipeline.localizer import PoseBackend
from visloc_ros.sources.ros_messages import anchor_from_msg, pose_from_msg, stamp_from_msg

PREDICTIONS_KEPT = 8
LONGEST_GAP_NS = NANOSECONDS // 2  # after the newest fused pose; later ones will not come


class RemoteBackend(PoseBackend):
    """Receives anchors and fused poses by their topics; the node itself publishes the results of the frames.

    Without a ``tracker`` it subscribes to nothing. Anchors that contradict the fused pose are left out;
    ``outcomes`` counts them.
    """

    def __init__(self, node: VislocNode[Any], tracker: MapTracker | None) -> None:
        self.outcomes: Counter[str] = Counter()
        self.tracker = tracker
        self._predictions = RecentPoses(PREDICTIONS_KEPT, LONGEST_GAP_NS)
        self._anchors: deque[Anchor] = deque(maxlen=1)
        if tracker is not None:
            node.subscription(AnchorMsg, "anchor", self._take_anchor, RELIABLE)
            node.subscription(PoseWithCovarianceStamped, "camera_pose", self._take_prediction, RELIABLE)

    @property
    def has_anchor(self) -> bool:
        """Whether an anchor waits for the next frame."""
        return bool(self._anchors)

    def take_accepted(self) -> Sequence[Anchor]:
        """The newest anchor since the last call, unless it contradicts the fused pose of its image."""
        taken = []
        while self._anchors:
            anchor = self._anchors.popleft()
            if self._contradicts(anchor):
                self.outcomes["anchor contradicts the fused pose"] += 1
            else:
                taken.append(anchor)
        return taken

    def predict(self, stamp_ns: int) -> SE3 | None:
        """``map_from_camera`` at a stamp by the fused poses just before it."""
        return self._predictions.at(stamp_ns)

    def _take_anchor(self, message: AnchorMsg) -> None:
        anchor = anchor_from_msg(message)
        if isinstance(anchor.result, AnchorPose):
            self._anchors.append(anchor)

    def _take_prediction(self, message: PoseWithCovarianceStamped) -> None:
        self._predictions.add(stamp_from_msg(message.header.stamp), pose_from_msg(message.pose.pose))

    def _contradicts(self, anchor: Anchor) -> bool:
        if self.tracker is None or not isinstance(anchor.result, AnchorPose):
            return True
        return anchor.map.name == self.tracker.map_name and not self.tracker.is_consistent(anchor.result)
