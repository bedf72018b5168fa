"""A view of a street with its place on the earth, as ``metadata.json`` of a database holds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pycolmap

from visloc_geo.orientation import rotation_of
from visloc_ros.core.errors import GeoError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.sources.measurements import GeoPosition

ORIGINAL_TAG = "tag"
TAG_VALUES = ("latitude", "longitude", "altitude", "sigma")
"""Key of a registered view's ``others``, and what is there: the position that it had before, null without one."""
REGISTRATION = "registration"
"""Key of a registered view's ``others``, and of ``database.json``: the number of the registration that it is of."""

MISFIT = "misfit_m"
"""Key of the ``others`` of a view whose tag is that far from where a registration of all views puts it."""


@dataclass(frozen=True)
class Orientation:
    """Where a view looks: degrees clockwise from true north, above the horizon, and its right side below it.

    ``sigma_deg`` is the standard deviation of the heading, None where its source states none.
    """

    heading_deg: float
    pitch_deg: float = 0.0
    roll_deg: float = 0.0
    sigma_deg: float | None = None


@dataclass(frozen=True, eq=False)
class View:
    """A geotagged view; what is not known is None.

    ``name`` is that of its folder. ``position`` holds altitudes of the camera. A view whose image was not fetched has
    no ``camera``. ``panorama`` is the name that all views cut from one panorama share. ``others`` are keys of
    ``metadata.json`` that are kept as they are.
    """

    name: str
    position: GeoPosition | None = None
    orientation: Orientation | None = None
    camera: pycolmap.Camera | None = None
    panorama: str | None = None
    source: str | None = None
    licence: str | None = None
    attribution: str | None = None
    captured_at: str | None = None
    altitude_source: str | None = None
    camera_height_m: float | None = None
    query_location: tuple[float, float] | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_registered(self) -> bool:
        """Whether its pose is of a reconstruction of all views together."""
        return ORIGINAL_TAG in self.others

    @property
    def tagged_position(self) -> GeoPosition | None:
        """The position before it was registered. Raises GeoError."""
        if not self.is_registered:
            return self.position
        if self.others[ORIGINAL_TAG] is None:
            return None
        try:
            return GeoPosition(**dict(zip(TAG_VALUES, self.others[ORIGINAL_TAG], strict=True)))
        except (TypeError, ValueError) as error:
            names = ", ".join(TAG_VALUES)
            raise GeoError(f"'{ORIGINAL_TAG}' of the view '{self.name}' is not {names}: {error}") from error

    def retagged(self, position: GeoPosition | None, orientation: Orientation | None) -> View:
        """The view with another tag, not registered."""
        others = {key: value for key, value in self.others.items() if key not in (ORIGINAL_TAG, REGISTRATION, MISFIT)}
        return replace(self, position=position, orientation=orientation, others=others)

    def enu_from_camera(self, frame: EnuFrame) -> SE3 | None:
        """The pose in a frame by the tags, None where they lack the position or the heading.

        A missing altitude is taken as the frame's.
        """
        if self.position is None or self.orientation is None:
            return None
        one = self.position
        altitude = frame.altitude if one.altitude is None else one.altitude
        centre = frame.from_geodetic([one.latitude, one.longitude, altitude])[0]
        angles = self.orientation
        return SE3(rotation_of(angles.heading_deg, angles.pitch_deg, angles.roll_deg), centre)
