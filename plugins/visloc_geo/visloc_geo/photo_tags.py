"""What a photo's EXIF data say that matters to finding it on the earth: camera, position, direction, time.

Each is None where it is missing, garbled, or cannot be: a fraction with the denominator 0, a hemisphere or a north that
is not named.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from PIL.Image import Exif

from visloc_geo.geomagnetism import decimal_year, declination
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import LARGEST_IMAGE_BYTES, read_bytes
from visloc_ros.sources.exif import (
    EXIF_DIRECTORY,
    GPS_DIRECTORY,
    GpsTag,
    finite_number,
    parse_geo_position,
    read_exif,
    read_maker,
)
from visloc_ros.sources.exif_focal_length import guess_photo_calibration
from visloc_ros.sources.image_header import ImageHeader
from visloc_ros.sources.measurements import COMPASS_SIGMA_DEG, GeoPosition
from visloc_ros.sources.photos import read_photo_header

_TIMES = ((0x9003, 0x9011), (0x9004, 0x9012))  # taken, then digitised: each with its offset from UTC
_TRUE, _MAGNETIC = "T", "M"


@dataclass(frozen=True)
class ImageDirection:
    """Where a camera looked: degrees clockwise from true north, and their standard deviation."""

    heading_deg: float
    sigma_deg: float


@dataclass(frozen=True, eq=False)
class PhotoTags:
    """What is known of a photo by its EXIF data.

    ``calibration`` is of the image shown upright, with how sure its focal length is. ``captured_at`` has no time zone
    where the camera did not write one.
    """

    calibration: CameraCalibration
    maker: str = ""
    position: GeoPosition | None = None
    direction: ImageDirection | None = None
    captured_at: datetime | None = None


def read_photo_tags(path: Path, header: ImageHeader | None = None) -> PhotoTags:
    """The tags of a photo, whose header may be given if it has been read. Raises SourceError for what is no photo."""
    header = header or read_photo_header(read_bytes(path, SourceError, LARGEST_IMAGE_BYTES))
    exif = read_exif(path)
    gps = exif.get_ifd(GPS_DIRECTORY)
    position, captured_at = parse_geo_position(gps), read_time(exif)
    direction = parse_direction(gps, position, captured_at)
    return PhotoTags(guess_photo_calibration(path, header), read_maker(exif), position, direction, captured_at)


def parse_direction(
    tags: Mapping[int, Any], position: GeoPosition | None, captured_at: datetime | None
) -> ImageDirection | None:
    """The direction in EXIF GPS tags.

    One from magnetic north needs the position, and its sigma grows where the time is not known.
    """
    degrees = finite_number(tags.get(GpsTag.IMAGE_DIRECTION))
    reference = str(tags.get(GpsTag.IMAGE_DIRECTION_REF)).strip("\0 ").upper()
    if degrees is None or not 0.0 <= degrees <= 360.0:
        return None
    if reference == _TRUE:
        return ImageDirection(degrees % 360.0, COMPASS_SIGMA_DEG)
    if reference != _MAGNETIC or position is None:
        return None
    year = None if captured_at is None else decimal_year(captured_at)
    north = declination(position.latitude, position.longitude, year)
    if north is None:
        return None
    return ImageDirection((degrees + north.degrees) % 360.0, math.hypot(COMPASS_SIGMA_DEG, north.sigma_deg))


def read_time(exif: Exif) -> datetime | None:
    """When a photo was taken: by satellites in UTC, otherwise by the camera's clock, with its offset if it has one."""
    tags = exif.get_ifd(EXIF_DIRECTORY)
    times = (_parse_time(tags.get(time), tags.get(offset)) for time, offset in _TIMES)
    return _satellite_time(exif.get_ifd(GPS_DIRECTORY)) or next((time for time in times if time is not None), None)


def _satellite_time(tags: Mapping[int, Any]) -> datetime | None:
    parts = tags.get(GpsTag.TIME)
    if not isinstance(parts, tuple) or len(parts) != 3:
        return None
    numbers = [finite_number(part) for part in parts]
    day = _parse_time(f"{_text(tags.get(GpsTag.DATE))} 00:00:00", "+00:00")
    hours, minutes, seconds = (-1.0 if number is None else number for number in numbers)
    if day is None or not (0 <= hours < 24 and 0 <= minutes < 60 and 0 <= seconds <= 60):
        return None
    try:
        return day + timedelta(hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:  # a leap second at the end of the year 9999
        return None


def _parse_time(value: Any, offset: Any) -> datetime | None:
    try:
        time = datetime.strptime(_text(value), "%Y:%m:%d %H:%M:%S")
    except ValueError:
        return None
    try:
        zone = datetime.strptime(_text(offset), "%z").tzinfo
    except ValueError:
        return time
    return time.replace(tzinfo=zone if zone is not None else timezone.utc)


def _text(value: Any) -> str:
    return str(value).strip("\0 ")
