"""From what a user or a robot knows of a camera, in its own terms, to the hint of a search in one map."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.errors import ConfigError, MapError
from visloc_ros.core.geo_reference import GEO_SIGMA_M, GeoReference
from visloc_ros.core.geometry import Array
from visloc_ros.core.plausibility import is_plausible_sigma
from visloc_ros.core.types import MapIdentity
from visloc_ros.localization.search_hint import HeadingHint, PositionHint, SearchHint


@dataclass(frozen=True)
class RoughPose:
    """What is known of a camera beside its image; what is not known is None.

    ``position`` is x, y or x, y, z in the map, ``gps`` in its place latitude and longitude in degrees (WGS 84), both
    with ``position_sigma``. ``heading_deg`` is that of the optical axis, clockwise from the map's y axis as seen from
    above, in a map on the earth from true north; ``heading_sigma_deg`` its standard deviation. ``text`` is an
    embedding of a text that the camera sees. Raises ConfigError for values without their errors, and the reverse.
    """

    position: Sequence[float] | None = None
    gps: Sequence[float] | None = None
    position_sigma: float | None = None
    heading_deg: float | None = None
    heading_sigma_deg: float | None = None
    text: Sequence[float] | Array | None = None

    def __post_init__(self) -> None:
        if self.position is not None and self.gps is not None:
            raise ConfigError("give a position in the map or one on the earth, not both")
        has_position = self.position is not None or self.gps is not None
        if has_position != (self.position_sigma is not None):
            raise ConfigError("give a position with its standard deviation, or neither")
        if (self.heading_deg is None) != (self.heading_sigma_deg is None):
            raise ConfigError("give a heading with its standard deviation, or neither")

    def in_map(self, identity: MapIdentity) -> SearchHint | None:
        """The hint for searches in a map, None where nothing is known.

        Raises ConfigError for values that cannot be, or a place on the earth where that of the map is not known.
        """
        position, heading = self._position(identity), self._heading()
        text = None if self.text is None else np.asarray(self.text, np.float64)
        is_empty = position is None and heading is None and text is None
        return None if is_empty else SearchHint(position, heading, text)

    def to_words(self) -> dict[str, str]:
        """The form fields that ``rough_pose_in_words`` reads; empty where nothing is known."""
        rows = {"position": self.position, "gps": self.gps, "text": self.text}
        single = {
            "position_sigma": self.position_sigma,
            "heading": self.heading_deg,
            "heading_sigma": self.heading_sigma_deg,
        }
        words = {name: " ".join(str(float(value)) for value in row) for name, row in rows.items() if row is not None}
        return words | {name: str(value) for name, value in single.items() if value is not None}

    def _position(self, identity: MapIdentity) -> PositionHint | None:
        if self.position_sigma is None:
            return None
        if self.position is not None:
            return PositionHint(np.array(self.position, np.float64), self.position_sigma)
        assert self.gps is not None
        if identity.on_earth is None:
            raise ConfigError(
                f"where the map '{identity.name}' is on the earth is not known: align it with 'visloc align-map --gps',"
                " or give a position in the map"
            )
        return gps_hint(identity.on_earth, self.gps, self.position_sigma)

    def _heading(self) -> HeadingHint | None:
        if self.heading_deg is None or self.heading_sigma_deg is None:
            return None
        return HeadingHint(math.radians(90.0 - self.heading_deg), math.radians(self.heading_sigma_deg))


def gps_hint(origin: GeoReference, gps: Sequence[float], *sigmas_m: float) -> PositionHint:
    """The hint of a latitude and a longitude with independent errors, to which that of the map is added.

    Raises ConfigError for what is no place, or no error.
    """
    if not all(is_plausible_sigma(sigma) for sigma in sigmas_m):
        raise ConfigError(f"the standard deviation of a hint must be positive and plausible, not {sigmas_m[0]:g}")
    try:
        latitude, longitude = gps
        east_north = origin.east_north(latitude, longitude)
    except (MapError, ValueError) as error:
        raise ConfigError(f"a position on the earth must be latitude and longitude in degrees: {error}") from error
    return PositionHint(east_north, math.hypot(*sigmas_m, GEO_SIGMA_M))


def rough_pose_in_words(
    position: str = "",
    gps: str = "",
    position_sigma: float | None = None,
    heading: float | None = None,
    heading_sigma: float | None = None,
    text: str = "",
) -> RoughPose:
    """The same of options and form fields, where several numbers are one text. Raises ConfigError."""
    return RoughPose(
        _numbers("position", position, "'x y' or 'x y z'", (2, 3)),
        _numbers("gps", gps, "'latitude longitude'", (2,)),
        position_sigma,
        heading,
        heading_sigma,
        _numbers("text", text, "the numbers of an embedding"),
    )


def _numbers(name: str, words: str, expected: str, counts: Sequence[int] = ()) -> list[float] | None:
    if not words.strip():
        return None
    try:
        values = [float(word) for word in words.replace(",", " ").split()]
    except ValueError as error:
        raise ConfigError(f"{name} is not {expected}: {error}") from error
    if counts and len(values) not in counts:
        raise ConfigError(f"{name} is not {expected}, but {len(values)} numbers")
    return values
