"""``visloc align-map``: a finished map in the frame of a floor, a building, an occupancy grid, or the earth."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import AsJson, console, print_json
from visloc_ros.apps.options import MapArgument, Overwrite, takes_source_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import SE3
from visloc_ros.core.map import Map
from visloc_ros.core.types import AnchorPose, Frame
from visloc_ros.localization import AnchorConfig, AnchorEngine
from visloc_ros.mapping.alignment.aligned_map import align_map as write_aligned
from visloc_ros.mapping.alignment.fit import MapFit
from visloc_ros.mapping.alignment.floor import align_to_floor
from visloc_ros.mapping.alignment.grid import GridPose, align_to_grid
from visloc_ros.mapping.alignment.poses import align_to_poses, align_to_positions
from visloc_ros.mapping.alignment.tags import align_to_tags, read_tags
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.occupancy_grid import read_occupancy_grid
from visloc_ros.sources.pose_files import read_poses


@takes_source_config
def align_map(
    map_path: MapArgument,
    source_config: SourceConfig,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Map folder to write; the map itself with --overwrite.")
    ],
    floor: Annotated[bool, typer.Option("--floor", help="Put the floor at z = 0, its normal upwards.")] = False,
    camera_height: Annotated[
        float | None,
        typer.Option(min=0.01, help="With --floor: how high the camera was over it, in metres; the scale."),
    ] = None,
    poses: Annotated[
        Path | None,
        typer.Option(
            help="Known poses of the map's images in the other frame (TUM file, COLMAP model, kapture data set)."
        ),
    ] = None,
    grid: Annotated[Path | None, typer.Option(help="Occupancy grid of nav2_map_server, its YAML file.")] = None,
    near: Annotated[
        str, typer.Option(help="With --grid: about where the map's origin lies in it, 'x y yaw_deg'.")
    ] = "",
    tags: Annotated[Path | None, typer.Option(help="YAML file of AprilTags and their places; needs --source.")] = None,
    gps: Annotated[
        bool, typer.Option("--gps", help="GPS positions of the images of --source; axes east, north, up.")
    ] = False,
    source: Annotated[
        Path | None, typer.Option(help="Frames that show the tags, or the images of the map with their positions.")
    ] = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Move a finished map to another frame, so that poses come in the frame of the floor, the building, the earth.

    On its floor: visloc align-map maps/office -o maps/office_level --floor --camera-height 1.3

    In the frame of Nav2's map: visloc align-map maps/office -o maps/office_nav --grid map.yaml
    """
    ways: dict[str, Callable[[Map], MapFit]] = {}
    if floor:
        ways["--floor"] = lambda map_: align_to_floor(map_, camera_height)
    if poses is not None:
        references = read_poses(poses)
        ways["--poses"] = lambda map_: align_to_poses(map_, references)
    if grid is not None:
        cells, start = read_occupancy_grid(grid), _grid_pose(near)
        ways["--grid"] = lambda map_: align_to_grid(map_, cells, start)
    if tags is not None:
        places, frames = read_tags(tags), open_source(_needed(source), source_config)
        ways["--tags"] = lambda map_: align_to_tags(map_, places, frames, _locator(map_))
    if gps:
        images = open_source(_needed(source), source_config)
        ways["--gps"] = lambda map_: align_to_positions(map_, images)
    if len(ways) != 1:
        raise ConfigError("say what to align the map to, by one of --floor, --poses, --grid, --tags, --gps")
    fit = write_aligned(map_path, output, next(iter(ways.values())), overwrite=overwrite)
    if as_json:
        print_json({"map": output, "aligned_to": fit.source, "residuals": dict(fit.residuals), "metric": fit.metric})
        return
    residuals = ", ".join(f"{name.replace('_', ' ')} {value:.4g}" for name, value in fit.residuals.items())
    console.print(f"aligned to {fit.source} ({residuals}): {output}", soft_wrap=True)


def _needed(source: Path | None) -> Path:
    if source is None:
        raise ConfigError("name the frames with --source: a video, an image folder or a bag")
    return source


def _grid_pose(words: str) -> GridPose | None:
    if not words:
        return None
    try:
        x, y, yaw_deg = (float(word) for word in words.split())
    except ValueError as error:
        raise ConfigError(f"--near '{words}' is not 'x y yaw_deg', three numbers") from error
    return GridPose.at(x, y, yaw_deg)


def _locator(map_: Map) -> Callable[[Frame], SE3 | None]:
    engine = AnchorEngine(map_, AnchorConfig())

    def locate(frame: Frame) -> SE3 | None:
        found = engine.localize(frame)
        return found.map_from_camera if isinstance(found, AnchorPose) else None

    return locate
