"""``visloc geo register``: better positions, and orientations, of a database's views."""

from __future__ import annotations

from visloc_ros.apps.command_geo_locate import DatabaseArgument
from visloc_ros.apps.console import StageBars, console
from visloc_ros.geo.database import GeoDatabase
from visloc_ros.geo.registration import register_views, write_poses


def register(database: DatabaseArgument) -> None:
    """Reconstruct the views of a street together, and correct their positions and headings by it.

    Example: visloc geo register streets
    """
    views = GeoDatabase(database)
    with StageBars() as bars:
        registration = register_views(views, progress=bars)
    write_poses(views, registration)
    console.print(
        f"registered {len(registration.poses)} of {len(views.names)} views; their tags are "
        f"{registration.sigma_m:.1f} m off along an axis"
    )
