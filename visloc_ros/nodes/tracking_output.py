"""Output of the odometry node for each frame: odometry, loops, followed map points, keyframes, the view's pyramid."""

from __future__ import annotations

from collections import Counter, deque
from typing import Any

import numpy as np
import pycolmap
from geometry_msgs.msg import Point32, PolygonStamped
from nav_msgs.msg import Odometry as OdometryMsg
from sensor_msgs.msg import PointCloud2

from visloc_msgs.msg import LoopClosure as LoopClosureMsg
from visloc_msgs.msg import OdometryStatus
from visloc_msgs.msg import TrackedPose as TrackedPoseMsg
from visloc_ros.core import camera as cameras
from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, LoopClosure, OdometryPose, Rejection, TrackedPose
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import (
    header,
    loop_closure_to_msg,
    odometry_status_to_msg,
    points_to_msg,
    tracked_pose_to_msg,
    visual_odometry_to_msg,
)
from visloc_ros.nodes.keyframe_output import KeyframeOutput
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.pipeline import TrackingListener

TRACKED = "tracked"


class TrackingOutput(TrackingListener):
    """Publishes for subscribers, and counts; what is of the map, only if its points are ``followed``."""

    def __init__(self, node: VislocNode[Any], map_frame: str, followed: bool) -> None:
        self.statistics = OdometryStatistics()
        self.tracking_outcomes: Counter[str] = Counter()
        self.keyframes: KeyframeOutput | None = None
        self._map_frame = map_frame
        self._camera_frame, self._received, self._dropped = "", 0, 0
        self._pose_publisher = node.publisher(OdometryMsg, "visual_odom", RELIABLE)
        self._status_publisher = node.publisher(OdometryStatus, "odometry_status", RELIABLE)
        self._loop_publisher = node.publisher(LoopClosureMsg, "loop_closure", RELIABLE)
        self._tracking_publisher = node.publisher(TrackedPoseMsg, "map_tracking", RELIABLE) if followed else None
        self._points_publisher = node.publisher(PointCloud2, "followed_points", RELIABLE) if followed else None
        self._frustum = CameraFrustum(node)

    @property
    def has_subscribers(self) -> bool:
        """Whether the odometry has subscribers."""
        return bool(self._status_publisher.get_subscription_count())

    @property
    def keyframes_sent(self) -> int:
        """How many keyframes were published."""
        return 0 if self.keyframes is None else self.keyframes.published

    def set_input(self, camera_frame: str, received: int, dropped: int) -> None:
        """The camera of the next frame, and how many images have come and been given up."""
        self._camera_frame, self._received, self._dropped = camera_frame, received, dropped

    def on_odometry(self, frame: Frame, result: OdometryPose | Rejection) -> None:
        """Send the odometry of a frame."""
        self.statistics.add(result)
        self._send_status(result)
        if isinstance(result, OdometryPose) and self._pose_publisher.get_subscription_count():
            self._pose_publisher.publish(visual_odometry_to_msg(result, self._camera_frame))
        self._frustum.offer(frame, self._camera_frame)
        if self.keyframes is not None:
            self.keyframes.offer(frame, self._camera_frame, result)

    def on_skipped(self, rejection: Rejection) -> None:
        """Say that a frame has no odometry."""
        self._send_status(rejection)

    def on_loop_found(self, loop: LoopClosure) -> None:
        """Send a loop."""
        self._loop_publisher.publish(loop_closure_to_msg(loop, self._camera_frame))

    def on_points_followed(self, result: TrackedPose | Rejection) -> None:
        """Send a frame's pose by followed map points."""
        self.tracking_outcomes[result.reason.value if isinstance(result, Rejection) else TRACKED] += 1
        if self._tracking_publisher is not None and self._tracking_publisher.get_subscription_count():
            message = tracked_pose_to_msg(result, self._map_frame, self._camera_frame)
            self._tracking_publisher.publish(message)
        if self._points_publisher is not None and self._points_publisher.get_subscription_count():
            points = np.empty((0, 3)) if isinstance(result, Rejection) else result.inlier_points
            self._points_publisher.publish(points_to_msg(result.stamp_ns, self._map_frame, points))

    def _send_status(self, result: OdometryPose | Rejection) -> None:
        if self.has_subscribers:
            status = odometry_status_to_msg(result, self._camera_frame)
            status.frames_received, status.frames_dropped = self._received, self._dropped
            self._status_publisher.publish(status)


