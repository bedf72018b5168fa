"""``visloc geo coverage``: where photos can be located by a database of views."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from visloc_geo.apps.command_locate import DatabaseArgument
from visloc_geo.apps.options import Show, Tiles, open_page
from visloc_geo.coverage import geo_coverage
from visloc_geo.database import GeoDatabase
from visloc_geo.map_page import Kind, Marker, Square, write_map_page
from visloc_ros.apps.command_coverage import in_words
from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.core.geometry import Array
from visloc_ros.core.wgs84 import EnuFrame
from visloc_ros.localization.coverage import Coverage


def coverage(
    database: DatabaseArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Page to write, or a picture where it ends in .png.")
    ] = None,
    cell: Annotated[float | None, typer.Option(min=0.1, help="Side of a cell in metres, by default 5 or more.")] = None,
    tiles: Tiles = False,
    show: Show = False,
    as_json: AsJson = False,
) -> None:
    """Show where photos can be located: the expected share for each cell around the views, and for each heading.

    Example: visloc geo coverage streets -o coverage.html
    """
    check_outputs(output)
    views = GeoDatabase(database)
    found = geo_coverage(views, cell)
    if output is not None:
        _write(output, f"Where photos are located by '{database.name}'", found, views.origin, tiles)
        open_page(output, show)
    if as_json:
        origin = views.origin
        places = _degrees(np.array([[one.x, one.y] for one in found.cells()]), origin)
        values = found.to_mapping()
        for one, (latitude, longitude) in zip(values["cells"], places, strict=True):
            one |= {"latitude": latitude, "longitude": longitude}
        print_json({"origin": [origin.latitude, origin.longitude], **values, "page": output})
        return
    console.print(f"{database.name}: {in_words(found, 'm')}", highlight=False, soft_wrap=True)
    if output is not None:
        console.print(f"page: {output}", highlight=False, soft_wrap=True)


def _write(output: Path, title: str, found: Coverage, origin: EnuFrame, tiles: bool) -> None:
    if output.suffix.lower() == ".png":
        from visloc_ros.evaluation.coverage_plot import write_coverage_plot  # with matplotlib

        write_coverage_plot(output, title, found, ("east [m]", "north [m]"))
        return
    markers = [Marker(latitude, longitude, kind=Kind.VIEW) for latitude, longitude in _degrees(found.cameras, origin)]
    write_map_page(output, markers, squares=_squares(found, origin), title=title, tiles=tiles)


def _squares(found: Coverage, origin: EnuFrame) -> list[Square]:
    cells = list(found.cells())
    middles, half = np.array([[one.x, one.y] for one in cells]), 0.5 * found.cell
    corners = zip(_degrees(middles - half, origin), _degrees(middles + half, origin), strict=True)
    return [
        Square(south_west, north_east, one.recall, str(one))
        for one, (south_west, north_east) in zip(cells, corners, strict=True)
    ]


def _degrees(east_north: Array, origin: EnuFrame) -> list[tuple[float, float]]:
    """Latitudes and longitudes of positions (N, 2) in metres, on the ground."""
    flat = np.column_stack([east_north, np.zeros(len(east_north))])
    return [(float(lat), float(lng)) for lat, lng, _ in origin.to_geodetic(flat)]
