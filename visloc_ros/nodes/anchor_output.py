"""Output of a node that searches: each anchor, its inliers, and the last outcomes."""

from __future__ import annotations

import time
from collections import Counter, deque
from typing import Any

import cv2
import numpy as np
from sensor_msgs.msg import CompressedImage, PointCloud2

from visloc_msgs.msg import Anchor as AnchorMsg
from visloc_ros.core.landmark_colours import landmark_colours
from visloc_ros.core.types import Anchor, AnchorPose, Frame
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.camera_health import CameraHealth
from visloc_ros.nodes.conversions import anchor_to_msg, header, points_to_msg
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.sources.ros_images import encode_jpeg

ACCEPTED, RECENT = "accepted", 10  # searches behind the diagnostics
OLD_S = 5.0  # since the last one, from which on its age is reported: searches rest for 3 s at most
INLIER_COLOUR = (40, 220, 80)


class AnchorOutput:
    """Publishes anchors, their inliers and a picture of these, and counts them by outcome."""

    def __init__(self, node: VislocNode[Any], map_frame: str) -> None:
        self.outcomes: Counter[str] = Counter()
        self._map_frame = map_frame
        self._recent: deque[str] = deque(maxlen=RECENT)  # outcomes of the last searches
        self._publisher = node.publisher(AnchorMsg, "anchor", RELIABLE)
        self._inliers_publisher = node.publisher(PointCloud2, "inlier_points", RELIABLE)
        self._image_publisher = node.publisher(CompressedImage, "matches/compressed", RELIABLE)

    def publish(self, anchor: Anchor, frame: Frame, camera_frame: str) -> None:
        """Publish the result of the search for a frame."""
        result = anchor.result
        outcome = ACCEPTED if isinstance(result, AnchorPose) else result.reason.value
        self.outcomes[outcome] += 1
        self._last_s = time.monotonic()  # before there is an outcome: the diagnostics are of another thread
        self._recent.append(outcome)
        self._publisher.publish(anchor_to_msg(anchor, self._map_frame, camera_frame))
        if isinstance(result, AnchorPose):
            self._publish_inliers(frame, result, camera_frame)

    def _publish_inliers(self, frame: Frame, anchor: AnchorPose, camera_frame: str) -> None:
        if self._inliers_publisher.get_subscription_count():
            cloud = points_to_msg(frame.stamp_ns, self._map_frame, anchor.inlier_points)
            self._inliers_publisher.publish(cloud)
        if self._image_publisher.get_subscription_count():
            image = CompressedImage(header=header(frame.stamp_ns, camera_frame), format="jpeg")
            image.data = encode_jpeg(draw_inliers(frame, anchor), 85)
            self._image_publisher.publish(image)

    def judge(self, map_name: str, camera: CameraHealth) -> tuple[str, str]:
        """Level and message of the diagnostics, by the last searches."""
        if camera.problem:
            return "error", camera.problem
        if not self._recent:
            return "warn", "No image searched yet."
        num_found, age_s = self._recent.count(ACCEPTED), time.monotonic() - self._last_s
        if num_found:
            age = f", the last one {age_s:.0f} s ago" if age_s > OLD_S else ""
            words = f"Localizing: {num_found} of the last {len(self._recent)} images found in the map{age}."
            return ("warn", f"{words} {camera.warning}") if camera.warning else ("ok", words)
        (reason, count), *_ = Counter(self._recent).most_common(1)
        return "warn", (
            f"None of the last {len(self._recent)} images is found in the map '{map_name}' ({reason} in"
            f" {count}): does it show this place, and is this the camera's calibration?"
            f" {camera.warning}".rstrip()
        )


def draw_inliers(frame: Frame, anchor: AnchorPose) -> np.ndarray:
    """The frame (H, W, 3) with the inlier pixels of its pose, in the colours of their landmarks if it has any."""
    image, pixels = frame.rgb.copy(), np.round(anchor.inlier_pixels - 0.5).astype(int).tolist()
    colours = landmark_colours(anchor.inlier_landmarks).tolist() or [INLIER_COLOUR] * len(pixels)
    for (x, y), colour in zip(pixels, colours, strict=True):
        cv2.circle(image, (x, y), 3, colour, 1, cv2.LINE_AA)
    return image
