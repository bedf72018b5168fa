"""Lists of where photos were taken, for those whose EXIF data do not say it, such as recordings of robots.

A line is a photo: ``name lat lng alt heading``, divided by commas, semicolons, tabs or spaces; altitude and heading may
be empty or missing. A first line that begins with ``name`` names the columns, in any order, and may name more:
``pitch roll pose_sigma_m azn_sigma_deg``.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from visloc_geo.view import Orientation
from visloc_ros.core.errors import GeoError
from visloc_ros.core.files import read_text
from visloc_ros.sources.measurements import GeoPosition

_COLUMNS = ("name", "lat", "lng", "alt", "heading", "pitch", "roll", "pose_sigma_m", "azn_sigma_deg")
_ALIASES = {"latitude": "lat", "longitude": "lng", "lon": "lng", "altitude": "alt", "azn": "heading", "yaw": "heading"}
_WITHOUT_HEADER = _COLUMNS[:5]


@dataclass(frozen=True)
class ListedPhoto:
    """What a list says of a photo: its position, and its orientation where the list has one."""

    position: GeoPosition
    orientation: Orientation | None = None


def read_photo_list(path: Path) -> dict[str, ListedPhoto]:
    """The photos of a list by their names. Raises GeoError that names the line."""
    photos: dict[str, ListedPhoto] = {}
    columns: Sequence[str] = _WITHOUT_HEADER
    for number, cells in _lines(read_text(path, GeoError)):
        if not photos and cells[0].lower() == "name":
            columns = [_ALIASES.get(cell.lower(), cell.lower()) for cell in cells]
            _check_columns(path, columns)
            continue
        try:
            if len(cells) > len(columns):
                raise ValueError(f"it has {len(cells)} values for the columns {' '.join(columns)}")
            values = dict(zip(columns, cells, strict=False))
            name = values.pop("name")
            photo = _photo({key: float(value) for key, value in values.items() if value})
        except ValueError as error:
            raise GeoError(f"line {number} of {path} cannot be used: {error}") from error
        if name in photos:
            raise GeoError(f"line {number} of {path} lists '{name}' again: leave one of them out")
        photos[name] = photo
    return photos


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Line numbers and values; empty lines and comments are left out."""
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            mark = next((mark for mark in (",", ";", "\t") if mark in line), "")
            cells = next(csv.reader([line], delimiter=mark)) if mark else line.split()
            yield number, [cell.strip() for cell in cells]


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    unknown = [column for column in columns if column not in _COLUMNS]
    if unknown or not {"name", "lat", "lng"} <= set(columns) or len(set(columns)) < len(columns):
        raise GeoError(
            f"{path} has the columns {' '.join(columns)}: give each of name, lat, lng once, and what is known of "
            f"{' '.join(_COLUMNS[3:])}"
        )


def _photo(values: Mapping[str, float]) -> ListedPhoto:
    """Raises ValueError."""
    if not all(math.isfinite(value) for value in values.values()):
        raise ValueError("it holds a value that is not finite")
    if "lat" not in values or "lng" not in values:
        raise ValueError("it lacks the latitude or the longitude")
    if abs(values["lat"]) > 90.0 or abs(values["lng"]) > 180.0:
        raise ValueError(f"({values['lat']}, {values['lng']}) is no latitude and longitude in degrees")
    for key in ("pose_sigma_m", "azn_sigma_deg"):
        if values.get(key, 1.0) <= 0.0:
            raise ValueError(f"{key} is {values[key]:g}, but a standard deviation is above 0: leave unknown ones empty")
    position = GeoPosition(values["lat"], values["lng"], values.get("alt"), values.get("pose_sigma_m"))
    if "heading" not in values:
        return ListedPhoto(position)
    angles = values["heading"] % 360.0, values.get("pitch", 0.0), values.get("roll", 0.0)
    return ListedPhoto(position, Orientation(*angles, values.get("azn_sigma_deg")))
