"""The camera's view as a pyramid for viewers: one closed line, which RViz and Foxglove draw without markers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pycolmap
from geometry_msgs.msg import Point32, PolygonStamped

from visloc_ros.core import camera as cameras
from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import header
from visloc_ros.nodes.qos import RELIABLE

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
