"""Measurements of other sensors, recorded beside the images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import Trajectory


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
