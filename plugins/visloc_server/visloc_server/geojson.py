"""Answers as GeoJSON (RFC 7946), for maps on the earth."""

from __future__ import annotations

from typing import Any

from fastapi.responses import JSONResponse

from visloc_ros.core.errors import ConfigError
from visloc_server.answers import LocalizeAnswer

GEOJSON = "application/geo+json"


def is_wanted(accept: str) -> bool:
    """Whether the header ``Accept`` of a request names GeoJSON."""
    return any(one.partition(";")[0].strip().lower() == GEOJSON for one in accept.split(","))


def geojson_answer(answer: LocalizeAnswer) -> JSONResponse:
    """The answer as a feature: a point where the camera is, without geometry where it is not found.

    Its properties are the other answer, the altitude included: that of RFC 7946 is above the ellipsoid, a map's perhaps
    above the sea. Raises ConfigError where the map's place on the earth is not known.
    """
    if answer.map_origin is None:
        raise ConfigError(
            f"where the map '{answer.map}' is on the earth is not known: align it with 'visloc align-map --gps', or "
            "ask for application/json"
        )
    pose, geometry = answer.geo_pose, None
    if pose is not None:
        geometry = {"type": "Point", "coordinates": [pose.longitude, pose.latitude]}
    feature: dict[str, Any] = {"type": "Feature", "geometry": geometry, "properties": answer.model_dump()}
    return JSONResponse(feature, media_type=GEOJSON)
