"""Map tracking in the odometry node: the map whose points are followed, and the fusion node as a remote back end."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.impl.rcutils_logger import RcutilsLogger

from visloc_msgs.msg import Anchor as AnchorMsg
from visloc_msgs.msg import MapIdentity as MapIdentityMsg
from visloc_ros.core.config import option
from visloc_ros.core.errors import MapError, VislocError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.core.map_check import check_map
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Anchor, AnchorPose, MapIdentity
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig, RigMapTracker
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.predicted_poses import RecentPoses
from visloc_ros.nodes.qos import LATCHED, RELIABLE
from visloc_ros.pipeline.localizer import PoseBackend
from visloc_ros.sources.ros_messages import anchor_from_msg, map_identity_from_msg, pose_from_msg, stamp_from_msg


@dataclass(frozen=True)
class MapTrackingNodeConfig(MapTrackingConfig):
    """Which map's points are followed, and how."""

    map_path: str = option(
        "", "map folder or reference.tar.gz, the same as the anchor node's; empty: odometry alone, nothing is followed"
    )
    map_frame: str = option("map", "frame id of the map")


RETRY_S = 2.0  # after a map could not be loaded: it may be copied just now


class FollowedMap:
    """The map whose points are followed; another one, or another version, is loaded in the background.

    It is taken between two frames. The map in use carries its path on the machine that searches it. Where this machine
    has no such map, or another one, none is followed, ``problem`` says why, and it is tried again.
    """

    def __init__(self, path: Path, logger: RcutilsLogger) -> None:
        """Load the first one. Raises MapError."""
        self.map = open_searchable_map(path)
        self.problem = ""
        """Why points of the map in use are not followed, and what to do about it; or nothing."""
        self._logger = logger
        self._loading: threading.Thread | None = None
        self._loaded: Map | None = None
        self._offered: MapIdentity | None = None
        self._not_before_s = 0.0

    def take(self, in_use: MapIdentity | None) -> Map | None:
        """The map to use from now on, if it has changed; to be called between two frames with the map in use."""
        if self._loading is not None:
            return None if self._loading.is_alive() else self._take_loaded()
        if in_use is None or _is_same(in_use, self.map.identity):
            self.problem, self._offered = "", None
        elif self._offered is None or not _is_same(in_use, self._offered) or self._is_to_be_tried_again:
            self._offered = in_use
            self._loading = threading.Thread(target=self._load, args=(in_use,), daemon=True)
            self._loading.start()
        return None

    @property
    def _is_to_be_tried_again(self) -> bool:
        return bool(self.problem) and time.monotonic() >= self._not_before_s

    def _take_loaded(self) -> Map | None:
        self._loading, loaded, self._loaded = None, self._loaded, None
        self.map = loaded or self.map
        return loaded

    def _load(self, in_use: MapIdentity) -> None:
        try:
            self._loaded = _opened_as(in_use)
        except VislocError as error:
            self._not_before_s = time.monotonic() + RETRY_S
            words = f"points of the map '{in_use.name}' are not followed, odometry leads from anchor to anchor: {error}"
            if words != self.problem:
                self._logger.error(words)
            self.problem = words
        else:
            self.problem = ""
            version = self._loaded.manifest.version
            self._logger.info(f"points of version {version} of the map {in_use.path} are followed from now on")


def _is_same(one: MapIdentity, other: MapIdentity) -> bool:
    return one.shares_frame(other) and one.model_id == other.model_id


def _opened_as(in_use: MapIdentity) -> Map:
    """The map in use, or another version of it in the same frame. Raises MapError."""
    if not in_use.path:
        raise MapError("the node that searches it does not say where it lies")
    path = Path(in_use.path)
    check_map(path)
    found = open_searchable_map(path)
    if not found.identity.shares_frame(in_use):
        raise MapError(f"the map at {path} is in another frame: load it with load_map, or copy the one in use there")
    return found


PREDICTIONS_KEPT = 8
LONGEST_GAP_NS = NANOSECONDS // 2  # after the newest fused pose; later ones will not come
_IN_FLIGHT_NS = 5 * NANOSECONDS  # at most, of a fused pose: an earlier stamp is of a clock that began again


class RemoteBackend(PoseBackend):
    """Receives anchors and fused poses by their topics; the node itself publishes the results of the frames.

    Without a ``tracker`` it subscribes to nothing. Anchors that contradict the fused pose are left out;
    ``outcomes`` counts them.
    """

    def __init__(self, node: VislocNode[Any], tracker: MapTracker | RigMapTracker | None) -> None:
        self.outcomes: Counter[str] = Counter()
        self.tracker = tracker
        self._map: MapIdentity | None = None
        self._of_anchors: MapIdentity | None = None
        self._since_ns = 0  # the first image whose fused pose is in that map and of that camera
        self._camera_frame = ""  # of the camera that odometry follows, once it was another one before
        self._predictions = RecentPoses(PREDICTIONS_KEPT, LONGEST_GAP_NS)
        self._anchors: deque[Anchor] = deque(maxlen=1)
        if tracker is not None:
            node.subscription(MapIdentityMsg, "map_in_use", self._take_map, LATCHED)
            node.subscription(AnchorMsg, "anchor", self._take_anchor, RELIABLE)
            node.subscription(PoseWithCovarianceStamped, "camera_pose", self._take_prediction, RELIABLE)

    @property
    def map(self) -> MapIdentity | None:
        """The map that the fused pose is in, or without such a one that of the anchors; None while it is not known."""
        return self._map or self._of_anchors

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

    def follow_camera(self, camera_frame: str, since_ns: int) -> None:
        """Forget poses of the camera that odometry followed before, and those that are still on their way."""
        self._camera_frame, self._since_ns = camera_frame, since_ns
        self._predictions.clear()
        self._anchors.clear()

    def _take_anchor(self, message: AnchorMsg) -> None:
        if self._camera_frame and message.camera_frame_id != self._camera_frame:
            return
        anchor = anchor_from_msg(message)
        self._of_anchors = anchor.map
        if isinstance(anchor.result, AnchorPose):
            self._anchors.append(anchor)

    def _take_map(self, message: MapIdentityMsg) -> None:
        self._map, self._since_ns = map_identity_from_msg(message), stamp_from_msg(message.header.stamp)
        self._predictions.clear()

    def _take_prediction(self, message: PoseWithCovarianceStamped) -> None:
        stamp_ns = stamp_from_msg(message.header.stamp)
        if not 0 < self._since_ns - stamp_ns < _IN_FLIGHT_NS:  # those are in the map, or of the camera, before
            self._predictions.add(stamp_ns, pose_from_msg(message.pose.pose))

    def _contradicts(self, anchor: Anchor) -> bool:
        if self.tracker is None or not isinstance(anchor.result, AnchorPose):
            return True
        return anchor.map.shares_frame(self.tracker.map) and not self.tracker.is_consistent(anchor.result)
