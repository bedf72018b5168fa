"""Records a robot's camera and other sensors on a drive through a place, to a bag for mapping."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import rclpy
from nav_msgs.msg import Odometry
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Imu

from visloc_ros.core.atomic_write import check_space
from visloc_ros.core.errors import OutputError, SourceError
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Frame
from visloc_ros.nodes.bag_recorder import full_name
from visloc_ros.nodes.base import VislocNode
from visloc_ros.nodes.camera_input import CameraInput, CameraInputConfig
from visloc_ros.nodes.qos import INERTIAL
from visloc_ros.nodes.transforms import StaticTransforms
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag_messages import SerializedMessage
from visloc_ros.sources.bag_topics import camera_info_beside
from visloc_ros.sources.bag_writer import BagWriter
from visloc_ros.sources.ros_images import encode_jpeg

IMAGE_TOPIC, IMU_TOPIC, WHEEL_TOPIC = "/camera/image_raw/compressed", "/imu", "/wheel_odom"
CAMERA_INFO_TOPIC = camera_info_beside(IMAGE_TOPIC)
JPEG_QUALITY = 95
LEAST_FREE_BYTES = 1 << 29  # left on the disk for the end of the bag, and for the map
LOG_PERIOD_S = 5.0


@dataclass(frozen=True)
class Recorded:
    """The content of a recording so far, and its bag; ``problem`` is why it ended early."""

    path: Path
    images: int = 0
    begin_ns: int = 0
    end_ns: int = 0
    imu_messages: int = 0
    wheel_messages: int = 0
    problem: str = ""

    @property
    def source_config(self) -> SourceConfig:
        """Its topics for the build of a map."""
        return SourceConfig(
            image_topic=IMAGE_TOPIC,
            imu_topic=IMU_TOPIC if self.imu_messages else "",
            odometry_topic=WHEEL_TOPIC if self.wheel_messages else "",
        )

    def __str__(self) -> str:
        counts = (("an IMU", self.imu_messages), ("wheel odometry", self.wheel_messages))
        sensors = [name for name, count in counts if count]
        beside = f" with {' and '.join(sensors)}" if sensors else ""
        seconds = (self.end_ns - self.begin_ns) / NANOSECONDS
        text = f"{self.images} images of {seconds:.0f} s{beside} in {self.path}"
        return f"{text}; it ended early: {self.problem}" if self.problem else text


class CameraRecording:
    """Records from its creation until ``finish``.

    The bag is self-contained: it holds the messages of the IMU and the wheels with their transforms to the camera. An
    IMU without a transform is left out, as no map could use it. The recording ends, and is kept, before the disk is
    full.
    Raises OutputError where it cannot be written, CalibrationError where a calibration file cannot be read.
    """

    def __init__(self, node: VislocNode[Any], config: CameraInputConfig, folder: Path) -> None:
        self._node = node
        self.recorded = Recorded(_new_path(folder))
        self._writing = threading.Lock()  # images come in another thread
        self._placed: set[str] = set()
        check_space(folder, LEAST_FREE_BYTES)
        with node.until_closed() as self._open:
            self._writer = self._open.enter_context(BagWriter(self.recorded.path))
            self._camera = CameraInput(node, config, self._take_frame)
            self._static = StaticTransforms(node)
            node.subscription(Imu, "imu", self._take_imu, INERTIAL, from_outside=True, serialized=True)
            node.subscription(Odometry, "wheel_odom", self._take_wheels, INERTIAL, from_outside=True, serialized=True)

    def finish(self) -> Recorded:
        """Close the bag. Without an image it is deleted: SourceError. Raises OutputError where it is incomplete."""
        with self._open:
            if not self.recorded.images:
                why = self._camera.health.problem if rclpy.ok() else ""  # unknown once it is shut down
                raise SourceError(f"nothing was recorded: {why or 'no image has come'}")
        return self.recorded

    def _take_frame(self, frame: Frame, camera_frame: str) -> None:
        data, stamp_ns = encode_jpeg(frame.image, JPEG_QUALITY), frame.stamp_ns
        is_calibrated = frame.calibration is not None and not frame.calibration.is_provisional

        def write(bag: BagWriter) -> None:
            if is_calibrated:
                bag.write_camera_info(CAMERA_INFO_TOPIC, stamp_ns, camera_frame, frame.camera)
            bag.write_compressed_image(IMAGE_TOPIC, stamp_ns, camera_frame, data)

        begin_ns = self.recorded.begin_ns if self.recorded.images else stamp_ns
        self._write(write, images=self.recorded.images + 1, begin_ns=begin_ns, end_ns=stamp_ns)
        self._node.get_logger().info(f"recording: {self.recorded}", throttle_duration_sec=LOG_PERIOD_S)

    def _take_imu(self, serialized: bytes) -> None:
        if self._place(deserialize_message(serialized, Imu).header.frame_id):
            message = self._message(IMU_TOPIC, Imu, serialized)
            self._write(lambda bag: bag.write_serialized(message), imu_messages=self.recorded.imu_messages + 1)

    def _take_wheels(self, serialized: bytes) -> None:
        self._place(deserialize_message(serialized, Odometry).child_frame_id)
        message = self._message(WHEEL_TOPIC, Odometry, serialized)
        self._write(lambda bag: bag.write_serialized(message), wheel_messages=self.recorded.wheel_messages + 1)

    def _place(self, frame: str) -> bool:
        """Write the transform of a sensor's frame to the camera; returns whether it is known."""
        camera_frame = self._camera.camera_frame
        if frame in self._placed or camera_frame is None:
            return frame in self._placed
        camera_from_sensor = self._static.lookup(camera_frame, frame)
        if camera_from_sensor is not None:
            mount = (camera_frame, frame, camera_from_sensor)
            self._write(lambda bag: bag.write_tf("/tf_static", self._node.now_ns(), *mount))
            self._placed.add(frame)
        return frame in self._placed

    def _message(self, topic: str, kind: type, serialized: bytes) -> SerializedMessage:
        return SerializedMessage(self._node.now_ns(), topic, full_name(kind), serialized)

    def _write(self, write: Callable[[BagWriter], None], **recorded: Any) -> None:
        """Write, then update the state of the recording; a full disk ends it."""
        with self._writing:
            if self.recorded.problem:
                return
            try:
                check_space(self.recorded.path.parent, LEAST_FREE_BYTES)
                write(self._writer)
            except (OSError, OutputError) as error:
                self.recorded = replace(self.recorded, problem=str(error))
                self._node.get_logger().error(f"the recording ends here, and is kept: {error}")
                return
            self.recorded = replace(self.recorded, **recorded)


def _new_path(folder: Path) -> Path:
    """A path in a folder, made if missing, named by the time of day. Raises OutputError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot make the folder {folder} for recordings: {error.strerror}") from error
    name = time.strftime("%Y%m%d_%H%M%S")
    others = (f"{name}_{number}" for number in count(2))
    return next(path for path in (folder / one for one in chain([name], others)) if not path.exists())
