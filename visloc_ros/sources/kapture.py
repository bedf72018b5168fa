"""Data sets in the kapture format (version 1): images, cameras, poses, rigs.

Tables are lines of comma-separated values, ``#`` starts a comment. A pose is that of the world in the device,
``device_from_world``, a rig's entry that of the rig in the sensor, ``sensor_from_rig``; quaternions are scalar first.
Cameras are COLMAP models in COLMAP pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby, pairwise
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
import pycolmap

from visloc_ros.core.camera import camera_from_params, check_image_of_calibration
from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.integer_stamps import stamps_from_integers
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.sources.base import NOMINAL_RATE_HZ
from visloc_ros.sources.layouts import Layout, StampedImage, refuse_rate, stamps_at_rate
from visloc_ros.sources.named_poses import NamedPoses

_SENSORS = Path("sensors")
_IMAGES = Path("sensors/records_data")
_MAX_RIG_DEPTH = 8
_UNIT_TOLERANCE = 1e-2


class Record(NamedTuple):
    """One image: its time as written, the device (camera) that took it, its path below ``records_data``."""

    timestamp: int
    device: str
    name: str


def is_kapture(root: Path) -> bool:
    """Whether a folder is a kapture data set with images."""
    return (root / _SENSORS / "records_camera.txt").is_file()


def read_kapture(root: Path, rate_hz: float) -> Layout | None:
    """Read a folder in kapture's layout, or None when it is in another.

    Timestamps are nanoseconds, or frame numbers at ``rate_hz`` where they are too close together for that. The
    cameras of a rig, which share a timestamp, are put 1 ns apart. Raises SourceError or CalibrationError.
    """
    if not is_kapture(root):
        return None
    records = read_records(root)
    cameras = read_cameras(root)
    stamps_ns = _stamps(root, [record.timestamp for record in records], rate_hz)
    images = tuple(
        StampedImage(stamp_ns, _image_path(root, record), record.name, _camera_of(root, cameras, record))
        for stamp_ns, record in zip(stamps_ns, records, strict=True)
    )
    poses = _poses_of(root, records)
    known = [(stamp_ns, poses[record]) for stamp_ns, record in zip(stamps_ns, records, strict=True) if record in poses]
    truth = Trajectory(np.array([stamp for stamp, _ in known]), tuple(pose for _, pose in known)) if known else None
    return Layout(images, None, truth)


def read_kapture_poses(root: Path) -> NamedPoses:
    """Poses ``world_from_camera`` of a kapture data set's images by name. Raises SourceError."""
    poses = _poses_of(root, read_records(root))
    if not poses:
        raise SourceError(f"{root / _SENSORS / 'trajectories.txt'} gives no pose of an image in records_camera.txt")
    return NamedPoses({record.name: pose for record, pose in poses.items()})


def read_records(root: Path) -> list[Record]:
    """Images of a data set in order of time, then of their names. Raises SourceError."""
    path = root / _SENSORS / "records_camera.txt"
    records = [Record(_integer(path, number, row[0]), row[1], row[2]) for number, row in _rows(path, 3, 3)]
    if not records:
        raise SourceError(f"{path} lists no images")
    names = sorted(record.name for record in records)
    for one, other in pairwise(names):
        if one == other:
            raise SourceError(f"{path} lists '{one}' twice: keep one of the lines")
    return sorted(records, key=lambda record: (record.timestamp, record.name))


def read_cameras(root: Path) -> dict[str, pycolmap.Camera | None]:
    """Cameras of a data set by sensor, None where the intrinsics are unknown.

    Raises CalibrationError on a camera that COLMAP does not know.
    """
    path = root / _SENSORS / "sensors.txt"
    rows = {row[0]: row[3:] for _, row in _rows(path, 3) if row[2] == "camera"}
    return {sensor: _camera(path, sensor, values) for sensor, values in rows.items()}


def _camera(path: Path, sensor: str, values: Sequence[str]) -> pycolmap.Camera | None:
    try:
        model, params = values[0], [float(value) for value in values[3:]]
        width, height = (int(value) for value in values[1:3])
        if model == "UNKNOWN_CAMERA":
            return None
        camera = camera_from_params(model, width, height, params)
        check_image_of_calibration(camera)
        return camera
    except (IndexError, ValueError) as error:
        raise CalibrationError(f"{path}: the camera '{sensor}' is malformed: {error}") from error
    except CalibrationError as error:
        raise CalibrationError(f"{path}: the camera '{sensor}': {error}") from error


