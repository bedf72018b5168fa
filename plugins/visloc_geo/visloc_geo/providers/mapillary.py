"""Mapillary, API version 4: photos of streets under CC BY-SA 4.0, many of them placed by structure from motion."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np

from visloc_geo.orientation import angles_of, heading_difference_deg
from visloc_geo.providers.base import Answer, Fetched, GoneError, fetch_image, safe_name
from visloc_geo.providers.cost import Cost
from visloc_geo.providers.credentials import Secret, read_secret, require
from visloc_geo.providers.http import HttpClient, HttpError
from visloc_geo.providers.lenses import EQUIRECTANGULAR, KINDS, Lens, perspective_views
from visloc_geo.providers.parsing import heading_of, parse_views, position_of
from visloc_geo.streets.area import Area
from visloc_geo.view import Orientation, View
from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import rotation_matrix
from visloc_ros.sources.measurements import GeoPosition

HOST = "https://graph.mapillary.com"
TOKEN_VARIABLE = "MAPILLARY_TOKEN"
LICENCE = "CC BY-SA 4.0"
_FIELDS = (
    "id,captured_at,sequence,geometry,computed_geometry,altitude,computed_altitude,compass_angle,"
    "computed_compass_angle,computed_rotation,camera_type,camera_parameters,width,height,is_pano,exif_orientation,creator"
)
_ADDRESSES = ("thumb_2048_url", "thumb_original_url", "thumb_1024_url")
_TILE_DEG, _SMALLEST_TILE_DEG = 0.01, 1e-4  # the service takes less than 0.01 square degrees
_LIMIT = 2000
_TOO_MUCH = "reduce the amount"  # what it answers, as an error 500, where a tile holds too many
_EXPIRED = (403, 404, 410)
_ROTATIONS_AGREE_DEG = 10.0


def read_mapillary_token(file: Path | None = None, is_needed: bool = True) -> Secret:
    """The token from the environment or a file. Raises ConfigError without one, where it is needed."""
    token = read_secret(TOKEN_VARIABLE, "mapillary-token", file)
    return require(token, TOKEN_VARIABLE, "mapillary-token", "Mapillary") if is_needed else token


@dataclass(frozen=True)
class Mapillary:
    """The photos in tiles of an area; those of all directions are cut into ``n_directions`` views of ``fov_deg``."""

    client: HttpClient
    token: Secret
    fov_deg: float = 90.0
    n_directions: int = 8
    name: str = "mapillary"

    def requests(self, area: Area) -> Iterable[str]:
        """One for each tile of a fixed grid, cut to the bounds of the area."""
        return [_request(tile, area) for tile in _tiles(area.bounds)]

    def search(self, request: str) -> Answer:
        """The photos in a tile; its four quarters where it holds more than one answer does."""
        tile = _tile_of(request)
        asked = {"bbox": ",".join(f"{value:.7f}" for value in tile), "fields": _FIELDS, "limit": _LIMIT}
        may_split = max(tile[2] - tile[0], tile[3] - tile[1]) > _SMALLEST_TILE_DEG
        try:
            values = self._ask("images", asked, final=(500,) if may_split else ())
        except HttpError as error:
            if error.status == 500 and _TOO_MUCH in error.body and may_split:
                return Answer(further=_quarters(request, tile))
            raise
        found = values.get("data")
        if not isinstance(found, list):
            raise GeoError("Mapillary gives an answer without 'data'")
        if len(found) >= _LIMIT and may_split:
            return Answer(further=_quarters(request, tile))
        views, left_out = parse_views(found, _view)
        if len(found) >= _LIMIT:
            place = f"{tile[1]:.5f} {tile[0]:.5f}"
            left_out.append(
                f"photos at {place} beyond the first {_LIMIT}, which is all that Mapillary lists of a place"
            )
        return Answer(views, left_out=left_out)

    def search_cost(self, request: str) -> Cost:
        """One request, and more where the tile is full."""
        return Cost(1, at_least=True)

    def targets(self, view: View) -> Sequence[View]:
        """The photo itself; views cut from one of all directions are fetched with it."""
        return () if view.panorama not in (None, view.name) else (view,)

    def fetch(self, target: View) -> Fetched:
        """The image, by an address that is asked for right before, since it expires."""
        try:
            image = fetch_image(self.client, self._address(target.name))
        except HttpError as error:
            if error.status not in _EXPIRED:
                raise
            image = fetch_image(self.client, self._address(target.name))
        return perspective_views(target, image, _lens(target.others), self.n_directions, self.fov_deg)

    def fetch_cost(self, target: View) -> Cost:
        """The address, and the image."""
        return Cost(2)

    def _address(self, name: str) -> str:
        """Where an image lies at this moment. Raises GoneError, GeoError."""
        try:
            values = self._ask(name, {"fields": ",".join(_ADDRESSES)})
        except HttpError as error:
            if error.status == 404 or (error.status == 400 and "does not exist" in error.body):
                raise GoneError("Mapillary has it no more") from error
            raise
        address = next((values[key] for key in _ADDRESSES if values.get(key)), None)
        if address is None or not str(address).startswith("https://"):
            raise GeoError("Mapillary gives no address of its image")
        return str(address)

    def _ask(self, path: str, values: Mapping[str, Any], final: Sequence[int] = ()) -> Mapping[str, Any]:
        headers = {"Authorization": f"OAuth {self.token.value}"}
        answer = self.client.get_json(f"{HOST}/{path}", params=values, headers=headers, final=final)
        if not isinstance(answer, dict):
            raise GeoError("Mapillary gives an answer that is no object")
        return answer


Tile = tuple[float, float, float, float]
"""West, south, east, north in degrees."""


def _tiles(bounds: Tile) -> Iterator[Tile]:
    south, west, north, east = bounds
    for row in range(math.floor(south / _TILE_DEG), math.ceil(north / _TILE_DEG)):
        for column in range(math.floor(west / _TILE_DEG), math.ceil(east / _TILE_DEG)):
            low, left = max(south, row * _TILE_DEG), max(west, column * _TILE_DEG)
            yield left, low, min(east, (column + 1) * _TILE_DEG), min(north, (row + 1) * _TILE_DEG)


def _request(tile: Tile, area: Area) -> str:
    """A tile, and the circle to which its photos are limited: with another one it is another request."""
    west, south, east, north = tile
    corners = np.array([[south, west], [south, east], [north, west], [north, east]])
    circle = area.circle
    limits = "" if circle is None or circle.contains(corners).all() else f" {circle}"
    return json.dumps([round(value, 7) for value in tile]) + limits


def _tile_of(request: str) -> Tile:
    west, south, east, north = json.loads(request[: request.index("]") + 1])
    return west, south, east, north


def _quarters(request: str, tile: Tile) -> list[str]:
    west, south, east, north = tile
    x, y, limits = (west + east) / 2, (south + north) / 2, request[request.index("]") + 1 :]
    quarters = [(west, south, x, y), (x, south, east, y), (west, y, x, north), (x, y, east, north)]
    return [json.dumps([round(value, 7) for value in one]) + limits for one in quarters]


def _view(values: Mapping[str, Any]) -> View:
    """A view by what the service computed, otherwise by what the camera recorded. Raises those of ``UNUSABLE``."""
    name = safe_name(values["id"])
    if values.get("exif_orientation") not in (None, 0, 1):
        raise GeoError("its EXIF data say that it is turned, and not whether its pose is")
    creator = values.get("creator")
    author = creator.get("username", "unknown") if isinstance(creator, dict) else "unknown"
    lens = {key: values[key] for key in ("camera_type", "camera_parameters") if values.get(key)}
    if values.get("is_pano"):
        lens["camera_type"] = EQUIRECTANGULAR
    _lens(lens)  # raises where its parameters are none
    placed = {"mapillary_sequence": values["sequence"]} if values.get("sequence") else {}
    return View(
        name,
        _position(values),
        _orientation(values),
        panorama=name if lens.get("camera_type") in KINDS[EQUIRECTANGULAR] else None,
        source="mapillary",
        licence=LICENCE,
        attribution=f"© {author}, Mapillary, https://www.mapillary.com/app/?pKey={name}",
        captured_at=_time(values.get("captured_at")),
        altitude_source="structure from motion" if values.get("computed_altitude") is not None else None,
        others={**lens, **placed},
    )


def _position(values: Mapping[str, Any]) -> GeoPosition:
    geometry = values.get("computed_geometry") or values["geometry"]
    longitude, latitude = geometry["coordinates"][:2]
    altitude = values.get("computed_altitude")
    return position_of(latitude, longitude, values.get("altitude") if altitude is None else altitude)


def _orientation(values: Mapping[str, Any]) -> Orientation | None:
    """By the computed rotation where it agrees with the computed heading, otherwise a heading alone, or nothing."""
    computed, rotation = heading_of(values.get("computed_compass_angle")), values.get("computed_rotation")
    if computed is not None and rotation is not None and len(rotation) == 3:
        camera_from_enu = rotation_matrix([float(value) for value in rotation])
        angles = angles_of(camera_from_enu.T)
        if abs(heading_difference_deg(angles[0], computed)) <= _ROTATIONS_AGREE_DEG:
            return Orientation(*angles)
    heading = heading_of(values.get("compass_angle")) if computed is None else computed
    return None if heading is None else Orientation(heading)


def _time(value: Any) -> str | None:
    """Milliseconds since 1970 as ISO 8601."""
    if not isinstance(value, int | float):
        return None
    return datetime.fromtimestamp(value / 1000.0, timezone.utc).isoformat(timespec="milliseconds")


def _lens(others: Mapping[str, Any]) -> Lens:
    parameters = others.get("camera_parameters") or ()
    return Lens(str(others.get("camera_type", "perspective")), tuple(float(value) for value in parameters))
