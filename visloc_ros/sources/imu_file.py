"""The IMU of a EuRoC recording: ``imu0.csv`` and its ``sensor.yaml``, or as released below ``mav0``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from visloc_ros.core.errors import CalibrationError, SourceError
from visloc_ros.core.files import read_yaml
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.sources.measurements import Accelerations, AngularRates

_NUM_VALUES = 6  # after the stamp: three angular velocities, three accelerations


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
