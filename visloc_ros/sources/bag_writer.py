"""ROS 2 bags written from frames, readable by ``ros2 bag play`` from Humble on; no ROS is needed."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pycolmap
from rosbags.interfaces import Connection, Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime
from rosbags.rosbag2 import StoragePlugin, Writer

from visloc_ros.core.atomic_write import atomic_folder, restore
from visloc_ros.core.errors import ConfigError, OutputError, SourceError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.bag_messages import (
    SerializedMessage,
    deserialize,
    header_stamp_ns,
    iterate_serialized,
    typestore,
)
from visloc_ros.sources.bag_storage import check_sqlite_name
from visloc_ros.sources.bag_topics import CAMERA_INFO, camera_info_beside
from visloc_ros.sources.base import BAG_METADATA, EncodedFrame, EncodedSource
from visloc_ros.sources.calibration import camera_info_fields
from visloc_ros.sources.ros_images import encode_jpeg

logger = logging.getLogger(__name__)

Storage = Literal["mcap", "sqlite3"]

IMAGE_TOPIC, CAMERA_INFO_TOPIC = "/camera/image_raw/compressed", "/camera/camera_info"
GROUND_TRUTH_TOPIC = "/ground_truth/camera_pose"
WORLD_FRAME, BASE_FRAME, CAMERA_FRAME = "map", "base_link", "camera_optical_frame"

# Humble to Jazzy and later read version 8; version 9 is refused before Jazzy.
_BAG_VERSION: Literal[8] = 8
_PLUGINS = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
_FOREVER = QosTime(9223372036, 854775807)  # 2^63 - 1 ns, RMW_DURATION_INFINITE
_QUEUE_DEPTH = 10
_LARGEST_SECONDS = 2**31 - 1


class BagWriter:
    """Writes a bag folder under a temporary name and renames it when it is whole.

    A context manager: when its block fails nothing is left behind, and a bag to be overwritten stays as it was.
    Stamps are nanoseconds and serve as header stamp and, unless said otherwise, as time of reception. Raises
    OutputError when the folder cannot be written, or exists and ``overwrite`` is False or it is no bag.
    """

    def __init__(self, path: Path, storage: Storage = "mcap", overwrite: bool = False) -> None:
        if storage not in _PLUGINS:
            raise ConfigError(f"unknown bag storage '{storage}'; known: {', '.join(_PLUGINS)}")
        self._path = path
        self._storage = storage
        self._overwrite = overwrite
        self._connections: dict[str, Connection] = {}

    def __enter__(self) -> BagWriter:
        self._check_target()
        with ExitStack() as stack:
            folder = stack.enter_context(atomic_folder(self._path))
            folder.rmdir()  # rosbags makes it
            self._writer = Writer(folder, version=_BAG_VERSION, storage_plugin=_PLUGINS[self._storage])
            self._writer.open()
            stack.push(self._end)
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _end(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None:
            self._writer.close()
        else:
            self._writer.abort()

    def write_compressed_image(
        self, topic: str, stamp_ns: int, frame_id: str, data: bytes, image_format: str = "jpeg"
    ) -> None:
        """Write a ``sensor_msgs/CompressedImage`` of JPEG or PNG bytes."""
        message = _make("sensor_msgs/msg/CompressedImage")(
            header=_header(stamp_ns, frame_id), format=image_format, data=np.frombuffer(data, dtype=np.uint8)
        )
        self._write(topic, stamp_ns, message)

    def write_serialized(self, message: SerializedMessage) -> None:
        """Write a message of one of ROS 2's own types as another bag holds it."""
        connection = self._connection(message.topic, message.msgtype)
        self._writer.write(connection, message.receive_time_ns, message.data)

    def write_camera_info(
        self, topic: str, stamp_ns: int, frame_id: str, camera: pycolmap.Camera, receive_time_ns: int | None = None
    ) -> None:
        """Write a ``sensor_msgs/CameraInfo``. Raises CalibrationError for a model ROS has no name for."""
        k, d, distortion_model = camera_info_fields(camera)
        matrix = np.reshape(k, (3, 3))
        message = _make("sensor_msgs/msg/CameraInfo")(
            header=_header(stamp_ns, frame_id),
            height=camera.height,
            width=camera.width,
            distortion_model=distortion_model,
            d=np.array(d, dtype=np.float64),
            k=matrix.ravel(),
            r=np.eye(3).ravel(),
            p=np.hstack([matrix, np.zeros((3, 1))]).ravel(),
            binning_x=0,
            binning_y=0,
            roi=_make("sensor_msgs/msg/RegionOfInterest")(x_offset=0, y_offset=0, height=0, width=0, do_rectify=False),
        )
        self._write(topic, stamp_ns if receive_time_ns is None else receive_time_ns, message)

    def write_pose(self, topic: str, stamp_ns: int, frame_id: str, frame_from_body: SE3) -> None:
        """Write a ``geometry_msgs/PoseStamped`` in ``frame_id``."""
        message = _make("geometry_msgs/msg/PoseStamped")(
            header=_header(stamp_ns, frame_id), pose=_pose(frame_from_body)
        )
        self._write(topic, stamp_ns, message)

    def write_odometry(self, topic: str, stamp_ns: int, frame_id: str, child: str, frame_from_child: SE3) -> None:
        """Write a ``nav_msgs/Odometry`` pose; its covariances and its twist are zero, which says unknown."""
        message = _make("nav_msgs/msg/Odometry")(
            header=_header(stamp_ns, frame_id),
            child_frame_id=child,
            pose=_make("geometry_msgs/msg/PoseWithCovariance")(pose=_pose(frame_from_child), covariance=np.zeros(36)),
            twist=_make("geometry_msgs/msg/TwistWithCovariance")(
                twist=_make("geometry_msgs/msg/Twist")(linear=_vector(np.zeros(3)), angular=_vector(np.zeros(3))),
                covariance=np.zeros(36),
            ),
        )
        self._write(topic, stamp_ns, message)

    def write_imu(self, topic: str, stamp_ns: int, frame_id: str, acceleration: Array, angular_velocity: Array) -> None:
        """Write a ``sensor_msgs/Imu`` of m/s^2 (3,) and rad/s (3,), which says that its orientation is not measured."""
        message = _make("sensor_msgs/msg/Imu")(
            header=_header(stamp_ns, frame_id),
            orientation=_quaternion(SE3.identity()),
            orientation_covariance=np.array([-1.0, *np.zeros(8)]),
            angular_velocity=_vector(angular_velocity),
            angular_velocity_covariance=np.zeros(9),
            linear_acceleration=_vector(acceleration),
            linear_acceleration_covariance=np.zeros(9),
        )
        self._write(topic, stamp_ns, message)

    def write_tf(self, topic: str, stamp_ns: int, parent: str, child: str, parent_from_child: SE3) -> None:
        """Write one transform as ``tf2_msgs/TFMessage``; on a topic named ``tf_static`` it is transient local."""
        transform = _make("geometry_msgs/msg/TransformStamped")(
            header=_header(stamp_ns, parent),
            child_frame_id=child,
            transform=_make("geometry_msgs/msg/Transform")(
                translation=_vector(parent_from_child.translation),
                rotation=_quaternion(parent_from_child),
            ),
        )
        self._write(topic, stamp_ns, _make("tf2_msgs/msg/TFMessage")(transforms=[transform]))

    def _write(self, topic: str, receive_time_ns: int, message: Any) -> None:
        data = typestore().serialize_cdr(message, message.__msgtype__)
        self._writer.write(self._connection(topic, message.__msgtype__), receive_time_ns, data)

    def _connection(self, topic: str, msgtype: str) -> Connection:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(
                topic, msgtype, typestore=typestore(), offered_qos_profiles=[_offered_qos(topic)]
            )
        return self._connections[topic]

    def _check_target(self) -> None:
        if self._storage == "sqlite3":
            check_sqlite_name(self._path.absolute(), OutputError)
        restore(self._path)
        if not self._path.exists():
            return
        if not self._overwrite:
            raise OutputError(f"{self._path} exists: choose another name, or ask for it to be overwritten")
        if not (self._path / BAG_METADATA).is_file():
            raise OutputError(f"{self._path} exists and is no bag, so it is not overwritten: choose another name")


