"""EXIF data of photos, JPEG, PNG or HEIC: camera, focal length, position. Only the header of a file is read."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from enum import IntEnum
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import LARGEST_IMAGE_BYTES, read_bytes
from visloc_ros.sources.measurements import GeoPosition
from visloc_ros.sources.photos import is_heif, read_heif_exif

logger = logging.getLogger(__name__)

_MAKER, _MODEL = 0x010F, 0x0110
EXIF_DIRECTORY, _EQUIVALENT_FOCAL_LENGTH = 0x8769, 0xA405
_HEAD_BYTES = 16
_ERRORS = (OSError, UnidentifiedImageError, Image.DecompressionBombError, ValueError, SyntaxError, SourceError)
GPS_DIRECTORY = 0x8825
_BELOW = (1, 3, b"\x01", b"\x03")  # the ellipsoid or the sea (Exif 3.0, 4.6.7.1.6); 0 and 2 are above
_VOID = "V"  # GPSStatus of a receiver without a fix
_DATUMS = ("", "WGS84", "WGS1984", "ETRS89", "JGD2000", "JGD2011", "GDA94", "GDA2020", "NAD83")  # within 2 m of WGS 84
_LOWEST_M, _HIGHEST_M = -500.0, 20000.0  # below the Dead Sea, above aeroplanes
_LEAST_SIGMA_M = 0.005  # of receivers with corrections by a base station; phones that state less divide by 1000 wrongly


def read_exif(path: Path) -> Image.Exif:
    """EXIF data of a photo, empty where none can be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
        if is_heif(head):
            exif = Image.Exif()
            exif.load(read_heif_exif(read_bytes(path, SourceError, LARGEST_IMAGE_BYTES)))
            return exif
        with Image.open(path) as image:
            return image.getexif()
    except _ERRORS as error:
        logger.debug("no EXIF data in %s: %s", path, error)
        return Image.Exif()


def read_maker(exif: Image.Exif) -> str:
    """Maker and model of the camera on one line, empty where they are missing."""
    return " ".join(f"{exif.get(_MAKER, '')} {exif.get(_MODEL, '')}".replace("\0", " ")[:100].split())


def read_equivalent_focal_length(exif: Image.Exif) -> float | None:
    """Equivalent focal length in millimetres on full frame (36 x 24 mm), or None where it is missing."""
    value = exif.get_ifd(EXIF_DIRECTORY).get(_EQUIVALENT_FOCAL_LENGTH)
    return float(value) if isinstance(value, int) and value > 0 else None


class GpsTag(IntEnum):
    """Numbers of the GPS tags in use (Exif 2.32, section 4.6.6); older releases of Pillow do not name them."""

    LATITUDE_REF = 1
    LATITUDE = 2
    LONGITUDE_REF = 3
    LONGITUDE = 4
    ALTITUDE_REF = 5
    ALTITUDE = 6
    TIME = 7
    STATUS = 9
    IMAGE_DIRECTION_REF = 16
    IMAGE_DIRECTION = 17
    MAP_DATUM = 18
    DATE = 29
    POSITIONING_ERROR = 31


def read_geo_position(path: Path) -> GeoPosition | None:
    """Position where a photo was taken, or None where its EXIF data hold no valid one.

    Only the file's header is read. Altitudes are taken as they are: cameras write heights above the sea as often as
    above the ellipsoid. EXIF's dilution of precision is no distance, so only its positioning error counts as one.
    """
    return parse_geo_position(read_exif(path).get_ifd(GPS_DIRECTORY))


def parse_geo_position(tags: Mapping[int, Any]) -> GeoPosition | None:
    """Position in EXIF GPS tags; None if they are incomplete, garbled, void, of another datum, or (0, 0).

    An altitude or a positioning error that no receiver measures is left out.
    """
    if _text(tags.get(GpsTag.STATUS)) == _VOID or _text(tags.get(GpsTag.MAP_DATUM)) not in _DATUMS:
        return None
    latitude = _degrees(tags.get(GpsTag.LATITUDE), tags.get(GpsTag.LATITUDE_REF), "N", "S")
    longitude = _degrees(tags.get(GpsTag.LONGITUDE), tags.get(GpsTag.LONGITUDE_REF), "E", "W")
    if latitude is None or longitude is None or abs(latitude) > 90.0 or abs(longitude) > 180.0:
        return None
    if latitude == 0.0 and longitude == 0.0:
        return None
    altitude = finite_number(tags.get(GpsTag.ALTITUDE))
    if altitude is not None and tags.get(GpsTag.ALTITUDE_REF) in _BELOW:
        altitude = -altitude
    if altitude is not None and not _LOWEST_M <= altitude <= _HIGHEST_M:
        altitude = None
    sigma = finite_number(tags.get(GpsTag.POSITIONING_ERROR))
    return GeoPosition(latitude, longitude, altitude, sigma if sigma is not None and sigma >= _LEAST_SIGMA_M else None)


def _text(value: Any) -> str:
    """Letters and digits of a tag's text, in capitals; empty without it."""
    return "" if value is None else "".join(one for one in str(value).upper() if one.isalnum())


def _degrees(values: Any, reference: Any, positive: str, negative: str) -> float | None:
    """Degrees of (degrees, minutes, seconds); None where they or the hemisphere are garbled."""
    sign = {positive: 1.0, negative: -1.0}.get(str(reference).strip("\0 ").upper())
    if sign is None or not isinstance(values, tuple) or len(values) != 3:
        return None
    parts = [finite_number(value) for value in values]
    if any(part is None or part < 0 for part in parts):
        return None
    return sign * sum(part / unit for part, unit in zip(parts, (1.0, 60.0, 3600.0), strict=True) if part is not None)


def finite_number(value: Any) -> float | None:
    """A finite number; EXIF fractions may have the denominator 0."""
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError):
        return None
    return number if math.isfinite(number) else None
