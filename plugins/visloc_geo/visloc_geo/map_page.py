"""A map as one self-contained page: places, lines and covariances, over a drawn grid or the tiles of OpenStreetMap."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from importlib.resources import files
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from visloc_ros.core.atomic_write import atomic_write
from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import Array
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.localization.coverage import recall_colour

ELLIPSE_SIGMAS = 2.0
_ELLIPSE_POINTS = 48
_AHEAD_M = 8.0  # length of the stroke that shows a heading
_RECALLS = [(recall_colour(share), f"{share:.0%} of photos located") for share in (1.0, 0.75, 0.5, 0.25, 0.0)]


class Kind(Enum):
    """What a part of the map shows: its words in the legend, and its colour."""

    VIEW = ("views of the database", "#6b7280")
    POINT = ("points of the streets", "#2563eb")
    STREET = ("streets", "#b7b09c")
    ESTIMATE = ("estimated positions", "#c2410c")
    TRACK = ("tracks of photos located together", "#0891b2")
    TRUTH = ("true positions", "#15803d")
    BEST_TAG = ("tags of the most similar views", "#7c3aed")
    ERROR = ("from the estimate to the truth", "#dc2626")

    @property
    def colour(self) -> str:
        """As CSS writes it."""
        return self.value[1]


@dataclass(frozen=True)
class Marker:
    """A place in degrees; ``text`` is shown, line by line, when it is clicked, ``heading_deg`` as a stroke."""

    latitude: float
    longitude: float
    text: str = ""
    kind: Kind = Kind.VIEW
    heading_deg: float | None = None


@dataclass(frozen=True)
class Line:
    """A line through latitudes and longitudes in degrees."""

    points: Sequence[tuple[float, float]]
    text: str = ""
    kind: Kind = Kind.STREET
    width_px: float = 2.0


@dataclass(frozen=True, eq=False)
class Ellipse:
    """The covariance (2, 2) in square metres, east and north, of a place in degrees, drawn at two sigma."""

    latitude: float
    longitude: float
    covariance: Array
    text: str = ""
    kind: Kind = Kind.ESTIMATE


@dataclass(frozen=True)
class Square:
    """A square between corners in degrees, south-west and north-east, in the colour of an expected recall."""

    south_west: tuple[float, float]
    north_east: tuple[float, float]
    recall: float
    text: str = ""


def write_map_page(
    path: Path,
    markers: Iterable[Marker],
    lines: Iterable[Line] = (),
    ellipses: Iterable[Ellipse] = (),
    squares: Iterable[Square] = (),
    *,
    title: str = "Geotagged views",
    tiles: bool = False,
    zoom: float | None = None,
) -> None:
    """Write a page that needs no network, except for the pictures of the streets with ``tiles``.

    ``zoom`` is a level of web maps; without it the page opens with everything in view. Raises GeoError where there is
    nothing to show or a position is not finite, OutputError where it cannot be written.
    """
    page = render_map_page(list(markers), list(lines), list(ellipses), list(squares), title, tiles, zoom)
    with atomic_write(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def render_map_page(
    markers: Sequence[Marker],
    lines: Sequence[Line],
    ellipses: Sequence[Ellipse],
    squares: Sequence[Square],
    title: str,
    tiles: bool,
    zoom: float | None,
) -> str:
    """The page as HTML. Raises GeoError as ``write_map_page``."""
    templates = files("visloc_geo") / "templates"
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, undefined=jinja2.StrictUndefined)
    data: dict[str, Any] = {
        "title": title,
        "zoom": zoom,
        "legend": _legend([*markers, *ellipses, *lines]) + (_RECALLS if squares else []),
        "squares": [_square_values(one) for one in squares],
        "lines": [_line_values(one) for one in lines],
        "ellipses": [_ellipse_values(one) for one in ellipses],
        "markers": [_marker_values(one) for one in markers],
    }
    data["bounds"] = _bounds(data)
    return environment.from_string((templates / "map_page.html.j2").read_text(encoding="utf-8")).render(
        title=title,
        tiles=tiles,
        data=data,
        leaflet_css=Markup((templates / "leaflet" / "leaflet.css").read_text(encoding="utf-8")),
        leaflet_js=Markup((templates / "leaflet" / "leaflet.js").read_text(encoding="utf-8")),
    )


def _legend(parts: Sequence[Marker | Ellipse | Line]) -> list[tuple[str, str]]:
    shown = {part.kind for part in parts}
    return [(kind.colour, kind.value[0]) for kind in Kind if kind in shown]


def _marker_values(marker: Marker) -> dict[str, Any]:
    at = (marker.latitude, marker.longitude)
    values = {"at": at, "colour": marker.kind.colour, "lines": marker.text.splitlines()}
    if marker.heading_deg is not None:
        angle = math.radians(marker.heading_deg)
        ahead = EnuFrame(*at).to_geodetic([_AHEAD_M * math.sin(angle), _AHEAD_M * math.cos(angle), 0.0])
        values["ahead"] = tuple(ahead[0, :2].tolist())
    return values


def _line_values(line: Line) -> dict[str, Any]:
    values = {"points": list(line.points), "weight": line.width_px}
    return {**values, "colour": line.kind.colour, "lines": line.text.splitlines()}


def _ellipse_values(ellipse: Ellipse) -> dict[str, Any]:
    variances, axes = np.linalg.eigh(np.asarray(ellipse.covariance, np.float64))
    angles = np.linspace(0.0, 2 * np.pi, _ELLIPSE_POINTS, endpoint=False)
    circle = ELLIPSE_SIGMAS * np.column_stack([np.cos(angles), np.sin(angles)])
    border = circle * np.sqrt(np.maximum(variances, 0.0)) @ axes.T
    frame = EnuFrame(ellipse.latitude, ellipse.longitude)
    points = frame.to_geodetic(np.column_stack([border, np.zeros(len(border))]))[:, :2]
    return {"points": points.tolist(), "colour": ellipse.kind.colour, "lines": ellipse.text.splitlines()}


def _square_values(square: Square) -> dict[str, Any]:
    corners, number = [square.south_west, square.north_east], f"{100.0 * square.recall:.0f}"
    return {
        "points": corners,
        "colour": recall_colour(square.recall),
        "number": number,
        "lines": square.text.splitlines(),
    }


def _bounds(data: dict[str, Any]) -> list[list[float]]:
    """The south-west and north-east corner around all parts. Raises GeoError."""
    points = [marker["at"] for marker in data["markers"]]
    points += [point for part in (*data["lines"], *data["ellipses"], *data["squares"]) for point in part["points"]]
    if not points:
        raise GeoError("there is nothing to draw on the map: no view has a position")
    degrees = np.asarray(points, np.float64)
    if not np.isfinite(degrees).all():
        raise GeoError("a position to draw on the map is not finite")
    return [degrees.min(axis=0).tolist(), degrees.max(axis=0).tolist()]
