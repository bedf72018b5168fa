"""Google Street View: metadata of panoramas for nothing, images and elevations for money.

Its terms forbid to fetch images ahead or to keep them beyond short caching, unless a contract permits it. So it is used
only after its user has stated to have the right.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from visloc_geo.panoramas import view_name
from visloc_geo.providers.base import Answer, Fetched, GoneError, fetch_image, image_size, safe_name
from visloc_geo.providers.cost import Cost, StopError
from visloc_geo.providers.credentials import Secret, read_secret, require
from visloc_geo.providers.http import HttpClient
from visloc_geo.providers.parsing import parse_views, position_of
from visloc_geo.streets.area import Area
from visloc_geo.view import Orientation, View
from visloc_ros.core.camera import camera_from_params
from visloc_ros.core.errors import ConfigError, GeoError

NOTICE = (
    "Google Maps Platform Terms of Service: Street View images must not be pre-fetched, stored beyond short caching, "
    "or used to make other data of them, unless your agreement with Google permits it. Elevations likewise. You are "
    "responsible for having that right, and for the charges on your account."
)
HOST = "https://maps.googleapis.com"
KEY_VARIABLE, SECRET_VARIABLE = "GOOGLE_MAPS_API_KEY", "GOOGLE_MAPS_SIGNING_SECRET"
IMAGE_USD = 0.007
SIZE_PX = 640
CAMERA_HEIGHT_M = 2.5
_LARGEST_FOV_DEG = 120.0
_NOTHING = ("ZERO_RESULTS", "NOT_FOUND")
_REFUSED = ("REQUEST_DENIED", "OVER_DAILY_LIMIT", "OVER_QUERY_LIMIT")


class GoogleKeys:
    """The key and the signing secret of an account, from the environment or a file. Raises ConfigError without a key.

    Costs can be estimated without one: ``is_needed`` is then False.
    """

    def __init__(self, file: Path | None = None, is_needed: bool = True) -> None:
        self.key = read_secret(KEY_VARIABLE, "api-key", file)
        if is_needed:
            require(self.key, KEY_VARIABLE, "api-key", "Google Maps")
        self.secret = read_secret(SECRET_VARIABLE, "secret", file)

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What must not be shown."""
        return self.key, self.secret

    def address(self, path: str, values: Mapping[str, Any]) -> str:
        """The whole address of a request, signed where there is a secret."""
        query = f"{path}?{urlencode({**values, 'key': self.key.value}, safe=',')}"
        if self.secret:
            query += f"&signature={sign(query, self.secret.value)}"
        return HOST + query


def sign(path_and_query: str, secret: str) -> str:
    """The signature of an address: HMAC-SHA1 by the decoded secret, in URL-safe base 64. Raises ConfigError."""
    try:
        key = base64.urlsafe_b64decode(secret)
    except ValueError as error:
        raise ConfigError("the signing secret is no base 64: copy it whole from the console") from error
    return base64.urlsafe_b64encode(hmac.new(key, path_and_query.encode(), hashlib.sha1).digest()).decode()


@dataclass(frozen=True)
class GoogleStreetView:
    """Panoramas nearest to points along streets; of each, views in ``n_directions`` of ``fov_deg``."""

    client: HttpClient
    keys: GoogleKeys
    fov_deg: float = 90.0
    n_directions: int = 8
    name: str = "gsv"

    def __post_init__(self) -> None:
        if not 10.0 <= self.fov_deg <= _LARGEST_FOV_DEG or self.n_directions < 1:
            raise ConfigError(f"--fov is to be from 10 to {_LARGEST_FOV_DEG:.0f} degrees, --n_directions 1 or more")

    def requests(self, area: Area) -> Iterable[str]:
        """One for each point; panoramas up to the spacing away count."""
        radius = math.ceil(area.sampling.spacing_m)
        return [f"google {lat:.7f},{lng:.7f} {radius}" for lat, lng in area.points]

    def search(self, request: str) -> Answer:
        """The panorama nearest to a point, if there is one outdoors."""
        _, location, radius = request.split(" ")
        asked = {"location": location, "radius": radius, "source": "outdoor"}
        values = self._checked(self.client.get_json(self.keys.address("/maps/api/streetview/metadata", asked)))
        if values["status"] in _NOTHING:
            return Answer()
        views, left_out = parse_views([values], lambda one: _view(one, location))
        return Answer(views, left_out=[f"the panorama at {location}: {reason}" for reason in left_out])

    def search_cost(self, request: str) -> Cost:
        """Metadata are free."""
        return Cost(1)

    def targets(self, view: View) -> Sequence[View]:
        """Views in equal steps of direction, the one that looks north by the name of the panorama."""
        pano = view.panorama or view.name
        if view.name != pano:
            return ()
        focal = SIZE_PX / 2.0 / math.tan(math.radians(self.fov_deg) / 2.0)
        camera = camera_from_params("PINHOLE", SIZE_PX, SIZE_PX, [focal, focal, SIZE_PX / 2.0, SIZE_PX / 2.0])
        headings = [index * 360.0 / self.n_directions for index in range(self.n_directions)]
        names = [view_name(pano, heading) if heading else pano for heading in headings]
        return [
            replace(view, name=name, camera=camera, orientation=Orientation(heading))
            for name, heading in zip(names, headings, strict=True)
        ]

    def fetch(self, target: View) -> Fetched:
        """The image of one direction."""
        assert target.orientation is not None
        values = {"pano": target.panorama, "size": f"{SIZE_PX}x{SIZE_PX}", "fov": f"{self.fov_deg:g}"}
        values |= {"heading": f"{target.orientation.heading_deg:.6f}", "pitch": "0", "source": "outdoor"}
        address = self.keys.address("/maps/api/streetview", {**values, "return_error_code": "true"})
        try:
            image = fetch_image(self.client, address, usd=IMAGE_USD)
        except GeoError as error:
            if getattr(error, "status", 0) == 404:
                raise GoneError("Street View has this panorama no more") from error
            if getattr(error, "status", 0) == 403:
                raise StopError(f"Google refuses: {error}") from error
            raise
        if image_size(image) != (SIZE_PX, SIZE_PX):
            raise GeoError(f"the image has {image_size(image)} pixels rather than {SIZE_PX}x{SIZE_PX}")
        return [(target, image)]

    def fetch_cost(self, target: View) -> Cost:
        """One image."""
        return Cost(1, IMAGE_USD)

    def _checked(self, values: Any) -> Mapping[str, Any]:
        return checked(values, self.client)


def checked(values: Any, client: HttpClient) -> Mapping[str, Any]:
    """An answer whose status is OK or says that there is nothing. Raises StopError, GeoError."""
    status = values.get("status") if isinstance(values, dict) else None
    if status in _REFUSED:
        raise StopError(f"Google refuses ({status}): {client.redact(values.get('error_message', 'no reason given'))}")
    if status not in ("OK", *_NOTHING):
        raise GeoError(f"Google answers with the status {client.redact(status)}")
    return dict(values)


def _view(values: Mapping[str, Any], location: str) -> View:
    """A panorama. Raises those of ``UNUSABLE``."""
    pano = safe_name(values["pano_id"])
    latitude, longitude = (float(value) for value in location.split(","))
    at = values["location"]
    return View(
        pano,
        position_of(at["lat"], at["lng"]),
        panorama=pano,
        source="gsv",
        licence="Google Maps Platform Terms of Service",
        attribution=str(values.get("copyright", "© Google")),
        captured_at=values.get("date"),
        camera_height_m=CAMERA_HEIGHT_M,
        query_location=(latitude, longitude),
    )
