"""Map tracking in the odometry node: the map whose points are followed, and the fusion node as a remote back end."""

from __future__ import annotations

import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from geometry_msgs.msg import PoseWithCovarianceStamped
from rclpy.impl.rcutils_logger import RcutilsLogger

from visloc_msgs.msg import Anchor as AnchorMsg
from visloc_ros.core.config import option
from visloc_ros.core.errors import MapError, VislocError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.core.map_check import check_map
from visloc_ros.core.map_versions import are_versions, version_mark
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Anchor, AnchorPose, MapIdentity
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.map_tracking import MapTracker, MapTrackingConfig, RigMapTracker
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.predicted_poses import RecentPoses
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.pipeline.localizer import PoseBackend
from visloc_ros.sources.ros_messages import anchor_from_msg, pose_from_msg, stamp_from_msg


@dataclass(frozen=True)
class MapTrackingNodeConfig(MapTrackingConfig):
    """Which map's points are followed, and how."""

    map_path: str = option(
        "", "map folder or reference.tar.gz, the same as the anchor node's; empty: odometry alone, nothing is followed"
    )
    map_frame: str = option("map", "frame id of the map")


class FollowedMap:
    """The map in use; another version of it, or the map of new anchors, is loaded in the background.

    It is taken between two frames. Anchors carry the path of their map on their machine. Where this machine has no such
    map, none is followed until anchors of the old one come again. A version is noticed by its file on the disk.
    """

    def __init__(self, path: Path, logger: RcutilsLogger) -> None:
        """Load the first one. Raises MapError."""
        self._path, self._mark = path, version_mark(path)
        self.map = open_searchable_map(path)
        self._logger = logger
        self._loading: threading.Thread | None = None
        self._loaded: Map | None = None
        self._tried = ""

    def offer(self, of_anchor: MapIdentity) -> None:
        """An anchor has come from a map that is not in use here."""
        if self._loading is not None or not of_anchor.path or of_anchor.path == self._tried:
            return
        self._tried = of_anchor.path
        self._begin(self._load_other, Path(of_anchor.path))

    def take(self) -> Map | None:
        """The map to use from now on, if it has changed; to be called between two frames."""
        if self._loading is None:
            mark = version_mark(self._path)
            if mark is None or mark == self._mark:  # there is none for a moment while another one takes its place
                return None
            self._mark = mark
            self._begin(self._load_version, self._path)
        elif not self._loading.is_alive():
            self._loading, loaded, self._loaded = None, self._loaded, None
            if loaded is not None:
                self.map, self._tried = loaded, ""
            return loaded
        return None

    def _begin(self, load: Callable[[Path], None], path: Path) -> None:
        self._loading = threading.Thread(target=load, args=(path,), daemon=True)
        self._loading.start()

    def _load_other(self, path: Path) -> None:
        mark = version_mark(path)
        try:
            check_map(path)
            self._loaded = open_searchable_map(path)
        except VislocError as error:
            self._logger.error(f"points of the anchor node's map are not followed, odometry leads alone: {error}")
        else:
            self._path, self._mark = path, mark
            self._logger.info(f"points of the map '{self._loaded.name}' of {path} are followed from now on")

    def _load_version(self, path: Path) -> None:
        try:
            check_map(path)
            version = open_searchable_map(path)
            if not are_versions(version, self.map):
                raise MapError("it was built anew, in a frame of its own: restart the nodes")
        except VislocError as error:
            self._logger.error(f"points of the map that was in {path} are followed, not of the one there now: {error}")
        else:
            self._loaded = version
            self._logger.info(f"points of version {version.manifest.version} of {path} are followed from now on")


PREDICTIONS_KEPT = 8
LONGEST_GAP_NS = NANOSECONDS // 2  # after the newest fused pose; later ones will not come


class RemoteBackend(PoseBackend):
    """Receives anchors and fused poses by their topics; the node itself publishes the results of the frames.

    Without a ``tracker`` it subscribes to nothing. Anchors that contradict the fused pose are left out;
    ``outcomes`` counts them.
    """

    def __init__(self, node: VislocNode[Any], tracker: MapTracker | RigMapTracker | None) -> None:
        self.outcomes: Counter[str] = Counter()
        self.tracker = tracker
        self._camera_frame = ""  # of the camera that odometry follows, once it was another one before
        self._predictions = RecentPoses(PREDICTIONS_KEPT, LONGEST_GAP_NS)
        self._anchors: deque[Anchor] = deque(maxlen=1)
        if tracker is not None:
            node.subscription(AnchorMsg, "anchor", self._take_anchor, RELIABLE)
            node.subscription(PoseWithCovarianceStamped, "camera_pose", self._take_prediction, RELIABLE)

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

    def follow_camera(self, camera_frame: str) -> None:
        """Forget poses of the camera that odometry followed before."""
        self._camera_frame = camera_frame
        self._predictions.clear()
        self._anchors.clear()

    def _take_anchor(self, message: AnchorMsg) -> None:
        if self._camera_frame and message.camera_frame_id != self._camera_frame:
            return
        anchor = anchor_from_msg(message)
        if isinstance(anchor.result, AnchorPose):
            self._anchors.append(anchor)

    def _take_prediction(self, message: PoseWithCovarianceStamped) -> None:
        self._predictions.add(stamp_from_msg(message.header.stamp), pose_from_msg(message.pose.pose))

    def _contradicts(self, anchor: Anchor) -> bool:
        if self.tracker is None or not isinstance(anchor.result, AnchorPose):
            return True
        return anchor.map.name == self.tracker.map_name and not self.tracker.is_consistent(anchor.result)
