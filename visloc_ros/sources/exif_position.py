"""Positions in the EXIF data of photos."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from visloc_ros.sources.exif import read_exif
from visloc_ros.sources.measurements import GeoPosition


class GpsTag(IntEnum):
    """Numbers of the GPS tags in use (Exif 2.32, section 4.6.6); older releases of Pillow do not name them."""

    LATITUDE_REF = 1
    LATITUDE = 2
    LONGITUDE_REF = 3
    LONGITUDE = 4
    ALTITUDE_REF = 5
    ALTITUDE = 6
    POSITIONING_ERROR = 31


GPS_DIRECTORY = 0x8825

_BELOW_SEA = (1, b"\x01")


def read_geo_position(path: Path) -> GeoPosition | None:
    """Position where a photo was taken, or None where its EXIF data hold no valid one.

    Only the file's header is read. Altitudes are taken as they are: cameras write heights above the sea as often as
    above the ellipsoid. EXIF's dilution of precision is no distance, so only its positioning error counts as one.
    """
    return parse_geo_position(read_exif(path).get_ifd(GPS_DIRECTORY))


def parse_geo_position(tags: Mapping[int, Any]) -> GeoPosition | None:
    """Position in EXIF GPS tags, or None where they are incomplete, garbled, or (0, 0), which is no fix."""
    latitude = _degrees(tags.get(GpsTag.LATITUDE), tags.get(GpsTag.LATITUDE_REF), "N", "S")
    longitude = _degrees(tags.get(GpsTag.LONGITUDE), tags.get(GpsTag.LONGITUDE_REF), "E", "W")
    if latitude is None or longitude is None or abs(latitude) > 90.0 or abs(longitude) > 180.0:
        return None
    if latitude == 0.0 and longitude == 0.0:
        return None
    altitude = _number(tags.get(GpsTag.ALTITUDE))
    if altitude is not None and tags.get(GpsTag.ALTITUDE_REF) in _BELOW_SEA:
        altitude = -altitude
    sigma = _number(tags.get(GpsTag.POSITIONING_ERROR))
    return GeoPosition(latitude, longitude, altitude, sigma if sigma is not None and sigma > 0 else None)


def _degrees(values: Any, reference: Any, positive: str, negative: str) -> float | None:
    """Degrees of (degrees, minutes, seconds); None where they or the hemisphere are garbled."""
    sign = {positive: 1.0, negative: -1.0}.get(str(reference).strip("\0 ").upper())
    if sign is None or not isinstance(values, tuple) or len(values) != 3:
        return None
    parts = [_number(value) for value in values]
    if any(part is None or part < 0 for part in parts):
        return None
    return sign * sum(part / unit for part, unit in zip(parts, (1.0, 60.0, 3600.0), strict=True) if part is not None)


def _number(value: Any) -> float | None:
    """A finite number; EXIF fractions may have the denominator 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None
