"""Streets from OpenStreetMap's servers by OSMnx, which keeps their answers: the same area is asked for once."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from visloc_geo.streets.lines import Lines, merge_segments
from visloc_ros.core.errors import GeoError, SetupError

_TIMEOUT_S = 180.0
_AGENT = "visloc_ros (street views for localization)"
ATTRIBUTION = "streets © OpenStreetMap contributors, ODbL"


def streets_around(latitude: float, longitude: float, radius_m: float) -> Lines:
    """The streets in the square around a circle. Raises GeoError, SetupError."""
    osmnx = _osmnx()
    # The edges that leave the area stay, so that the lines are cut from the same ends wherever it ends.
    options: dict[str, Any] = {"network_type": "walk", "simplify": False, "retain_all": True, "truncate_by_edge": True}
    return _asked(osmnx, lambda: osmnx.graph_from_point((latitude, longitude), dist=radius_m, **options))


def streets_of_place(place: str) -> Lines:
    """The streets within the boundary of a named place. Raises GeoError, SetupError."""
    osmnx = _osmnx()
    options: dict[str, Any] = {"network_type": "walk", "simplify": False, "retain_all": True}
    return _asked(osmnx, lambda: osmnx.graph_from_place(place, **options))


def position_of_place(place: str) -> tuple[float, float]:
    """Latitude and longitude of a named place. Raises GeoError, SetupError."""
    osmnx = _osmnx()
    found = _caught(osmnx, lambda: osmnx.geocode(place))
    return float(found[0]), float(found[1])


def cache_folder() -> Path:
    """Where answers of OpenStreetMap's servers are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "visloc_ros" / "osm"


def _osmnx() -> Any:
    try:
        import osmnx
    except ImportError as error:
        raise SetupError(
            "asking OpenStreetMap for streets needs the package osmnx: pip install 'osmnx>=2', or give a saved "
            "network with --network FILE"
        ) from error
    osmnx.settings.use_cache = True
    osmnx.settings.cache_folder = str(cache_folder())
    osmnx.settings.requests_timeout = _TIMEOUT_S
    osmnx.settings.http_user_agent = _AGENT
    osmnx.settings.log_level = logging.WARNING
    return osmnx


def _asked(osmnx: Any, ask: Any) -> Lines:
    graph = _caught(osmnx, ask)
    positions = {node: (float(values["y"]), float(values["x"])) for node, values in graph.nodes(data=True)}
    return merge_segments(positions, ((first, second) for first, second in graph.edges()))


def _caught(osmnx: Any, ask: Any) -> Any:
    try:
        return ask()
    except (osmnx._errors.ResponseStatusCodeError, OSError) as error:  # the errors of requests are of the latter kind
        raise GeoError(
            f"OpenStreetMap's server does not answer ({type(error).__name__}): try again later, or give a saved "
            "network with --network FILE"
        ) from error
    except (ValueError, TypeError) as error:  # no result, or one that is no area
        raise GeoError(f"OpenStreetMap knows no such place, or no street there: {error}") from error
