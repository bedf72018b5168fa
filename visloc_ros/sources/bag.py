"""Frames from a ROS 2 bag: raw or compressed images, CameraInfo, true poses."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from visloc_ros.core.bit_depth import BitDepth
from visloc_ros.core.calibration import CameraCalibration, guess_calibration
from visloc_ros.core.camera import check_image_size, is_same_camera
from visloc_ros.core.errors import CalibrationError, SourceError, VislocError
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame, Image
from visloc_ros.sources.bag_measurements import read_imu, read_wheel_odometry
from visloc_ros.sources.bag_messages import (
    SerializedMessage,
    deserialize,
    iterate_serialized,
    list_topics,
)
from visloc_ros.sources.bag_order import in_order
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
from visloc_ros.sources.ros_images import decode_compressed, decode_image, encoding_of, refuse_depth

logger = logging.getLogger(__name__)

_FIRST_INFOS = 30  # a second: the driver of a camera may publish before it has loaded its calibration


class BagSource(OneCamera):
    """Images of one camera in a bag, stamped by their headers.

    Images that overtook others on their way are put in order. One that is broken, or whose stamp cannot be put in
    order, is skipped, counted and logged. ``calibration`` comes from the calibration file given or from the first
    CameraInfo that holds one for the first image; where CameraInfo changes, as by a zoom, later frames have theirs.
    ``camera_info_topic`` is empty where a file is given, or the bag has none. The camera is guessed where CameraInfo is
    missing, or K and P of the first ones begin with zero: it is not calibrated. ``frame_id`` is the first image's.
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
        self._num_images = topics[self.image_topic].num_messages
        self._selected = config.select(self._num_images, self._receive_times_ns)
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
        for message, calibration in in_order(self._selected_images(), lambda item: item[0].stamp_ns, self._skip):
            try:
                frame = self._decode(message, calibration)
            except SourceError as error:
                self._skip(error)
                continue
            check_image_size(frame.camera, frame.image.shape[1], frame.image.shape[0])
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

    def read_stamps_ns(self) -> Sequence[int]:
        """Stamps of the images that iteration gives, by one pass over the bag that decodes none."""
        ordered = in_order(self._selected_messages(), lambda message: message.stamp_ns, lambda _: None)
        return [message.stamp_ns for message in ordered]

    def _selected_messages(self) -> Iterator[SerializedMessage]:
        selected = set(self._selected)
        messages = islice(iterate_serialized(self._path, [self.image_topic]), self._selected[-1] + 1)
        return (message for index, message in enumerate(messages) if index in selected)

    def _selected_images(self) -> Iterator[tuple[SerializedMessage, CameraCalibration]]:
        """The images selected, each with the calibration of the last CameraInfo that is not later than it."""
        topics = [self.image_topic] if not self.camera_info_topic else [self.image_topic, self.camera_info_topic]
        selected, last = set(self._selected), self._selected[-1]
        infos = CameraInfos(self.calibration, self._calibration_in)
        count, waiting = 0, None
        for message in iterate_serialized(self._path, topics):
            is_image = message.topic == self.image_topic
            if waiting is not None and (is_image or message.stamp_ns > waiting.stamp_ns):
                yield waiting, infos.calibration
                waiting = None
            if not is_image:
                infos.take(message)
            elif count > last:
                return
            else:
                waiting = message if count in selected else None
                count += 1
        if waiting is not None:
            yield waiting, infos.calibration

    def _receive_times_ns(self) -> list[int]:
        return [message.receive_time_ns for message in iterate_serialized(self._path, [self.image_topic])]

    def _decode(self, serialized: SerializedMessage, calibration: CameraCalibration) -> Frame:
        image, stamp_ns = decode_message(deserialize(serialized), self._depth), serialized.stamp_ns
        if _size(calibration) != image.shape[1::-1]:
            calibration = self.calibration
        return Frame(stamp_ns, image, calibration.camera, f"{stamp_ns}", calibration)

    def _skip(self, error: SourceError) -> None:
        self.skipped += 1
        if self.skipped == len(self):
            raise SourceError(f"none of the {len(self)} images on {self.image_topic} can be used: {error}")
        logger.warning("skipping an image of %s: %s", self.image_topic, error)

    def _read_calibration(self) -> CameraCalibration | None:
        """The first calibration in CameraInfo, of the first image's size if any is; None where there is none."""
        if not self.camera_info_topic:
            return None
        first: CameraCalibration | None = None
        for info in islice(self._messages(self.camera_info_topic), _FIRST_INFOS):
            calibration = self._calibration_in(info)
            if calibration is not None and _size(calibration) == self._size_of_first:
                return calibration
            first = first or calibration
        return first

    def _calibration_in(self, info: Any) -> CameraCalibration | None:
        try:
            return calibration_from_camera_info(info, self.image_topic, self._is_rectified)
        except CalibrationError as error:
            topic = self.camera_info_topic
            raise CalibrationError(f"{topic}: {error}; or give a calibration file as 'camera'") from error

    @cached_property
    def _size_of_first(self) -> tuple[int, int] | None:
        """Width and height of the first image; None where it is broken, which iteration skips, counts and logs."""
        first = next(self._messages(self.image_topic))
        try:
            return _read_size(first)
        except SourceError:
            return None

    def _first_size(self) -> tuple[int, int]:
        """Width and height of the first image that is whole."""
        failure: SourceError | None = None
        for message in self._selected_messages():
            try:
                return _read_size(deserialize(message))
            except SourceError as error:
                failure = error
        raise SourceError(f"none of the {len(self)} images on {self.image_topic} can be used: {failure}")

    def _messages(self, topic: str) -> Iterator[Any]:
        is_empty = True
        for message in iterate_serialized(self._path, [topic]):
            is_empty = False
            yield deserialize(message)
        if is_empty:
            raise SourceError(f"{self._path} announces {topic} but holds no message of it: the bag is damaged")

    def _check_first_images(self) -> str:
        """Refuse depth images, and those without stamps or of another size than CameraInfo; give their frame id."""
        stamps_ns = (message.stamp_ns for message in iterate_serialized(self._path, [self.image_topic]))
        if not any(stamps_ns) and self._num_images > 1:
            raise SourceError(f"the images on {self.image_topic} carry no stamps: header.stamp is 0 in all of them")
        first = next(self._messages(self.image_topic))
        refuse_depth(self.image_topic, encoding_of(first))
        if self._size_of_first is not None:
            check_image_size(self.camera, *self._size_of_first)
        return str(first.header.frame_id)