_REMEMBERED = 200  # frames


class OdometryStatistics:
    """Counts frames without a pose by reason, and remembers how long the newest took."""

    def __init__(self) -> None:
        self.last: OdometryPose | Rejection | None = None
        self._losses: Counter[str] = Counter()
        self._num_tracked = 0
        self._stamps_ns: deque[int] = deque(maxlen=_REMEMBERED)
        self._latencies_ms: deque[float] = deque(maxlen=_REMEMBERED)

    def add(self, result: OdometryPose | Rejection) -> None:
        """Take the result of the next frame."""
        if self.last is not None and result.stamp_ns <= self.last.stamp_ns:  # a looped bag
            self._stamps_ns.clear()
        self.last = result
        self._stamps_ns.append(result.stamp_ns)
        self._latencies_ms.append(sum(result.stage_ms.values()))
        if isinstance(result, Rejection):
            self._losses[result.reason.value] += 1
        else:
            self._num_tracked += 1

    def values(self) -> dict[str, object]:
        """Numbers by name; rate and latency are of the last 200 frames, the others since the start."""
        if self.last is None:
            return {}
        values: dict[str, object] = {"tracked": self._num_tracked}
        values |= {f"lost {reason}": count for reason, count in self._losses.items()}
        p50, p95 = np.percentile(self._latencies_ms, [50, 95])
        values |= {"frames a second": self._rate(), "latency p50 [ms]": f"{p50:.1f}", "latency p95 [ms]": f"{p95:.1f}"}
        return values | self._of_pose(self.last)

    def _rate(self) -> str:
        seconds = (self._stamps_ns[-1] - self._stamps_ns[0]) / NANOSECONDS
        return f"{(len(self._stamps_ns) - 1) / seconds:.1f}" if seconds > 0 else "unknown"

    @staticmethod
    def _of_pose(last: OdometryPose | Rejection) -> dict[str, object]:
        if isinstance(last, Rejection):
            return {}
        values: dict[str, object] = {"features": last.num_tracked, "segment": last.segment}
        if last.scale is not None:
            values["metres a unit"] = f"{last.scale.metres_per_unit:.4g} +- {100 * last.scale.log_sigma:.1f} %"
        if last.up_in_odom is not None:
            values["up in odometry"] = " ".join(f"{value:.3f}" for value in last.up_in_odom)
        return values


DEPTH = 0.4  # of the pyramid: visible in a room without hiding the scene
PERIOD_NS = NANOSECONDS // 10  # smooth to the eye
# The apex is 0, the corners are 1 to 4 around the image. No closed line has each of the eight edges once: two of the
# image's sides are drawn twice.
LINE = (0, 1, 2, 0, 3, 4, 1, 2, 3, 4)


class CameraFrustum:
    """Publishes ``camera_frustum`` in the camera's own frame while it has subscribers."""

    def __init__(self, node: VislocNode[Any]) -> None:
        self._publisher = node.publisher(PolygonStamped, "camera_frustum", RELIABLE)
        self._sent_ns = 0

    def offer(self, frame: Frame, camera_frame: str) -> None:
        """Send that of a frame unless the last one was just before it."""
        if not self._publisher.get_subscription_count() or 0 <= frame.stamp_ns - self._sent_ns < PERIOD_NS:
            return
        self._sent_ns = frame.stamp_ns
        line = frustum(frame.camera)[list(LINE)]
        if np.isfinite(line).all():  # the lens model may not reach the corners
            message = PolygonStamped(header=header(frame.stamp_ns, camera_frame))
            message.polygon.points = [Point32(x=x, y=y, z=z) for x, y, z in line.tolist()]
            self._publisher.publish(message)


def frustum(camera: pycolmap.Camera) -> Array:
    """Apex and corners (5, 3) in the camera frame, around the image from its top left."""
    width, height = camera.width, camera.height
    corners = cameras.rays(camera, [[0, 0], [width, 0], [width, height], [0, height]])
    return DEPTH * np.vstack([np.zeros(3), np.column_stack([corners, np.ones(4)])])
