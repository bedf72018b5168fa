"""``visloc demo``: the main job from beginning to end, on a simulated room or on real frames."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.command_replay import finish
from visloc_ros.apps.console import StageBars, console
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.apps.replay import ReplayPlan, replay
from visloc_ros.core.errors import SourceError
from visloc_ros.core.progress import track
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.types import Frame
from visloc_ros.mapping import MappingConfig, build_map
from visloc_ros.mapping.config import FrameConfig, SelectionConfig
from visloc_ros.simulation import SimulationConfig, simulate, write_folder
from visloc_ros.sources import EncodedFrame, EncodedSource, FrameSource, SourceConfig, open_source
from visloc_ros.sources.bag import BagSource
from visloc_ros.sources.bag_writer import write_bag

# The frames to map are chosen here already.
MAP_ALL = MappingConfig(selection=SelectionConfig(rate_hz=0.0, min_motion=0.0))
MAP_SIMULATED = replace(MAP_ALL, frame=FrameConfig(gravity="reference"))
MAP_EVERY = 10
MAP_PASS_RATE_HZ = 2.0
SEVEN_SCENES_IMAGES = "rgb/frame-*.color.*"


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
        check_outputs(folder=folder / "report")
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


@dataclass(frozen=True, eq=False)
class DemoPlace:
    """A place to map and a second look at it; ``truth`` holds ``map_from_camera`` of both."""

    name: str
    map_source: FrameSource
    map_poses: Trajectory
    query: Iterable[Frame | EncodedFrame]
    num_query_frames: int
    truth: Trajectory


def simulated_place(folder: Path, on_frame: Callable[[int], None]) -> DemoPlace:
    """The simulated room: mapped by day, localized in the evening on another path."""
    config = SimulationConfig()
    write_folder(simulate(replace(config, rate_hz=MAP_PASS_RATE_HZ), "map"), folder, overwrite=True, on_frame=on_frame)
    map_source = open_source(folder)
    query = simulate(config, "localize")
    if map_source.ground_truth is None:
        raise SourceError(f"{folder} holds no true poses")
    return DemoPlace("simulated_room", map_source, map_source.ground_truth, query, len(query), query.ground_truth)


def real_place(folder: Path) -> DemoPlace:
    """Real frames with truth.

    A room seen twice (7-Scenes) is mapped from the first two thirds and localized in the last; of a path that does
    not come back (EuRoC, KITTI) every tenth frame is mapped and the others are localized.
    """
    whole = open_source(folder)
    if whole.ground_truth is None:
        raise SourceError(f"{folder} holds no true poses: the demo needs groundtruth_tum.txt or the dataset's own")
    if not isinstance(whole, EncodedSource):
        raise SourceError(f"{folder} is no image folder: the demo reads 7-Scenes and EuRoC layouts")
    sees_twice = any(folder.glob(SEVEN_SCENES_IMAGES))
    split = len(whole) * 2 // 3
    last_mapped = split - 1 if sees_twice else -1
    map_source = open_source(folder, SourceConfig(last=last_mapped, every=MAP_EVERY))
    indices = range(split, len(whole)) if sees_twice else [i for i in range(len(whole)) if i % MAP_EVERY]
    return DemoPlace(
        folder.resolve().name,
        map_source,
        whole.ground_truth,
        _pick(whole, set(indices)),
        len(indices),
        whole.ground_truth,
    )


def _pick(source: EncodedSource, indices: set[int]) -> Iterator[EncodedFrame]:
    return (frame for index, frame in enumerate(source.iter_encoded()) if index in indices)
