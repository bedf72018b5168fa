"""``visloc build-map``: a video, image folder or bag becomes a map."""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros import mapping
from visloc_ros.apps.console import StageBars, console
from visloc_ros.apps.options import (
    ConfigFile,
    Overwrite,
    SourceArgument,
    takes_source_config,
)
from visloc_ros.core.config import read_config
from visloc_ros.core.map import pack_map
from visloc_ros.core.trajectory import read_tum
from visloc_ros.sources import SourceConfig, open_source


class Gravity(str, Enum):
    """Where the map's up comes from."""

    auto = "auto"
    camera = "camera"
    reference = "reference"
    none = "none"


@takes_source_config
def build_map(
    source: SourceArgument,
    source_config: SourceConfig,
    output: Annotated[Path, typer.Option("--output", "-o", help="Map folder to write, e.g. maps/office.")],
    reference_poses: Annotated[
        Path | None,
        typer.Option(help="TUM file of known map_from_camera poses: triangulate at them; the map is metric."),
    ] = None,
    scale_distance: Annotated[
        float, typer.Option(min=0.0, help="Metres between the first and the last registered camera; sets the scale.")
    ] = 0.0,
    gravity: Annotated[
        Gravity, typer.Option(help="Where up is: from a level camera, or +z of the reference poses.")
    ] = Gravity.auto,
    archive: Annotated[bool, typer.Option("--archive", help="Also pack the map as <output>/reference.tar.gz.")] = False,
    config: ConfigFile = None,
    overwrite: Overwrite = False,
) -> None:
    """Build a map from a video, an image folder or a ROS 2 bag.

    Example: visloc build-map office.mp4 --output maps/office
    """
    frames = open_source(source, source_config)
    options = read_config(mapping.MappingConfig, config)
    if scale_distance or gravity is not Gravity.auto:
        frame = replace(options.frame, scale_distance=scale_distance, gravity=gravity.value)
        options = replace(options, frame=frame)
    poses = read_tum(reference_poses) if reference_poses else None
    with StageBars() as bars:
        summary = mapping.build_map(
            frames,
            output,
            options,
            reference_poses=poses,
            overwrite=overwrite,
            progress=bars,
        )
    console.print(str(summary))
    if archive:
        packed = pack_map(output, output / "reference.tar.gz", overwrite=overwrite)
        console.print(f"packed as {packed}")