def decode_message(message: Any, depth: BitDepth) -> Image:
    """Decode an Image or CompressedImage message of a camera with this bit depth so far. Raises SourceError."""
    if hasattr(message, "format"):
        return decode_compressed(message.format, message.data, depth=depth)
    is_bigendian = bool(message.is_bigendian)
    return decode_image(
        message.encoding, message.width, message.height, message.step, message.data, is_bigendian, depth
    )


class CameraInfos:
    """Follows the CameraInfo of a bag: ``calibration`` is that of the last one that holds one.

    Messages that say the same share one object, as images of one camera do.
    """

    def __init__(
        self, calibration: CameraCalibration, calibration_in: Callable[[Any], CameraCalibration | None]
    ) -> None:
        self.calibration = calibration
        self._calibration_in = calibration_in
        self._known = b""

    def take(self, message: SerializedMessage) -> None:
        """Take the next CameraInfo; one that is damaged, or whose values cannot be, changes nothing and is logged."""
        if message.after_stamp == self._known:
            return
        self._known = message.after_stamp
        try:
            calibration = self._calibration_in(deserialize(message))
        except VislocError as error:
            logger.warning("keeping the calibration so far: %s", error)
            return
        if calibration is not None and not is_same_camera(calibration.camera, self.calibration.camera):
            self.calibration = calibration


def _size(calibration: CameraCalibration) -> tuple[int, int]:
    return calibration.camera.width, calibration.camera.height


def _read_size(message: Any) -> tuple[int, int]:
    """Width and height of the image. Raises SourceError for a broken one."""
    if not hasattr(message, "format"):
        return message.width, message.height
    header = read_image_header(bytes(message.data))
    return header.width, header.height
