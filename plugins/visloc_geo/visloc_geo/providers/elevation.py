"""Heights of the ground by Google's elevation service, for views that lack an altitude."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from visloc_geo.metadata import GROUND
from visloc_geo.providers.cost import Cost
from visloc_geo.providers.google import CAMERA_HEIGHT_M, GoogleKeys, checked
from visloc_geo.providers.http import HttpClient
from visloc_geo.view import View
from visloc_ros.core.errors import GeoError

ELEVATION_USD = 0.005
_PATH = "/maps/api/elevation/json"
_LONGEST_ADDRESS = 16384
_MOST_APART_DEG = 1e-5  # of a location in the answer and in the request: a metre
_HAND_HEIGHT_M = 1.6

Location = tuple[float, float]


@dataclass(frozen=True)
class Elevations:
    """Asks for the ground's height above the sea at locations, as many in a request as the service takes."""

    client: HttpClient
    keys: GoogleKeys
    most_locations: int = 512

    def batches(self, locations: Sequence[Location]) -> list[list[Location]]:
        """Locations, each once, in as few requests as the service's limits permit."""
        rows: list[list[Location]] = []
        room = 0
        for location in dict.fromkeys(locations):
            needed = len(_text(location)) + len("%7C")
            if not rows or len(rows[-1]) == self.most_locations or needed > room:
                rows.append([])
                room = _LONGEST_ADDRESS - len(self._address([]))
            rows[-1].append(location)
            room -= needed
        return rows

    def ask(self, batch: Sequence[Location]) -> Mapping[Location, float]:
        """The heights of a batch in metres. Raises GeoError where the answer does not fit it; then none is used."""
        values = checked(self.client.get_json(self._address(batch), usd=ELEVATION_USD), self.client)
        found = values.get("results")
        if not isinstance(found, list) or len(found) != len(batch):
            count = len(found) if isinstance(found, list) else "no"
            raise GeoError(f"the elevation service gives {count} heights for {len(batch)} locations: none is used")
        try:
            return dict(_matched(batch, found))
        except (KeyError, TypeError, ValueError, ArithmeticError) as error:
            raise GeoError(f"the elevation service gives an answer that cannot be read ({error!r})") from error

    def cost(self, locations: Sequence[Location]) -> Cost:
        """What all locations cost."""
        count = len(self.batches(locations))
        return Cost(count, count * ELEVATION_USD)

    def _address(self, batch: Sequence[Location]) -> str:
        return self.keys.address(_PATH, {"locations": "|".join(_text(one) for one in batch)})


def location_of(view: View) -> Location | None:
    """Where a view lacks an altitude, None where it has one or no position."""
    if view.position is None or view.position.altitude is not None:
        return None
    return view.position.latitude, view.position.longitude


def with_ground(view: View, ground_m: float) -> View:
    """The view with its camera above ground of this height."""
    assert view.position is not None
    height = view.camera_height_m or (CAMERA_HEIGHT_M if view.panorama else _HAND_HEIGHT_M)
    position = replace(view.position, altitude=ground_m + height)
    return replace(view, position=position, altitude_source=GROUND, camera_height_m=height)


def _text(location: Location) -> str:
    return f"{location[0]:.7f},{location[1]:.7f}"


def _matched(batch: Sequence[Location], found: Sequence[Any]) -> Iterator[tuple[Location, float]]:
    for location, one in zip(batch, found, strict=True):
        at = (float(one["location"]["lat"]), float(one["location"]["lng"]))
        if max(abs(at[0] - location[0]), abs(at[1] - location[1])) > _MOST_APART_DEG:
            raise GeoError(f"the elevation service answers for {at} rather than {location}: none is used")
        if not math.isfinite(elevation := float(one["elevation"])):
            raise ValueError(f"a height of {elevation}")
        yield location, elevation
