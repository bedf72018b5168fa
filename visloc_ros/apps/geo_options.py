"""Options of the commands that collect views of streets."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.core.errors import ConfigError
from visloc_ros.geo.providers.opening import PROVIDERS

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


def join_words(place: str, words: list[str] | None) -> str:
    """The name of a place of several words. Raises ConfigError for words without it."""
    if words and not place:
        raise ConfigError(f"'{words[0]}' is no option: the words of a place stand after --place")
    return " ".join([place, *(words or [])]).strip()


def open_page(page: Path, wanted: bool) -> None:
    """Show a page in the browser, if that is wanted."""
    if wanted:
        webbrowser.open(page.resolve().as_uri())
