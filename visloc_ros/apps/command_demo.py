"""``visloc demo``: the main job from beginning to end, on a simulated room or on real frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.command_replay import finish
from visloc_ros.apps.console import StageBars, console
from visloc_ros.apps.demo_places import DemoPlace, real_place, simulated_place
from visloc_ros.apps.replay import ReplayPlan, replay
from visloc_ros.core.progress import track
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.mapping.config import FrameConfig, SelectionConfig
from visloc_ros.sources import SourceConfig
from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.bag_writer import write_bag

# The frames to map are chosen here already.
MAP_ALL = MappingConfig(selection=SelectionConfig(rate_hz=0.0, min_motion=0.0))
MAP_SIMULATED = replace(MAP_ALL, frame=FrameConfig(gravity="reference"))


def demo(
    data: Annotated[
        Path | None,
        typer.Option(help="Folder of real frames with truth (7-Scenes or EuRoC layout); default: a simulated room."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the map, the bag and the report.")] = Path(
        "out/demo"
    ),
    rate: Annotated[float, typer.Option(min=0.01, max=100.0, help="Speed of the replay.")] = 1.0,
) -> None:
    """Map a place, replay another pass through the ROS 2 nodes, and report how well the camera was found.

    Example: visloc demo --output out/demo
    """
    with StageBars() as bars:
        place = _place(data, output, bars)
        options = MAP_SIMULATED if data is None else MAP_ALL
        folder = output / place.name
        map_folder = folder / "maps" / place.name
        build_map(place.map_source, map_folder, options, reference_poses=place.map_poses, overwrite=True, progress=bars)
        bag = folder / "query"
        frames = track(bars, "write the bag", place.query, place.num_query_frames)
        write_bag(frames, bag, place.truth, overwrite=True)
    console.print("replaying the bag through localization_node (odometry, map tracking, fusion) and anchor_node")
    record = replay(ReplayPlan(map_folder, bag, rate), BagSource(bag, SourceConfig()), place.truth)
    finish(record, folder / "report")


def _place(data: Path | None, output: Path, bars: StageBars) -> DemoPlace:
    if data is not None:
        return real_place(data)
    bars.stage("see the room for the map", 0)
    return simulated_place(output / "simulated_room" / "map_images", lambda _: bars.advance())