def write_bag(
    frames: Iterable[Frame | EncodedFrame],
    path: Path,
    ground_truth: Trajectory | None = None,
    *,
    storage: Storage = "mcap",
    overwrite: bool = False,
    base_from_camera: SE3 | None = None,
) -> int:
    """Write frames with their camera and true poses ``world_from_camera`` as a bag; give the number of images.

    Encoded frames, and those of a source that has them encoded, are copied as they are, others become JPEG.
    ``base_from_camera`` adds ``/tf_static``. Poses beyond the time of the images are left out. Raises OutputError, and
    SourceError when there are no frames.
    """
    count = 0
    with BagWriter(path, storage, overwrite) as writer:
        poses = _PoseCursor(writer, ground_truth)
        for frame in encode_frames(frames):
            if count == 0 and base_from_camera is not None:
                writer.write_tf("/tf_static", frame.stamp_ns, BASE_FRAME, CAMERA_FRAME, base_from_camera)
            poses.write_until(frame.stamp_ns)
            writer.write_camera_info(CAMERA_INFO_TOPIC, frame.stamp_ns, CAMERA_FRAME, frame.camera)
            writer.write_compressed_image(IMAGE_TOPIC, frame.stamp_ns, CAMERA_FRAME, frame.data, frame.format)
            count += 1
        if count == 0:
            raise SourceError(f"there are no frames to write to {path}")
    return count


