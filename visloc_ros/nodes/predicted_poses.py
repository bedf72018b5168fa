"""Where a search looks first, and which images are worth one: by the fused poses that come back."""

from __future__ import annotations

from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped

from visloc_ros.core.geometry import SE3
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.recent_poses import RecentPoses
from visloc_ros.nodes.search_pace import SearchPace
from visloc_ros.sources.ros_messages import pose_from_msg, stamp_from_msg

KEPT = 128
MAX_GAP_NS = NANOSECONDS // 5  # a few frames: the camera is still where the search looks for it


class PredictedPoses:
    """Hears fused poses and priors for a node that searches; images that are not worth it it does not want."""

    def __init__(self, node: VislocNode[Any], search_period_s: float) -> None:
        self._poses, self._pace = RecentPoses(KEPT, MAX_GAP_NS), SearchPace(search_period_s)
        node.subscription(PoseWithCovarianceStamped, "camera_pose", self._take_fused, RELIABLE)
        node.subscription(PoseWithCovarianceStamped, "search_prior", self._take_prior, RELIABLE)

    def at(self, stamp_ns: int) -> SE3 | None:
        """``map_from_camera`` as it is expected of an image, or None."""
        return self._poses.at(stamp_ns)

    def wants(self, stamp_ns: int) -> bool:
        """Whether the image of a stamp is worth a search."""
        return self._pace.wants(stamp_ns)

    def tell_found(self, result: AnchorPose | Rejection, predicted: SE3 | None) -> None:
        """A search is done; ``predicted`` is ``map_from_camera`` as it was expected."""
        self._pace.tell_found(result, predicted)

    def clear(self) -> None:
        """Forget what refers to a map that is used no more."""
        self._poses.clear()

    def _take_fused(self, message: PoseWithCovarianceStamped) -> None:
        self._pace.tell_fused(stamp_from_msg(message.header.stamp))
        self._take_prior(message)

    def _take_prior(self, message: PoseWithCovarianceStamped) -> None:
        self._poses.add(stamp_from_msg(message.header.stamp), pose_from_msg(message.pose.pose))
