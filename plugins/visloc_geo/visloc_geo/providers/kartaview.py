"""KartaView (before, OpenStreetCam): photos of streets under CC BY-SA 4.0. Secondary: its hosts and keys change."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visloc_geo.providers.base import Answer, Fetched, GoneError, fetch_image, safe_name
from visloc_geo.providers.cost import Cost
from visloc_geo.providers.credentials import Secret, read_secret
from visloc_geo.providers.http import HttpClient, HttpError
from visloc_geo.providers.lenses import PERSPECTIVE, Lens, perspective_views
from visloc_geo.providers.parsing import heading_of, parse_views, position_of
from visloc_geo.streets.area import Area
from visloc_geo.view import Orientation, View
from visloc_ros.core.errors import GeoError
from visloc_ros.sources.measurements import GeoPosition

HOST = "https://api.openstreetcam.org"
TOKEN_VARIABLE = "KARTAVIEW_TOKEN"
LICENCE = "CC BY-SA 4.0"
_PER_PAGE = 500
_ADDRESSES = ("fileurlProc", "fileurlLTh", "fileurl")
_EMPTY = 601  # its status for "nothing found"


def read_kartaview_token(file: Path | None = None) -> Secret:
    """The token, which only its newer servers ask for; empty without one."""
    return read_secret(TOKEN_VARIABLE, "kartaview-token", file)


@dataclass(frozen=True)
class KartaView:
    """The photos around the middle of an area, page by page."""

    client: HttpClient
    token: Secret
    name: str = "kartaview"

    def requests(self, area: Area) -> Iterable[str]:
        """The first page."""
        if area.circle is None:
            raise GeoError("KartaView is searched around a point: give --point, or --place with --radius")
        circle = area.circle
        return [f"kartaview {circle.latitude:.7f} {circle.longitude:.7f} {math.ceil(circle.radius_m)} 1"]

    def search(self, request: str) -> Answer:
        """A page, and whether there is another one."""
        start, page = request.rsplit(" ", 1)
        _, lat, lng, radius = start.split(" ")
        asked = {"lat": lat, "lng": lng, "radius": radius, "page": page, "itemsPerPage": _PER_PAGE, "join": "sequence"}
        if self.token:
            asked["access_token"] = self.token.value
        answer = self.client.get_json(f"{HOST}/2.0/photo/", params=asked)
        status, result = _parts(answer)
        if str(status.get("apiCode")) == str(_EMPTY):
            return Answer()
        found = result.get("data")
        if not isinstance(found, list):
            raise GeoError(f"KartaView gives an answer without 'data' ({self.client.redact(status.get('apiMessage'))})")
        views, left_out = parse_views(found, _view)
        has_more = bool(result.get("hasMoreData", len(found) >= _PER_PAGE)) and bool(found)
        return Answer(views, [f"{start} {int(page) + 1}"] if has_more else [], left_out)

    def search_cost(self, request: str) -> Cost:
        """One request, and one for each further page."""
        return Cost(1, at_least=True)

    def targets(self, view: View) -> Sequence[View]:
        """The photo."""
        return (view,)

    def fetch(self, target: View) -> Fetched:
        """The image."""
        address = str(target.others.get("kartaview_url", ""))
        if not address.startswith("https://"):
            raise GeoError("KartaView gives no address of its image")
        try:
            image = fetch_image(self.client, address)
        except HttpError as error:
            if error.status in (404, 410):
                raise GoneError("KartaView has it no more") from error
            raise
        return perspective_views(target, image, _lens(target.others), 1, 90.0)

    def fetch_cost(self, target: View) -> Cost:
        """One image."""
        return Cost(1)


def _parts(answer: Any) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
    parts = answer if isinstance(answer, dict) else {}
    status, result = parts.get("status"), parts.get("result")
    return status if isinstance(status, dict) else {}, result if isinstance(result, dict) else {}


def _view(values: Mapping[str, Any]) -> View:
    """A view. Raises those of ``UNUSABLE``."""
    name = safe_name(f"kartaview-{values['id']}")
    if str(values.get("projection", "PLANE")).upper() != "PLANE":
        raise GeoError("it is a panorama, whose centre's direction KartaView does not define")
    sequence = values.get("sequence") if isinstance(values.get("sequence"), dict) else {}
    address = next((values[key] for key in _ADDRESSES if values.get(key)), None)
    known = {"kartaview_url": address, "fov_deg": float(values.get("fieldOfView") or 0.0)}
    return View(
        name,
        _position(values),
        _orientation(values),
        source="kartaview",
        licence=LICENCE,
        attribution=f"© {(sequence or {}).get('username', 'contributors')}, KartaView, photo {values['id']}",
        captured_at=values.get("shotDate"),
        others={key: value for key, value in known.items() if value},
    )


def _position(values: Mapping[str, Any]) -> GeoPosition:
    """By the matched position, where there is one."""
    for lat, lng in (("matchLat", "matchLng"), ("lat", "lng")):
        if values.get(lat) and values.get(lng):
            return position_of(values[lat], values[lng], sigma=float(values.get("gpsAccuracy") or 0.0) or None)
    raise ValueError("no position")


def _orientation(values: Mapping[str, Any]) -> Orientation | None:
    heading = heading_of(values.get("heading"))
    return None if heading is None else Orientation(heading)


def _lens(others: Mapping[str, Any]) -> Lens:
    fov = float(others.get("fov_deg") or 0.0)
    share = 0.5 / math.tan(math.radians(fov) / 2.0) if 10.0 < fov < 150.0 else 0.0
    return Lens(PERSPECTIVE, (share,) if share else ())
