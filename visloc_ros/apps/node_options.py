"""Command-line options of the commands that start nodes."""

from __future__ import annotations

from typing import Annotated

import click
import typer

from visloc_ros.localization.config import LANDMARKS, SEARCHES

MapTracking = Annotated[
    bool, typer.Option(help="Follow the map's points in every frame between anchors; odometry alone takes less time.")
]
Domain = Annotated[int, typer.Option("--domain-id", min=0, max=232, help="ROS domain that the nodes talk in.")]
CameraFile = Annotated[str, typer.Option("--camera", help="Calibration file (COLMAP, EuRoC or ROS YAML).")]
Search = Annotated[
    str,
    typer.Option(
        click_type=click.Choice(SEARCHES),
        help=f"How images are searched in the map; {LANDMARKS}: in one that 'visloc prepare' has prepared.",
        show_default=False,
    ),
]
