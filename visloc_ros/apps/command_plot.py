"""``visloc plot``: a picture of trajectories that were computed before."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import console
from visloc_ros.apps.flags import find_map
from visloc_ros.apps.json_output import AsJson, print_json
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.apps.pose_files import read_poses
from visloc_ros.localization.searchable_map import open_searchable_map


def plot(
    files: Annotated[
        list[Path],
        typer.Argument(help="Poses map_from_camera: TUM files, or poses.jsonl of localize.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write: .png, .svg or .html.")],
    map_path: Annotated[
        Path | None, typer.Option("--map", callback=find_map, help="Map whose points are drawn below.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Draw trajectories beside each other: from above with where the camera looks, and over time.

    Example: visloc plot out/office/trajectory.tum truth.tum --map maps/office --output out/office.png
    """
    check_outputs(output)
    names = [path.name for path in files]  # in the picture; where they are not enough, whole paths
    trajectories = {
        name if names.count(name) == 1 else str(path): read_poses(path) for name, path in zip(names, files, strict=True)
    }
    place = None if map_path is None else open_searchable_map(map_path)
    from visloc_ros.evaluation.trajectory_plot import write_trajectory_plot  # drawing takes a second to import

    unit = "map units" if place is not None and not place.manifest.metric else "m"
    write_trajectory_plot(output, trajectories, None if place is None else place.points, unit)
    counts = {name: len(trajectory) for name, trajectory in trajectories.items()}
    if as_json:
        print_json({"picture": output, "poses": counts})
    else:
        console.print(f"{sum(counts.values())} poses in {output}", highlight=False)
