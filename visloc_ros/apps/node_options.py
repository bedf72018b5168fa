"""Command-line options of the commands that search maps or start nodes that do."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

import typer

from visloc_ros.localization.config import RETRIEVAL, AnchorConfig, search_names


def _known_search(name: str) -> str:
    if name and name not in search_names():
        raise typer.BadParameter(f"there is no way of searching '{name}'; known: {', '.join(search_names())}")
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
        help=f"How images are searched: {', '.join(search_names())}; others than {RETRIEVAL} need a prepared map.",
        show_default=False,
    ),
]


def searched_by(search: str, config: AnchorConfig) -> AnchorConfig:
    """A configuration with the way of searching that was given, if any."""
    return replace(config, search=search) if search else config
