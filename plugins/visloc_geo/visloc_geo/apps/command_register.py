"""``visloc geo register``: better positions, and orientations, of a database's views."""

from __future__ import annotations

from typing import Any

from visloc_geo.apps.command_locate import DatabaseArgument
from visloc_geo.database import GeoDatabase
from visloc_geo.registration import contradicted_headings, register_views, write_poses
from visloc_ros.apps.console import AsJson, StageBars, console, error_console, print_json
from visloc_ros.evaluation.machine import provenance


def register(database: DatabaseArgument, as_json: AsJson = False) -> None:
    """Reconstruct the views of a street together, and correct their positions and headings by it.

    Example: visloc geo register streets
    """
    views = GeoDatabase(database)
    with StageBars() as bars:
        registration = register_views(views, progress=bars)
    turned = contradicted_headings(views, registration)
    write_poses(views, registration)
    console.print(
        f"registered {len(registration.poses)} of {len(views.names)} views; all of "
        f"them may be {registration.common.sigma_m:.1f} m off together, as their tags are"
    )
    if registration.misfits:
        named = ", ".join(f"{name} ({distance:.0f} m)" for name, distance in registration.misfits.items())
        error_console.print(
            f"not used, since the others place them far from their tags: {named}; correct these tags "
            "('visloc geo add --list'), or remove the views, and register again",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    if turned:
        named = ", ".join(f"{name} ({turn:+.0f} deg)" for name, turn in turned.items())
        error_console.print(
            f"the compass was wrong in {len(turned)} of them, whose registered headings override it: {named}",
            style="yellow",
            highlight=False,
            soft_wrap=True,
        )
    if as_json:
        figures: dict[str, Any] = {"views": len(views.names), "registered": len(registration.poses)}
        figures |= {"common_sigma_m": registration.common.sigma_m, "misfits": dict(registration.misfits)}
        figures["wrong_headings_deg"] = turned
        print_json({**figures, **provenance()})
