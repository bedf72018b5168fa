"""An area to search for views: a circle, a named place, or all of a saved network; its streets are read when needed."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from visloc_geo.streets.lines import Lines
from visloc_geo.streets.network_files import read_network
from visloc_geo.streets.osm import position_of_place, streets_around, streets_of_place
from visloc_geo.streets.sampling import SamplingConfig, sample_lines
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import Array
from visloc_ros.core.wgs84 import EnuFrame, distances_m

RADIUS_M = 1000.0
_LARGEST_RADIUS_M = 50_000.0  # beyond, the plane that touches the earth is more than 10 m off it along the ground


@dataclass(frozen=True)
class Circle:
    """A circle on the ground: degrees, metres."""

    latitude: float
    longitude: float
    radius_m: float

    def contains(self, points: Array) -> Array:
        """Which latitudes and longitudes (N, 2) lie in it, (N,)."""
        return np.asarray(distances_m(points, self.latitude, self.longitude) <= self.radius_m)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """South, west, north, east in degrees of the square around it."""
        frame, r = EnuFrame(self.latitude, self.longitude), self.radius_m
        corners = frame.to_geodetic([[-r, -r, 0.0], [r, -r, 0.0], [-r, r, 0.0], [r, r, 0.0]])
        (south, west), (north, east) = corners[:, :2].min(axis=0).tolist(), corners[:, :2].max(axis=0).tolist()
        return south, west, north, east


@dataclass(frozen=True)
class Area:
    """What to search: within ``circle``, or ``place`` within its boundary, or along all streets of ``network``.

    With several of them the circle limits the streets, and these come from the file rather than from OpenStreetMap.
    """

    circle: Circle | None = None
    place: str = ""
    network: Path | None = None
    sampling: SamplingConfig = field(default_factory=SamplingConfig)

    @cached_property
    def streets(self) -> Lines:
        """The lines of the streets. Raises GeoError, SetupError."""
        if self.network is not None:
            return read_network(self.network)
        if self.circle is not None:
            return streets_around(self.circle.latitude, self.circle.longitude, self.circle.radius_m)
        return streets_of_place(self.place)

    @cached_property
    def points(self) -> Array:
        """Latitudes and longitudes (N, 2) along the streets. Raises GeoError, SetupError."""
        south, west, north, east = self.bounds
        points = sample_lines(self.streets, EnuFrame((south + north) / 2, (west + east) / 2), self.sampling)
        return points if self.circle is None else points[self.circle.contains(points)]

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """South, west, north, east in degrees. Raises GeoError, SetupError."""
        if self.circle is not None:
            return self.circle.bounds
        corners = np.concatenate(self.streets)
        (south, west), (north, east) = corners.min(axis=0).tolist(), corners.max(axis=0).tolist()
        return south, west, north, east

    def contains(self, points: Array) -> Array:
        """Which latitudes and longitudes (N, 2) lie in it, (N,); without a circle those within the bounds."""
        if self.circle is not None:
            return self.circle.contains(points)
        south, west, north, east = self.bounds
        return np.asarray(np.all((points >= [south, west]) & (points <= [north, east]), axis=1))


def make_area(
    point: tuple[float, float] | None,
    place: str,
    radius_m: float | None,
    network: Path | None,
    sampling: SamplingConfig,
) -> Area:
    """The area that options describe: a point or a place, one of the two, or a network alone. Raises ConfigError."""
    if point is not None and place:
        raise ConfigError("give --point or --place, not both")
    if point is None and not place and network is None:
        raise ConfigError("give an area: --point LATITUDE LONGITUDE, --place NAME, or --network FILE")
    if radius_m is not None and not 0.0 < radius_m <= _LARGEST_RADIUS_M:
        raise ConfigError(f"--radius is to be more than 0 and at most {_LARGEST_RADIUS_M:.0f} m")
    _check(sampling)
    if point is not None:
        if abs(point[0]) > 85.0 or abs(point[1]) > 180.0:
            raise ConfigError(f"--point {point[0]} {point[1]} is no latitude and longitude (of streets) in degrees")
        return Area(Circle(*point, radius_m or RADIUS_M), place, network, sampling)
    if place and radius_m is not None:
        return Area(Circle(*position_of_place(place), radius_m), place, network, sampling)
    if place and network is not None:
        raise ConfigError("--place with --network needs --radius: a saved network holds no boundaries of places")
    return Area(None, place, network, sampling)


def _check(sampling: SamplingConfig) -> None:
    low, high = sampling.jitter_m
    if not 1.0 <= sampling.spacing_m <= 10_000.0:
        raise ConfigError("--spacing is to be from 1 to 10000 m")
    if not 0.0 <= low <= high <= sampling.spacing_m:
        raise ConfigError("--jitter LOW HIGH: 0 <= LOW <= HIGH <= spacing, in metres")
