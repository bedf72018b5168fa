"""Command-line options of the commands that start nodes."""

from __future__ import annotations

from typing import Annotated

import typer

from visloc_ros.localization.config import LANDMARKS, SEARCHES


def _known_search(name: str) -> str:
    if name and name not in SEARCHES:
        raise typer.BadParameter(f"there is no way of searching '{name}'; known: {', '.join(SEARCHES)}")
    return name


MapTracking = Annotated[
    bool, typer.Option(help="Follow the map's points in every frame between anchors; odometry alone takes less time.")
]
Domain = Annotated[int, typer.Option("--domain-id", min=0, max=232, help="ROS domain that the nodes talk in.")]
CameraFile = Annotated[str, typer.Option("--camera", help="Calibration file (COLMAP, EuRoC or ROS YAML).")]
Search = Annotated[
    str,
    typer.Option(
        callback=_known_search,
        help=f"How images are searched in the map, {' or '.join(SEARCHES)}; {LANDMARKS}: if it is prepared for it.",
        show_default=False,
    ),
]
