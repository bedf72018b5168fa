"""Keyframes as JPEG for an anchor machine, chosen and encoded beside the tracking."""

from __future__ import annotations

import threading
from typing import Any

from sensor_msgs.msg import CompressedImage

from visloc_ros.core.sharpness import sharpness, shrink
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import header
from visloc_ros.nodes.keyframe_choice import KeyframeChoice, KeyframeConfig
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.worker import Worker
from visloc_ros.sources.ros_images import encode_jpeg


class KeyframeOutput:
    """Publishes ``keyframe/compressed`` while it has subscribers; ``published`` counts the images sent."""

    def __init__(self, node: VislocNode[Any], config: KeyframeConfig) -> None:
        self.published = 0
        self._config = config
        self._choice = KeyframeChoice(config)
        self._has_new_view = threading.Event()
        self._publisher = node.publisher(CompressedImage, "keyframe/compressed", RELIABLE)
        self._worker: Worker[tuple[Frame, str]] = node.worker("keyframe", self._consider, capacity=1)

    @property
    def is_heard(self) -> bool:
        """Whether the keyframes have subscribers."""
        return bool(self._publisher.get_subscription_count())

    def offer(self, frame: Frame, camera_frame: str, result: OdometryPose | Rejection) -> None:
        """Take a frame and its odometry; never waits."""
        if not self.is_heard:
            return
        if isinstance(result, OdometryPose) and result.is_keyframe:
            self._has_new_view.set()
        self._worker.put((frame, camera_frame))

    def _consider(self, item: tuple[Frame, str]) -> None:
        frame, camera_frame = item
        if not self._choice.is_due(frame.stamp_ns, self._has_new_view.is_set()):
            return
        if self._choice.take(frame.stamp_ns, sharpness(shrink(frame.grey))):
            self._has_new_view.clear()
            image = CompressedImage(header=header(frame.stamp_ns, camera_frame), format="jpeg")
            image.data = encode_jpeg(frame.image, self._config.jpeg_quality)
            self._publisher.publish(image)
            self.published += 1