def encode_frames(frames: Iterable[Frame | EncodedFrame]) -> Iterator[EncodedFrame]:
    """Encoded images of frames: as the source holds them where it does, else newly made JPEG."""
    for frame in frames.iter_encoded() if isinstance(frames, EncodedSource) else frames:
        if isinstance(frame, EncodedFrame):
            yield frame
            continue
        yield EncodedFrame(frame.stamp_ns, encode_jpeg(frame.image), "jpeg", frame.camera, frame.name)


class _PoseCursor:
    """Writes true poses in step with the images: from the last one not after the first image on."""

    def __init__(self, writer: BagWriter, trajectory: Trajectory | None) -> None:
        self._writer = writer
        self._trajectory = trajectory
        self._next: int | None = None

    def write_until(self, stamp_ns: int) -> None:
        """Write the poses up to the image at ``stamp_ns``."""
        if self._trajectory is None:
            return
        stamps_ns = self._trajectory.stamps_ns
        stop = int(np.searchsorted(stamps_ns, stamp_ns, side="right"))
        start = max(stop - 1, 0) if self._next is None else self._next
        for index in range(start, stop):
            pose = self._trajectory.poses[index]
            self._writer.write_pose(GROUND_TRUTH_TOPIC, int(stamps_ns[index]), WORLD_FRAME, pose)
        self._next = stop


def _make(msgtype: str) -> Any:
    return typestore().types[msgtype]


def _header(stamp_ns: int, frame_id: str) -> Any:
    seconds, nanoseconds = divmod(int(stamp_ns), NANOSECONDS)
    if not 0 <= seconds <= _LARGEST_SECONDS:
        raise OutputError(f"the stamp {stamp_ns} ns does not fit a ROS message, whose time ends in 2038")
    stamp = _make("builtin_interfaces/msg/Time")(sec=seconds, nanosec=nanoseconds)
    return _make("std_msgs/msg/Header")(stamp=stamp, frame_id=frame_id)


def _pose(frame_from_body: SE3) -> Any:
    x, y, z = frame_from_body.translation.tolist()
    return _make("geometry_msgs/msg/Pose")(
        position=_make("geometry_msgs/msg/Point")(x=x, y=y, z=z), orientation=_quaternion(frame_from_body)
    )


def _vector(values: Array) -> Any:
    x, y, z = values.tolist()
    return _make("geometry_msgs/msg/Vector3")(x=x, y=y, z=z)


def _quaternion(pose: SE3) -> Any:
    w, x, y, z = pose.quaternion.tolist()
    return _make("geometry_msgs/msg/Quaternion")(x=x, y=y, z=z, w=w)


def _offered_qos(topic: str) -> Qos:
    """Reliable, so that subscribers of either kind connect when the bag is played."""
    durability = QosDurability.TRANSIENT_LOCAL if topic.endswith("tf_static") else QosDurability.VOLATILE
    return Qos(
        QosHistory.KEEP_LAST,
        _QUEUE_DEPTH,
        QosReliability.RELIABLE,
        durability,
        _FOREVER,
        _FOREVER,
        QosLiveliness.AUTOMATIC,
        _FOREVER,
        False,
    )


def copy_with_camera_info(source: BagSource, bag: Path, copy: Path, camera: pycolmap.Camera) -> None:
    """Copy a whole bag, with ``camera`` as the CameraInfo of the images of ``source``.

    Messages of types that are not ROS 2's own are left out, and logged. Raises OutputError, SourceError and
    CalibrationError where ROS has no name for the camera's model.
    """
    topic = source.camera_info_topic or camera_info_beside(source.image_topic)
    unknown: set[str] = set()
    with BagWriter(copy) as writer:
        for message in iterate_serialized(bag):
            if message.topic == topic and message.msgtype == CAMERA_INFO:
                continue
            if message.msgtype not in typestore().fielddefs:
                unknown.add(message.topic)
                continue
            if message.topic == source.image_topic:
                stamp_ns = header_stamp_ns(deserialize(message))
                writer.write_camera_info(topic, stamp_ns, source.frame_id, camera, message.receive_time_ns)
            writer.write_serialized(message)
    if unknown:
        logger.warning("left out topics whose types are not ROS 2's own: %s", ", ".join(sorted(unknown)))
