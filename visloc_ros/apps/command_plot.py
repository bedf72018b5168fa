"""``visloc plot``: a picture of trajectories that were computed before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from visloc_ros.apps.console import console
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.core.errors import SourceError
from visloc_ros.core.files import read_text
from visloc_ros.core.map import open_map
from visloc_ros.core.result_mapping import pose_from_mapping
from visloc_ros.core.trajectory import Trajectory, read_tum


def plot(
    files: Annotated[
        list[Path],
        typer.Argument(help="Poses map_from_camera: TUM files, or poses.jsonl of localize.", show_default=False),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Picture to write: .png, .svg or .html.")],
    map_path: Annotated[Path | None, typer.Option("--map", help="Map whose points are drawn below.")] = None,
) -> None:
    """Draw trajectories beside each other: from above with where the camera looks, and over time.

    Example: visloc plot out/office/trajectory.tum truth.tum --map maps/office --output out/office.png
    """
    check_outputs(output)
    names = [path.name for path in files]  # in the picture; where they are not enough, whole paths
    trajectories = {
        name if names.count(name) == 1 else str(path): read_poses(path) for name, path in zip(names, files, strict=True)
    }
    place = None if map_path is None else open_map(map_path)
    from visloc_ros.evaluation.trajectory_plot import write_trajectory_plot  # drawing takes a second to import

    unit = "map units" if place is not None and not place.manifest.metric else "m"
    write_trajectory_plot(output, trajectories, None if place is None else place.points, unit)
    console.print(f"{sum(map(len, trajectories.values()))} poses in {output}", highlight=False)


def read_poses(path: Path) -> Trajectory:
    """Poses of a TUM file, or those of the frames that ``visloc localize`` found. Raises SourceError."""
    if path.suffix != ".jsonl":
        return read_tum(path)
    found = {}
    for number, text in enumerate(read_text(path, SourceError).splitlines(), start=1):
        try:
            line = json.loads(text)
            if line["success"]:
                found[int(line["stamp_ns"])] = pose_from_mapping(line["map_from_camera"])
        except (ValueError, KeyError, TypeError) as error:
            raise SourceError(f"{path}:{number}: no line that visloc localize has written: {error}") from error
    if not found:
        raise SourceError(f"{path} holds no poses")
    return Trajectory(np.array(sorted(found)), tuple(found[stamp_ns] for stamp_ns in sorted(found)))
