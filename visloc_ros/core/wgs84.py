"""A local frame on the earth: metres east, north and up of an origin in WGS 84 (EPSG methods 9602 and 9837)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import pycolmap
from numpy.typing import ArrayLike

from visloc_ros.core.geometry import SE3, Array

_WGS84 = pycolmap.GPSTransform(pycolmap.GPSTransformEllipsoid.WGS84)


@dataclass(frozen=True)
class EnuFrame:
    """The frame east, north, up at an origin: degrees, and metres above the ellipsoid (or the sea, as its data are).

    It is a plane that touches the ellipsoid: its ``z`` falls 8 cm below the height above the ellipsoid in 1 km.
    """

    latitude: float
    longitude: float
    altitude: float = 0.0

    def from_geodetic(self, geodetic: ArrayLike) -> Array:
        """Metres east, north and up (N, 3) of latitudes, longitudes in degrees and altitudes in metres (N, 3)."""
        points = np.asarray(geodetic, np.float64).reshape(-1, 3)
        return np.asarray(_WGS84.ellipsoid_to_enu(points, self.latitude, self.longitude, self.altitude))

    def to_geodetic(self, east_north_up: ArrayLike) -> Array:
        """Latitudes, longitudes in degrees and altitudes in metres (N, 3) of metres east, north and up (N, 3)."""
        points = np.asarray(east_north_up, np.float64).reshape(-1, 3)
        return np.asarray(_WGS84.enu_to_ellipsoid(points, self.latitude, self.longitude, self.altitude))

    @property
    def earth_from_enu(self) -> SE3:
        """The pose of the frame in the earth-centred, earth-fixed frame, ``earth`` of REP 105."""
        lat, lng = math.radians(self.latitude), math.radians(self.longitude)
        east = [-math.sin(lng), math.cos(lng), 0.0]
        north = [-math.sin(lat) * math.cos(lng), -math.sin(lat) * math.sin(lng), math.cos(lat)]
        up = [math.cos(lat) * math.cos(lng), math.cos(lat) * math.sin(lng), math.sin(lat)]
        origin = _WGS84.ellipsoid_to_ecef(np.array([[self.latitude, self.longitude, self.altitude]]))[0]
        return SE3(np.column_stack([east, north, up]), origin)


def earth_positions(geodetic: ArrayLike) -> Array:
    """Metres (N, 3) in the earth-centred, earth-fixed frame of latitudes and longitudes in degrees (N, 2)."""
    points = np.asarray(geodetic, np.float64).reshape(-1, 2)
    return np.asarray(_WGS84.ellipsoid_to_ecef(np.column_stack([points, np.zeros(len(points))])))


def distances_m(geodetic: ArrayLike, latitude: float, longitude: float) -> Array:
    """Straight distances in metres (N,) of latitudes and longitudes in degrees (N, 2) from a position.

    They are those along the ground to 0.01 % up to 300 km; beyond they grow shorter than these.
    """
    here = earth_positions([[latitude, longitude]])[0]
    return np.asarray(np.linalg.norm(earth_positions(geodetic) - here, axis=1))
