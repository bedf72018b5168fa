"""Everything that can be wrong with a camera's images, gathered: what keeps them away, and what they suffer from."""

from __future__ import annotations

import time

import numpy as np
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image

from visloc_ros.core.calibration import CalibrationSource, CameraCalibration
from visloc_ros.core.types import Frame
from visloc_ros.nodes.image_health import ImageHealth
from visloc_ros.nodes.picture_health import PictureHealth
from visloc_ros.nodes.publisher_match import mismatch
from visloc_ros.nodes.stamp_health import StampHealth
from visloc_ros.sources.ros_messages import stamp_from_msg


class CameraHealth:
    """Hears of each image and camera_info of one camera, on the topic ``topic`` that may be renamed."""

    def __init__(
        self, node: Node, kind: type, topic: str, qos: QoSProfile, *, are_keyframes: bool, is_rectified: bool
    ) -> None:
        self._node, self._kind, self._qos, self._is_rectified = node, kind, qos, is_rectified
        self._topic = node.resolve_topic_name(topic)
        uses_sim_time = bool(node.get_parameter("use_sim_time").value)
        self._arrivals = ImageHealth(self._topic, time.monotonic(), are_keyframes)
        self._stamps, self._pictures = StampHealth(uses_sim_time), PictureHealth()
        self._calibration: CameraCalibration | None = None

    def image(self, message: Image | CompressedImage) -> None:
        """An image has arrived."""
        self._arrivals.image(time.monotonic())
        stamp_ns = stamp_from_msg(message.header.stamp)
        if stamp_ns > 0:
            self._stamps.image(stamp_ns, self._node.get_clock().now().nanoseconds)

    def camera_info(self) -> None:
        """A camera_info has arrived."""
        self._arrivals.camera_info(time.monotonic())

    def used(self, frame: Frame) -> None:
        """The newest image can be used."""
        self._arrivals.used()
        self._pictures.image(time.monotonic(), frame.image)
        self._calibration = frame.calibration

    def unused(self, why: str) -> None:
        """The newest image cannot be used."""
        self._arrivals.unused(time.monotonic(), why)

    @property
    def rate_hz(self) -> float:
        """Images a second, of the last ones."""
        return self._arrivals.rate_hz

    @property
    def problem(self) -> str:
        """What keeps images away, with what to do about it; or nothing."""
        num_publishers = self._node.count_publishers(self._topic)
        problem = self._arrivals.problem(time.monotonic(), num_publishers)
        return f"{problem} Why: {self._mismatch()}." if problem and self._mismatch() else problem

    @property
    def warning(self) -> str:
        """What images suffer from that come and can be used, with what to do about it; or nothing."""
        stamps = self._stamps.warning(self._node.count_publishers("/clock") > 0)
        return stamps or self._pictures.warning(time.monotonic()) or self._distortion()

    def _mismatch(self) -> str:
        return mismatch(self._node, self._topic, self._kind, self._qos)

    def _distortion(self) -> str:
        """Rectified images have none: an image_proc renames the topic, and camera_info goes on telling the lens's."""
        calibration = self._calibration
        if calibration is None or calibration.source is not CalibrationSource.RECORDED or "rect" not in self._topic:
            return ""
        camera = calibration.camera
        if self._is_rectified or not np.any(camera.params[camera.extra_params_idxs()]):
            return ""
        return f"Images of {self._topic} seem to be rectified, but are taken to be distorted: set camera.is_rectified."
