"""Wheel odometry and an IMU from a bag, transformed to the camera by the bag's static transforms."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from visloc_ros.core.errors import CalibrationError, ConfigError, SourceError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.sources.bag_messages import header_stamp_ns, iterate_bag_messages
from visloc_ros.sources.bag_poses import first_message, read_pose_topic, read_static_transforms
from visloc_ros.sources.measurements import Accelerations, AngularRates, WheelOdometry

logger = logging.getLogger(__name__)

_NOT_MEASURED = -1.0  # sensor_msgs/Imu: first element of a covariance whose quantity is not measured
_UNIT_TOLERANCE = 1e-2


def read_wheel_odometry(path: Path, topic: str, camera_frame: str) -> WheelOdometry:
    """Read a ``nav_msgs/Odometry`` topic; ``/tf_static`` gives the camera's place on the base, if it holds it.

    Raises SourceError on an impossible pose.
    """
    poses = read_pose_topic(path, topic)
    base_frame = first_message(path, topic).child_frame_id.lstrip("/")
    base_from_camera = read_static_transforms(path).lookup(base_frame, camera_frame.lstrip("/"))
    if base_from_camera is None:
        logger.warning("no static transform from '%s' to '%s': its turns are left out", base_frame, camera_frame)
        return WheelOdometry(poses, is_of_camera=False)
    moved = tuple(pose @ base_from_camera for pose in poses.poses)
    return WheelOdometry(Trajectory(poses.stamps_ns, moved), is_of_camera=True)


def read_imu(
    path: Path, topic: str, camera_frame: str, camera_from_imu: str
) -> tuple[Accelerations | None, AngularRates | None]:
    """Read a ``sensor_msgs/Imu`` topic in the camera's axes; quantities that it does not measure are None.

    ``camera_from_imu`` is the rotation as a quaternion "w x y z"; empty takes it from ``/tf_static``. Raises
    SourceError on invalid samples, CalibrationError where the rotation is not known.
    """
    stamped = {header_stamp_ns(message): message for _, _, message in iterate_bag_messages(path, [topic])}
    messages = [stamped[stamp_ns] for stamp_ns in sorted(stamped)]
    stamps_ns = np.array(sorted(stamped), dtype=np.int64)
    rotation = _camera_from_imu(path, topic, camera_frame, camera_from_imu)
    accelerations = _read_vectors(topic, messages, "linear_acceleration")
    rates = _read_vectors(topic, messages, "angular_velocity")
    return (
        None if accelerations is None else Accelerations(stamps_ns, accelerations @ rotation.T),
        None if rates is None else AngularRates(stamps_ns, rates @ rotation.T),
    )


def _read_vectors(topic: str, messages: Sequence[Any], field: str) -> Array | None:
    """A quantity (N, 3) in the IMU's axes, or None where it is not measured.

    Its covariance should say so by -1; drivers that split the IMU into two topics leave plain zeros instead.
    """
    values = np.array([[value.x, value.y, value.z] for value in (getattr(message, field) for message in messages)])
    is_denied = any(getattr(message, f"{field}_covariance")[0] == _NOT_MEASURED for message in messages)
    if is_denied or not np.any(values):
        logger.warning("%s measures no %s", topic, field)
        return None
    if not np.all(np.isfinite(values)):
        raise SourceError(f"{topic} holds values of {field} that are not finite")
    return values


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
    imu_frame = first_message(path, topic).header.frame_id.lstrip("/")
    found = read_static_transforms(path).lookup(camera_frame.lstrip("/"), imu_frame)
    if found is None:
        raise CalibrationError(
            f"{path} has no static transform from the camera '{camera_frame}' to the IMU '{imu_frame}' of {topic}: "
            "give the rotation as camera_from_imu"
        )
    return found.rotation
