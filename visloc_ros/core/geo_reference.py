"""Where on the earth a map lies, and poses of the map there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from visloc_ros.core.errors import MapError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.wgs84 import EnuFrame

GEO_SIGMA_M = 5.0
"""Standard deviation of positions that do not state theirs: of a phone under the open sky. A receiver's error hardly
changes while a map is recorded, so the map's own error is that of one of its positions."""
HEIGHT_FACTOR = 2.0
"""Satellites are only above: heights are about half as good as positions."""
AXES_SIGMA_DEG = 6.0
"""A map whose axes are known less well is not placed on the earth."""
_LEAST_LEVEL = 1e-3  # of the optical axis: a camera that looks more steeply has no heading


@dataclass(frozen=True, eq=False)
class GeoPose:
    """A pose on the earth: degrees in WGS 84, and metres of height above what the map's heights are above.

    ``altitude`` is None where the map's is not known. ``heading_deg`` is that of the optical axis, clockwise from true
    north, with its standard deviation; both are None where the camera looks straight up or down. ``covariance`` (3, 3)
    is of the position, metres squared east, north and up; the map's own error is part of both.
    """

    latitude: float
    longitude: float
    altitude: float | None
    heading_deg: float | None
    heading_sigma_deg: float | None
    covariance: Array

    def to_mapping(self) -> dict[str, Any]:
        """Its values as plain ones for JSON."""
        return {
            "latitude": self.latitude,
            "longitude": self.longitude,
            "altitude": self.altitude,
            "heading_deg": self.heading_deg,
            "heading_sigma_deg": self.heading_sigma_deg,
            "covariance": self.covariance.tolist(),
        }

    def __str__(self) -> str:
        sigma_m = math.sqrt(float(np.linalg.eigvalsh(self.covariance[:2, :2])[-1]))
        words = f"lat {self.latitude:.7f} lon {self.longitude:.7f} +-{sigma_m:.1f} m"
        if self.altitude is not None:
            words += f" alt {self.altitude:.1f} m"
        return words if self.heading_deg is None else f"{words} heading {self.heading_deg:.1f} deg"


@dataclass(frozen=True)
class GeoReference:
    """Where the origin of a map with axes east, north, up is, in WGS 84: degrees, and metres of height.

    ``altitude`` is None where it is not known, ``axes_sigma_deg`` the standard deviation of the axes. Raises MapError
    for what is no place.
    """

    latitude: float
    longitude: float
    altitude: float | None = None
    axes_sigma_deg: float = AXES_SIGMA_DEG

    def __post_init__(self) -> None:
        check_place(self.latitude, self.longitude)
        if not all(math.isfinite(value) for value in (self.altitude or 0.0, self.axes_sigma_deg)):
            raise MapError("the altitude of a map, or the error of its axes, is not finite")

    def east_north(self, latitude: float, longitude: float) -> Array:
        """The place (2,) in the map. Raises MapError for what is no place."""
        check_place(latitude, longitude)
        return self._frame.from_geodetic([latitude, longitude, self._frame.altitude])[0, :2]

    def geo_pose(self, map_from_child: SE3, covariance: Array) -> GeoPose:
        """A pose of the map on the earth; the heading is that of its z axis. ``covariance`` (6, 6) as in core.types."""
        latitude, longitude, altitude = self._frame.to_geodetic(map_from_child.translation)[0].tolist()
        there = EnuFrame(latitude, longitude, altitude)
        turn = (there.earth_from_enu.inverse @ self._frame.earth_from_enu).rotation
        of_map = GEO_SIGMA_M**2 * np.diag([1.0, 1.0, HEIGHT_FACTOR**2])
        heading_deg, sigma_deg = _heading(turn @ map_from_child.rotation[:, 2], turn @ covariance[3:, 3:] @ turn.T)
        return GeoPose(
            latitude,
            longitude,
            None if self.altitude is None else altitude,
            heading_deg,
            None if sigma_deg is None else math.hypot(sigma_deg, self.axes_sigma_deg),
            turn @ covariance[:3, :3] @ turn.T + of_map,
        )

    @cached_property
    def _frame(self) -> EnuFrame:
        return EnuFrame(self.latitude, self.longitude, self.altitude or 0.0)


def check_place(latitude: float, longitude: float) -> None:
    """Raise MapError unless there is such a place on the earth."""
    if not (abs(latitude) <= 90.0 and abs(longitude) <= 180.0):
        raise MapError(f"there is no place at latitude {latitude:g}, longitude {longitude:g}")


def _heading(axis: Array, covariance: Array) -> tuple[float | None, float | None]:
    """The heading of an axis (3,) east, north, up, in degrees, and its standard deviation by that of the rotation."""
    east, north, up = axis.tolist()
    level = math.hypot(east, north)
    if level < _LEAST_LEVEL:
        return None, None
    by_rotation = np.array([east * up, north * up, -(level**2)]) / level**2
    sigma = math.sqrt(max(0.0, float(by_rotation @ covariance @ by_rotation)))
    return math.degrees(math.atan2(east, north)) % 360.0, min(180.0, math.degrees(sigma))
