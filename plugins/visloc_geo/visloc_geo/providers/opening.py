"""Providers by name."""

from __future__ import annotations

from pathlib import Path

import httpx

from visloc_geo.providers.base import Provider
from visloc_geo.providers.cost import Budget
from visloc_geo.providers.elevation import Elevations
from visloc_geo.providers.google import NOTICE, GoogleKeys, GoogleStreetView
from visloc_geo.providers.http import HttpClient
from visloc_geo.providers.kartaview import KartaView, read_kartaview_token
from visloc_geo.providers.mapillary import Mapillary, read_mapillary_token
from visloc_ros.core.errors import ConfigError

GOOGLE, MAPILLARY, KARTAVIEW = "gsv", "mapillary", "kartaview"
PROVIDERS = (MAPILLARY, KARTAVIEW, GOOGLE)


def open_provider(
    name: str,
    budget: Budget,
    credentials: Path | None = None,
    *,
    fov_deg: float = 90.0,
    n_directions: int = 8,
    is_key_needed: bool = True,
    transport: httpx.BaseTransport | None = None,
) -> Provider:
    """A provider whose requests count in a budget. Raises ConfigError for an unknown one, or without its key."""
    if name == MAPILLARY:
        token = read_mapillary_token(credentials, is_key_needed)
        return Mapillary(HttpClient(budget, [token], transport), token, fov_deg, n_directions)
    if name == KARTAVIEW:
        token = read_kartaview_token(credentials)
        return KartaView(HttpClient(budget, [token], transport), token)
    if name == GOOGLE:
        keys = GoogleKeys(credentials, is_key_needed)
        return GoogleStreetView(HttpClient(budget, keys.secrets, transport), keys, fov_deg, n_directions)
    raise ConfigError(
        f"there is no provider '{name}': {', '.join(PROVIDERS)}; own photos are added by 'visloc geo add'"
    )


def open_elevations(
    budget: Budget,
    credentials: Path | None = None,
    *,
    is_key_needed: bool = True,
    transport: httpx.BaseTransport | None = None,
) -> Elevations:
    """Google's elevations. Raises ConfigError without a key."""
    keys = GoogleKeys(credentials, is_key_needed)
    return Elevations(HttpClient(budget, keys.secrets, transport), keys)


def terms_of(name: str) -> str:
    """The terms that the user of a provider must have accepted, empty where there are none."""
    return NOTICE if name == GOOGLE else ""
