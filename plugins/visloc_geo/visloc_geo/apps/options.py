"""Options of the commands that collect views of streets."""

from __future__ import annotations

import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from visloc_geo.providers.cost import Budget
from visloc_geo.providers.opening import PROVIDERS
from visloc_geo.streets.area import Area, make_area
from visloc_geo.streets.sampling import SamplingConfig
from visloc_ros.apps.options import takes_outcome
from visloc_ros.core.errors import ConfigError

Point = Annotated[
    tuple[float, float] | None, typer.Option(metavar="LATITUDE LONGITUDE", help="Middle of the area, in degrees.")
]
Place = Annotated[str, typer.Option(metavar="NAME...", help="Area by name, as OpenStreetMap knows it.")]
PlaceWords = Annotated[list[str] | None, typer.Argument(metavar="NAME", hidden=True)]
Radius = Annotated[
    float | None, typer.Option(help="Metres around the point (by default 1000), or around the middle of the place.")
]
Network = Annotated[
    Path | None, typer.Option(help="Streets from a file, GraphML of OSMnx or .osm, rather than from OpenStreetMap.")
]
Spacing = Annotated[float, typer.Option(help="Metres between points along a street.")]
Jitter = Annotated[
    tuple[float, float], typer.Option(metavar="LOW HIGH", help="Metres by which points are moved aside at random.")
]
Seed = Annotated[int, typer.Option(help="Seed of the jitter.")]
Database = Annotated[Path, typer.Option("--database", "--dataset", help="Folder of the database.")]
ProviderName = Annotated[str, typer.Option("--provider", help=f"Source of views: {', '.join(PROVIDERS)}.")]
Credentials = Annotated[
    Path | None, typer.Option(help="YAML file of mode 600 with keys; otherwise they are those of the environment.")
]
AcceptTerms = Annotated[
    bool, typer.Option("--accept-terms", help="You have read the printed terms, and your agreement permits this.")
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the requests and the money that it takes, and stop.")]
MaxRequests = Annotated[int | None, typer.Option(min=0, help="Stop before more requests than these.")]
MaxUsd = Annotated[float | None, typer.Option(min=0.0, help="Stop before more US dollars than these.")]
Tiles = Annotated[bool, typer.Option("--tiles", help="Show OpenStreetMap's tiles, which needs a network.")]
Show = Annotated[bool, typer.Option("--show", "-v", help="Open the page in the browser.")]


@dataclass(frozen=True)
class Access:
    """How a service is asked: with which keys, whether its terms are accepted, whether it only counts, how much."""

    credentials: Path | None
    are_terms_accepted: bool
    is_dry_run: bool
    budget: Budget


def make_access(
    credentials: Credentials = None,
    accept_terms: AcceptTerms = False,
    dry_run: DryRun = False,
    max_requests: MaxRequests = None,
    max_usd: MaxUsd = None,
) -> Access:
    """How a service is asked, by the options on the command line."""
    return Access(credentials, accept_terms, dry_run, Budget(max_requests, max_usd))


def find_area(
    place_words: PlaceWords = None,
    point: Point = None,
    place: Place = "",
    radius: Radius = None,
    network: Network = None,
    spacing: Spacing = 30.0,
    jitter: Jitter = (0.0, 0.0),
    seed: Seed = 0,
) -> Area:
    """The points along the streets of an area, by the options on the command line. Raises as ``make_area`` does."""
    if place_words and not place:
        raise ConfigError(f"'{place_words[0]}' is no option: the words of a place stand after --place")
    name = " ".join([place, *(place_words or [])]).strip()
    return make_area(point, name, radius, network, SamplingConfig(spacing, jitter, seed))


takes_access = takes_outcome("access", make_access)
"""Gives a command the options of ``make_access``; it receives their outcome as ``access``."""

takes_area = takes_outcome("area", find_area)
"""Gives a command the options of ``find_area``; it receives their outcome as ``area``."""


def open_page(page: Path, wanted: bool) -> None:
    """Show a page in the browser, if that is wanted."""
    if wanted:
        webbrowser.open(page.resolve().as_uri())
