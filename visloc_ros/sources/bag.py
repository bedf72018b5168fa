"""Frames from a ROS 2 bag: raw or compressed images, CameraInfo, true poses."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.calibration import CameraCalibration, guess_calibration
from visloc_ros.core.camera import check_image_size
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame, Image
from visloc_ros.sources.bag_measurements import read_imu, read_wheel_odometry
from visloc_ros.sources.bag_messages import (
    SerializedMessage,
    deserialize,
    header_stamp_ns,
    iterate_serialized,
    list_topics,
)
from visloc_ros.sources.bag_poses import read_camera_poses, read_transform_topic
from visloc_ros.sources.bag_topics import (
    COMPRESSED_IMAGE,
    IMU,
    ODOMETRY,
    TRANSFORMS,
    find_camera_info_topic,
    find_ground_truth_topic,
    find_image_topic,
    find_measurement_topic,
)
from visloc_ros.sources.base import OneCamera, SourceConfig, bag_stem
from visloc_ros.sources.calibration import calibration_from_camera_info
from visloc_ros.sources.image_header import read_image_header
from visloc_ros.sources.measurements import Measurements
from visloc_ros.sources.rectification import checked
from visloc_ros.sources.ros_images import decode_compressed, decode_image

logger = logging.getLogger(__name__)


class BagSource(OneCamera):
    """Images of one camera in a bag, stamped by their headers.

    An image that is broken or does not follow the one before in time is skipped, counted and logged. ``calibration``
    comes from the calibration file given or from the first CameraInfo; ``camera_info_topic`` is empty where a file is
    given, or the bag has none. The camera is guessed where CameraInfo is missing, or its K and P begin with zero: it is
    not calibrated. ``frame_id`` is that of the first image.
    """

    def __init__(self, path: Path, config: SourceConfig) -> None:
        topics = list_topics(path)
        self.name = bag_stem(path.resolve()) if path.is_file() else path.resolve().name
        self.skipped = 0
        self.image_topic = find_image_topic(topics, config.image_topic)
        self.compressed = topics[self.image_topic].msgtype == COMPRESSED_IMAGE
        self._path = path
        self._ground_truth_topic = find_ground_truth_topic(topics, config.ground_truth_topic)
        self._odometry_topic = find_measurement_topic(topics, config.odometry_topic, ODOMETRY)
        self._imu_topic = find_measurement_topic(topics, config.imu_topic, IMU)
        self._camera_from_imu = config.camera_from_imu
        self._selected = config.select(topics[self.image_topic].num_messages, self._receive_times_ns)
        self._is_rectified = config.rectified
        self._depth = BitDepth()
        given = config.read_calibration()
        self.camera_info_topic = (
            "" if given else find_camera_info_topic(topics, self.image_topic, config.camera_info_topic)
        )
        self.calibration = given or self._read_calibration() or guess_calibration(*self._first_size())
        self.frame_id = self._check_first_images()

    def __len__(self) -> int:
        return len(self._selected)

    def __iter__(self) -> Iterator[Frame]:
        return checked(self._read_frames())

    def _read_frames(self) -> Iterator[Frame]:
        self.skipped = 0
        previous_ns = -1
        for message in self._selected_messages():
            try:
                frame = self._decode(message, previous_ns)
            except SourceError as error:
                self._skip(error)
                continue
            check_image_size(self.camera, frame.image.shape[1], frame.image.shape[0])
            previous_ns = frame.stamp_ns
            yield frame

    @cached_property
    def ground_truth(self) -> Trajectory | None:
        """True poses ``world_from_camera``, read when first needed. Raises SourceError on an impossible pose."""
        return None if self._ground_truth_topic is None else self.read_ground_truth(self._ground_truth_topic)

    def read_ground_truth(self, topic: str) -> Trajectory:
        """True poses of a topic, which need not be that of the configuration. Raises SourceError."""
        topics = list_topics(self._path)
        find_ground_truth_topic(topics, topic)
        is_tree = topics[topic].msgtype == TRANSFORMS
        return (read_transform_topic if is_tree else read_camera_poses)(self._path, topic, self.frame_id)

    def read_measurements(self) -> Measurements:
        """Read the odometry and the IMU of the topics named in the configuration.

        Raises SourceError on impossible values, CalibrationError where the IMU's rotation to the camera is not known.
        """
        odometry, imu = self._odometry_topic, self._imu_topic
        accelerations, angular_rates = (
            read_imu(self._path, imu, self.frame_id, self._camera_from_imu) if imu else (None, None)
        )
        return Measurements(
            odometry=read_wheel_odometry(self._path, odometry, self.frame_id) if odometry else None,
            accelerations=accelerations,
            angular_rates=angular_rates,
        )

    def _selected_messages(self) -> Iterator[SerializedMessage]:
        selected = set(self._selected)
        messages = islice(iterate_serialized(self._path, [self.image_topic]), self._selected[-1] + 1)
        return (message for index, message in enumerate(messages) if index in selected)

    def _receive_times_ns(self) -> list[int]:
        return [message.receive_time_ns for message in iterate_serialized(self._path, [self.image_topic])]

    def _decode(self, serialized: SerializedMessage, previous_ns: int) -> Frame:
        message = deserialize(serialized)
        stamp_ns = header_stamp_ns(message)
        if stamp_ns <= previous_ns:
            raise SourceError(f"the image's stamp {stamp_ns} ns is not after {previous_ns} ns")
        return Frame(stamp_ns, decode_message(message, self._depth), self.camera, f"{stamp_ns}", self.calibration)

    def _skip(self, error: SourceError) -> None:
        self.skipped += 1
        if self.skipped == len(self):
            raise SourceError(f"none of the {len(self)} images on {self.image_topic} can be used: {error}")
        logger.warning("skipping an image of %s: %s", self.image_topic, error)

    def _read_calibration(self) -> CameraCalibration | None:
        """The calibration in CameraInfo; None without one, or where it marks the camera as uncalibrated."""
        topic = self.camera_info_topic
        if not topic:
            return None
        (info,) = self._first_messages(topic, 1)
        try:
            return calibration_from_camera_info(info, self.image_topic, self._is_rectified)
        except CalibrationError as error:
            raise CalibrationError(f"{topic}: {error}; or give a calibration file as 'camera'") from error

    def _first_size(self) -> tuple[int, int]:
        """Width and height of the first image that is whole."""
        failure: SourceError | None = None
        for message in self._selected_messages():
            try:
                return _read_size(deserialize(message))
            except SourceError as error:
                failure = error
        raise SourceError(f"none of the {len(self)} images on {self.image_topic} can be used: {failure}")

    def _first_messages(self, topic: str, count: int) -> list[Any]:
        messages = [deserialize(message) for message in islice(iterate_serialized(self._path, [topic]), count)]
        if not messages:
            raise SourceError(f"{self._path} announces {topic} but holds no message of it: the bag is damaged")
        return messages

    def _check_first_images(self) -> str:
        """Refuse a bag whose images have no stamps or another size than their CameraInfo; give their frame id."""
        first = self._first_messages(self.image_topic, 2)
        if len(first) == 2 and not any(map(header_stamp_ns, first)):
            raise SourceError(f"the images on {self.image_topic} carry no stamps: header.stamp is 0 in all of them")
        try:
            size = _read_size(first[0])
        except SourceError:  # iteration skips, counts and logs it
            return str(first[0].header.frame_id)
        check_image_size(self.camera, *size)
        return str(first[0].header.frame_id)


def decode_message(message: Any, depth: BitDepth) -> Image:
    """Decode an Image or CompressedImage message of a camera with this bit depth so far. Raises SourceError."""
    if hasattr(message, "format"):
        return decode_compressed(message.format, message.data, depth=depth)
    is_bigendian = bool(message.is_bigendian)
    return decode_image(
        message.encoding, message.width, message.height, message.step, message.data, is_bigendian, depth
    )


def _read_size(message: Any) -> tuple[int, int]:
    """Width and height of the image. Raises SourceError for a broken one."""
    if not hasattr(message, "format"):
        return message.width, message.height
    header = read_image_header(bytes(message.data))
    return header.width, header.height
