"""Wheel odometry and accelerations from a bag, brought to the camera by the bag's static transforms."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np

from visloc_ros.core.errors import CalibrationError, ConfigError, SourceError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.sources.bag_messages import header_stamp_ns, iterate_bag_messages
from visloc_ros.sources.bag_poses import read_pose_topic, read_static_transforms
from visloc_ros.sources.measurements import Accelerations, WheelOdometry

logger = logging.getLogger(__name__)

_NO_ACCELERATION = -1.0  # sensor_msgs/Imu: first element of a covariance whose quantity is not measured
_UNIT_TOLERANCE = 1e-2


def read_wheel_odometry(path: Path, topic: str, camera_frame: str) -> WheelOdometry:
    """Read a ``nav_msgs/Odometry`` topic; ``/tf_static`` tells where the camera is on the base, if it does.

    Raises SourceError on an impossible pose.
    """
    poses = read_pose_topic(path, topic)
    base_frame = _first(path, topic).child_frame_id.lstrip("/")
    base_from_camera = read_static_transforms(path).find(base_frame, camera_frame.lstrip("/"))
    if base_from_camera is None:
        logger.warning("no static transform from '%s' to '%s': its turns are left out", base_frame, camera_frame)
        return WheelOdometry(poses, is_of_camera=False)
    moved = tuple(pose @ base_from_camera for pose in poses.poses)
    return WheelOdometry(Trajectory(poses.stamps_ns, moved), is_of_camera=True)


def read_accelerations(path: Path, topic: str, camera_frame: str, camera_from_imu: str) -> Accelerations:
    """Read the accelerations of a ``sensor_msgs/Imu`` topic in the camera's axes.

    ``camera_from_imu`` is the rotation as a quaternion "w x y z"; empty takes it from ``/tf_static``. Raises
    SourceError on samples that are none, CalibrationError where the rotation is not known.
    """
    stamped: dict[int, Array] = {}
    for _, _, message in iterate_bag_messages(path, [topic]):
        if message.linear_acceleration_covariance[0] == _NO_ACCELERATION:
            raise SourceError(f"{topic} measures no acceleration (its covariance begins with -1): name another topic")
        value = message.linear_acceleration
        stamped[header_stamp_ns(message)] = np.array([value.x, value.y, value.z])
    stamps_ns = sorted(stamped)
    in_imu = np.array([stamped[stamp_ns] for stamp_ns in stamps_ns])
    if not np.all(np.isfinite(in_imu)):
        raise SourceError(f"{topic} holds accelerations that are not finite")
    rotation = _camera_from_imu(path, topic, camera_frame, camera_from_imu)
    return Accelerations(np.array(stamps_ns, dtype=np.int64), in_imu @ rotation.T)


def parse_rotation(text: str) -> Array:
    """Rotation matrix (3, 3) of a quaternion written "w x y z". Raises ConfigError."""
    try:
        wxyz = np.array(text.replace(",", " ").split(), dtype=np.float64)
    except ValueError as error:
        raise ConfigError(f"'{text}' is not a quaternion 'w x y z': {error}") from error
    if wxyz.shape != (4,) or not abs(np.linalg.norm(wxyz) - 1.0) <= _UNIT_TOLERANCE:
        raise ConfigError(f"'{text}' is not a unit quaternion 'w x y z'")
    return SE3.from_quaternion(wxyz, np.zeros(3)).rotation


def _camera_from_imu(path: Path, topic: str, camera_frame: str, given: str) -> Array:
    if given:
        return parse_rotation(given)
    imu_frame = _first(path, topic).header.frame_id.lstrip("/")
    found = read_static_transforms(path).find(camera_frame.lstrip("/"), imu_frame)
    if found is None:
        raise CalibrationError(
            f"{path} has no static transform from the camera '{camera_frame}' to the IMU '{imu_frame}' of {topic}: "
            "give the rotation as camera_from_imu"
        )
    return found.rotation


def _first(path: Path, topic: str) -> Any:
    for _, _, message in iterate_bag_messages(path, [topic]):
        return message
    raise SourceError(f"{topic} holds no message")
