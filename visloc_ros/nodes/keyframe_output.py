"""Keyframes as JPEG for an anchor machine: sharp images of new views, chosen and encoded beside the tracking."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
from sensor_msgs.msg import CompressedImage

from visloc_ros.core.config import Config, option
from visloc_ros.core.sharpness import sharpness, shrink
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame, OdometryPose, Rejection
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.conversions import header
from visloc_ros.nodes.qos import RELIABLE
from visloc_ros.nodes.worker import Worker
from visloc_ros.sources.ros_images import encode_jpeg

_REMEMBERED = 30  # sharpnesses
_MIN_SHARPNESS = 0.7  # of the usual one: the next frame, 30 ms later, is often sharp again


@dataclass(frozen=True)
class KeyframeConfig(Config):
    """Which frames are published as keyframes, and how."""

    min_interval: float = option(0.3, "least time between two keyframes [s]", minimum=0.0, maximum=60.0)
    max_interval: float = option(
        1.0, "time after which a keyframe is sent even without a new view [s]", minimum=0.0, maximum=3600.0
    )
    jpeg_quality: int = option(90, "JPEG quality of the keyframes", minimum=1, maximum=100)


class KeyframeChoice:
    """Judges frames in the order of their stamps."""

    def __init__(self, config: KeyframeConfig) -> None:
        self._config = config
        self._last_ns: int | None = None
        self._sharpnesses: deque[float] = deque(maxlen=_REMEMBERED)

    def is_due(self, stamp_ns: int, has_new_view: bool) -> bool:
        """Whether a frame is wanted if it is sharp: a new view since the last one, or much time."""
        if self._last_ns is None or stamp_ns < self._last_ns:  # a looped bag
            return True
        waited_s = (stamp_ns - self._last_ns) / NANOSECONDS
        return waited_s >= (self._config.min_interval if has_new_view else self._config.max_interval)

    def take(self, stamp_ns: int, sharpness: float) -> bool:
        """Take a frame that is due, unless it is blurred: then one of the next will do."""
        self._sharpnesses.append(sharpness)
        if sharpness < _MIN_SHARPNESS * float(np.median(self._sharpnesses)):
            return False
        self._last_ns = stamp_ns
        return True


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
    def has_subscribers(self) -> bool:
        """Whether the keyframes have subscribers."""
        return bool(self._publisher.get_subscription_count())

    def offer(self, frame: Frame, camera_frame: str, result: OdometryPose | Rejection) -> None:
        """Take a frame and its odometry; never waits."""
        if not self.has_subscribers:
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