def _camera_of(root: Path, cameras: Mapping[str, pycolmap.Camera | None], record: Record) -> pycolmap.Camera | None:
    if record.device not in cameras:
        raise CalibrationError(
            f"{root / _SENSORS / 'sensors.txt'} has no camera '{record.device}', which took '{record.name}'"
        )
    return cameras[record.device]


def _image_path(root: Path, record: Record) -> Path:
    name = PurePosixPath(record.name)
    if name.is_absolute() or ".." in name.parts:
        raise SourceError(f"'{record.name}' in {root / _SENSORS / 'records_camera.txt'} lies outside the data set")
    return root / _IMAGES / name


def _stamps(root: Path, timestamps: Sequence[int], rate_hz: float) -> list[int]:
    stamps_ns = stamps_from_integers([str(timestamp) for timestamp in timestamps])
    if stamps_ns is None:
        stamps_ns = stamps_at_rate(timestamps, rate_hz or NOMINAL_RATE_HZ)
    else:
        refuse_rate(root, rate_hz)
    return [stamp_ns + place for _, group in groupby(stamps_ns) for place, stamp_ns in enumerate(group)]


def _poses_of(root: Path, records: Sequence[Record]) -> dict[Record, SE3]:
    """Pose ``world_from_camera`` of every image that has one, its camera's own or by its rig."""
    trajectories = root / _SENSORS / "trajectories.txt"
    if not trajectories.is_file():
        return {}
    posed = {}
    for number, row in _rows(trajectories, 9, 9):
        if all(row[2:]):  # a pose may be left out in part, which leaves it useless here
            posed[_integer(trajectories, number, row[0]), row[1]] = _pose(trajectories, number, row[2:])
    rigs = _read_rigs(root)
    found = {record: _device_from_world(posed, rigs, record.timestamp, record.device) for record in records}
    return {record: pose.inverse for record, pose in found.items() if pose is not None}


def _read_rigs(root: Path) -> dict[str, tuple[str, SE3]]:
    """Rig and ``sensor_from_rig`` by sensor."""
    path = root / _SENSORS / "rigs.txt"
    if not path.is_file():
        return {}
    return {row[1]: (row[0], _pose(path, number, row[2:])) for number, row in _rows(path, 9, 9)}


def _device_from_world(
    posed: Mapping[tuple[int, str], SE3], rigs: Mapping[str, tuple[str, SE3]], timestamp: int, device: str
) -> SE3 | None:
    camera_from_device = SE3.identity()
    for _ in range(_MAX_RIG_DEPTH):
        if (timestamp, device) in posed:
            return camera_from_device @ posed[timestamp, device]
        if device not in rigs:
            return None
        device, sensor_from_rig = rigs[device]
        camera_from_device = camera_from_device @ sensor_from_rig
    raise SourceError(f"the rig '{device}' is a part of itself: check rigs.txt")


def _rows(path: Path, fewest: int, most: int | None = None) -> list[tuple[int, list[str]]]:
    """Numbered rows of a table. Raises SourceError on one with too few or too many values."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise SourceError(f"cannot read {path}: {error}") from error
    rows = [(number, [value.strip() for value in line.split(",")]) for number, line in enumerate(lines, 1)]
    rows = [(number, row) for number, row in rows if any(row) and not row[0].startswith("#")]
    for number, row in rows:
        if len(row) < fewest or (most is not None and len(row) > most):
            raise SourceError(f"{path}:{number}: {fewest} values are expected, there are {len(row)}")
    return rows


def _integer(path: Path, number: int, text: str) -> int:
    try:
        return int(text)
    except ValueError as error:
        raise SourceError(f"{path}:{number}: the timestamp '{text}' is not an integer") from error


def _pose(path: Path, number: int, values: Sequence[str]) -> SE3:
    try:
        numbers = np.array(values, dtype=np.float64)
    except ValueError as error:
        raise SourceError(f"{path}:{number}: not a number: {error}") from error
    if not np.all(np.isfinite(numbers)) or abs(np.linalg.norm(numbers[:4]) - 1.0) > _UNIT_TOLERANCE:
        raise SourceError(f"{path}:{number}: '{', '.join(values)}' is not a unit quaternion and a translation")
    return SE3.from_quaternion(numbers[:4], numbers[4:])
