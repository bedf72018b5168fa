"""``visloc geo preview`` and ``postview``: pages that show where views are searched, and where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from visloc_geo.apps.options import Database, Show, Tiles, open_page, takes_area
from visloc_geo.database import GeoDatabase
from visloc_geo.map_page import Kind, Line, Marker, write_map_page
from visloc_geo.streets.area import Area
from visloc_geo.streets.osm import ATTRIBUTION
from visloc_geo.view import View
from visloc_ros.apps.console import AsJson, console, print_json


@takes_area
def preview(
    area: Area,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write.")] = Path("preview.html"),
    tiles: Tiles = False,
    show: Show = False,
    as_json: AsJson = False,
) -> None:
    """Show where views would be searched: points along the streets of an area.

    Example: visloc geo preview --point 55.7047 13.1910 --radius 500 --spacing 30
    """
    streets = [Line([(float(lat), float(lng)) for lat, lng in line]) for line in area.streets]
    markers = [Marker(float(lat), float(lng), f"{lat:.6f}, {lng:.6f}", Kind.POINT) for lat, lng in area.points]
    write_map_page(output, markers, streets, title=f"{len(markers)} points, {ATTRIBUTION}", tiles=tiles)
    if as_json:
        print_json({"points": np.round(area.points, 7).tolist(), "page": output})
    else:
        console.print(f"{len(markers)} points along {len(streets)} streets: {output}", highlight=False, soft_wrap=True)
    open_page(output, show)


def postview(
    database: Database,
    credentials: Annotated[Path | None, typer.Option(hidden=True)] = None,
    zoom: Annotated[float | None, typer.Option(help="Level of web maps, e.g. 17; by default all is in view.")] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Page to write.")] = Path("map.html"),
    tiles: Tiles = False,
    show: Show = False,
    as_json: AsJson = False,
) -> None:
    """Show where the views of a database are, each panorama once.

    Example: visloc geo postview --database streets --output streets.html
    """
    markers = [_marker(view) for view in _places(GeoDatabase(database))]
    write_map_page(output, markers, title=f"{len(markers)} places", tiles=tiles, zoom=zoom)
    if as_json:
        print_json({"places": len(markers), "page": output})
    else:
        count = "1 place" if len(markers) == 1 else f"{len(markers)} places"
        console.print(f"{count}: {output}", highlight=False, soft_wrap=True)
    open_page(output, show)


def _places(database: GeoDatabase) -> list[View]:
    """A view of each place: the first one of a panorama. Those without a position are left out."""
    found: dict[str, View] = {}
    for view in database:
        if view.position is not None:
            found.setdefault(view.panorama or view.name, view)
    return list(found.values())


def _marker(view: View) -> Marker:
    assert view.position is not None
    facts = [view.panorama or view.name, view.captured_at, view.attribution, view.licence]
    heading = None if view.panorama or view.orientation is None else view.orientation.heading_deg
    text = "\n".join(str(fact) for fact in facts if fact)
    return Marker(view.position.latitude, view.position.longitude, text, Kind.VIEW, heading)
