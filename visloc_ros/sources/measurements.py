"""Measurements of other sensors, recorded beside the images.

The IMU of a EuRoC recording is ``imu0.csv`` and its ``sensor.yaml``, or as released below ``mav0``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.files import read_yaml
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import Trajectory

COMPASS_SIGMA_DEG = 10.0
"""Of a direction whose source states no error: compasses of phones near cars and steel are about that good."""

_NUM_VALUES = 6  # after the stamp: three angular velocities, three accelerations


@dataclass(frozen=True)
class GeoPosition:
    """A position in WGS 84: degrees, and metres of height.

    ``altitude`` is None where it was not recorded, ``sigma`` (horizontal standard deviation in metres) likewise.
    """

    latitude: float
    longitude: float
    altitude: float | None = None
    sigma: float | None = None


@dataclass(frozen=True, eq=False)
class WheelOdometry:
    """Poses ``odom_from_camera`` in metres, or ``odom_from_base`` where the camera's place on the base is unknown."""

    poses: Trajectory
    is_of_camera: bool


@dataclass(frozen=True, eq=False)
class Accelerations:
    """Specific force (N, 3) in m/s^2 (9.8 upwards at rest) in the axes of the camera, with stamps (N,) in ns."""

    stamps_ns: NDArray[np.int64]
    in_camera: Array


@dataclass(frozen=True, eq=False)
class AngularRates:
    """Angular velocity (N, 3) in rad/s about the axes of the camera, with stamps (N,) in ns."""

    stamps_ns: NDArray[np.int64]
    in_camera: Array


@dataclass(frozen=True, eq=False)
class Measurements:
    """Positions by the stamp of the image, wheel odometry, IMU samples; each empty or None where there is none."""

    geo_positions: Mapping[int, GeoPosition] = field(default_factory=dict)
    odometry: WheelOdometry | None = None
    accelerations: Accelerations | None = None
    angular_rates: AngularRates | None = None


@runtime_checkable
class MeasuringSource(Protocol):
    """A source with measurements of other sensors."""

    def read_measurements(self) -> Measurements:
        """Read the measurements of other sensors. Raises SourceError, or CalibrationError where a sensor's place on the
        camera is not known.
        """


def measurements_of(source: object) -> Measurements:
    """Measurements of any source: none where it cannot have any. Raises as the source does."""
    return source.read_measurements() if isinstance(source, MeasuringSource) else Measurements()


@dataclass(frozen=True, eq=False)
class ImuFile:
    """Path of the samples (stamp in ns, angular velocity, acceleration), and ``camera_from_imu`` (3, 3)."""

    path: Path
    camera_from_imu: Array

    def read(self) -> tuple[Accelerations, AngularRates]:
        """Read the samples. Raises SourceError that names the bad line."""
        try:
            lines = self.path.read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise SourceError(f"cannot read the IMU's samples {self.path}: {error}") from error
        samples = [
            _parse(self.path, number, line) for number, line in enumerate(lines, 1) if line.strip() and line[0] != "#"
        ]
        if not samples:
            raise SourceError(f"{self.path} holds no IMU samples")
        stamps_ns = np.array([stamp_ns for stamp_ns, _ in samples], dtype=np.int64)
        if np.any(np.diff(stamps_ns) <= 0):
            raise SourceError(f"the stamps in {self.path} do not increase")
        values = np.array([vector for _, vector in samples])
        rates, accelerations = values[:, :3] @ self.camera_from_imu.T, values[:, 3:] @ self.camera_from_imu.T
        return Accelerations(stamps_ns, accelerations), AngularRates(stamps_ns, rates)


def find_imu_file(root: Path, native: Path, camera_sensor: Path) -> ImuFile | None:
    """Find the IMU of a EuRoC recording, or None where it has none. Raises CalibrationError."""
    for samples, sensor in (
        (root / "imu0.csv", root / "imu0_sensor.yaml"),
        (native / "imu0" / "data.csv", native / "imu0" / "sensor.yaml"),
    ):
        if samples.is_file() and sensor.is_file():
            camera_from_imu = read_body_from_sensor(camera_sensor).inverse @ read_body_from_sensor(sensor)
            return ImuFile(samples, camera_from_imu.rotation)
    return None


def read_body_from_sensor(path: Path) -> SE3:
    """Pose of a sensor on the body (``T_BS``) from EuRoC's ``sensor.yaml``. Raises CalibrationError."""
    try:
        return SE3.from_matrix(np.reshape(read_yaml(path, CalibrationError)["T_BS"]["data"], (4, 4)))
    except (KeyError, TypeError, ValueError) as error:
        raise CalibrationError(f"{path} has no valid T_BS, the pose of the sensor on the body") from error


def _parse(path: Path, number: int, line: str) -> tuple[int, Array]:
    words = line.split(",")
    try:
        stamp_ns, values = int(words[0]), np.array(words[1 : 1 + _NUM_VALUES], dtype=np.float64)
    except ValueError as error:
        raise SourceError(f"{path}:{number}: not a number: {error}") from error
    if values.shape != (_NUM_VALUES,) or not np.all(np.isfinite(values)):
        raise SourceError(f"{path}:{number}: expected a stamp, three angular velocities and three accelerations")
    return stamp_ns, values
