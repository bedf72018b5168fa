"""``visloc geo remove``: views that a database shall not have."""

from __future__ import annotations

from typing import Annotated

import typer

from visloc_geo.alike_views import forget_alike_views
from visloc_geo.apps.command_locate import DatabaseArgument
from visloc_geo.database import GeoDatabase
from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.core.errors import GeoError


def remove(
    database: DatabaseArgument,
    names: Annotated[list[str], typer.Argument(help="Names of the views, as answers and maps show them.")],
    as_json: AsJson = False,
) -> None:
    """Remove views with their images and features; nothing is removed if one of the names is wrong.

    Example: visloc geo remove streets IMG_0412
    """
    views = GeoDatabase(database)
    unknown = sorted(set(names) - set(views.names))
    if unknown:
        raise GeoError(f"there are no views {', '.join(unknown)} in {database}: nothing was removed")
    removed = list(dict.fromkeys(names))
    forget_alike_views(views, removed)
    for name in removed:
        views.remove(name)
    console.print(f"removed {len(removed)} views; the database has {len(views.names)}", highlight=False)
    if as_json:
        print_json({"removed": removed, "num_views": len(views.names)})
