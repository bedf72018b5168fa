"""``visloc build-map``: a video, image folder or bag becomes a map."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros import mapping
from visloc_ros.apps.console import AsJson, StageBars, console, print_json
from visloc_ros.apps.engine_options import EngineChoice, takes_engine
from visloc_ros.apps.flags import needed, takes_flags
from visloc_ros.apps.options import ConfigFile, Overwrite, SourcesOrFlags, name_of, takes_source_config
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.map import pack_map
from visloc_ros.execution.opening import PROCESSES
from visloc_ros.mapping.config import FrameConfig
from visloc_ros.mapping.large_maps import find_large_map_build
from visloc_ros.mapping.map_sources import ReferencePoses
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.opening import is_bag
from visloc_ros.sources.phones import phone_advice, phone_of
from visloc_ros.sources.pose_files import read_poses


class Scale(str, Enum):
    """The source of the map's scale."""

    auto = "auto"
    reference = "reference"
    distance = "distance"
    odometry = "odometry"
    gps = "gps"
    none = "none"


class GravityChoice(str, Enum):
    """The source of the map's direction of up."""

    auto = "auto"
    camera = "camera"
    imu = "imu"
    gps = "gps"
    reference = "reference"
    none = "none"


Output = Annotated[
    Path, typer.Option("--output", "-o", help="Map folder to write; {name} is that of the first source.")
]
AddTo = Annotated[
    Path | None,
    typer.Option(help="Map that the images are added to; it stays as it is, unless --output is the same map."),
]
ReferenceFiles = Annotated[
    list[Path] | None,
    typer.Option(
        help="Known map_from_camera poses (TUM file, COLMAP model, kapture data set): triangulate at them; the map is "
        "metric. Once for all sources, or once for each ('none' for one without)."
    ),
]
ScaleDistance = Annotated[
    float, typer.Option(min=0.0, help="Metres between the first and the last registered camera; sets the scale.")
]
OdometryTopic = Annotated[str, typer.Option(help="Wheel odometry topic of the bag; sets the scale.")]
ScaleFrom = Annotated[
    Scale, typer.Option(help="Where metres must come from; auto takes what there is, GPS positions in photos last.")
]
ImuTopic = Annotated[str, typer.Option(help="IMU topic of the bag; gives the direction of up.")]
CameraFromImu = Annotated[
    str, typer.Option(help="Rotation from IMU to camera axes, 'w x y z'; otherwise from the bag's /tf_static.")
]
GravityFrom = Annotated[
    GravityChoice,
    typer.Option(
        help="What gives the direction of up: an IMU, GPS positions, a level camera, or +z of the reference poses."
    ),
]
Work = Annotated[
    str,
    typer.Option(
        help="Folder or s3:// address for the parts of a build by --engine, which all workers reach; it may be deleted "
        "afterwards. Otherwise the output's name with _work.",
        show_default=False,
    ),
]
Archive = Annotated[bool, typer.Option("--archive", help="Also pack the map as <output>/reference.tar.gz.")]


@takes_flags
@takes_source_config
@takes_engine
def build_map(
    source_config: SourceConfig,
    engine: EngineChoice,
    sources: SourcesOrFlags = None,
    output: Output = Path("maps/{name}"),
    add_to: AddTo = None,
    reference_poses: ReferenceFiles = None,
    scale_distance: ScaleDistance = 0.0,
    odometry_topic: OdometryTopic = "",
    scale: ScaleFrom = Scale.auto,
    imu_topic: ImuTopic = "",
    camera_from_imu: CameraFromImu = "",
    gravity: GravityFrom = GravityChoice.auto,
    work: Work = "",
    archive: Archive = False,
    config: ConfigFile = None,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Build one map from videos, image folders and ROS 2 bags, or add their images to a map.

    One video: visloc build-map office.mp4 --output maps/office

    Several into one map: visloc build-map hall.mp4 stairs.mp4 bag/ --output maps/house

    Known poses, one file for each: visloc build-map a/ b/ --reference-poses a.tum --reference-poses b.tum -o maps/ab

    A larger map from a map: visloc build-map corridor.mp4 --add-to maps/office --output maps/floor

    The same in place: visloc build-map corridor.mp4 --add-to maps/office --output maps/office --overwrite

    Thousands of images, on all processors: visloc build-map campus/ --engine processes --output maps/campus
    """
    sources = needed("a source", sources)
    output = Path(str(output).replace("{name}", name_of(sources[0])))
    topics = replace(source_config, odometry_topic=odometry_topic, imu_topic=imu_topic, camera_from_imu=camera_from_imu)
    frames = open_all(sources, source_config, topics)
    _advise_on_phones(frames)
    options = read_config(mapping.MappingConfig, config)
    frame = override_frame(options.frame, scale, scale_distance, gravity)
    poses = _read_references(reference_poses or [])
    _check_parts(engine, add_to, work)
    build: Callable[..., mapping.MapSummary]
    with ExitStack() as opened:
        if add_to is not None:
            _check_nothing_moves(frame != options.frame or poses is not None or bool(odometry_topic or imu_topic))
            build = partial(mapping.extend_map, add_to, frames, output, options if config else None)
        elif engine.is_given:
            runs = opened.enter_context(engine.open())
            recordings = _recordings(sources, source_config, topics, reference_poses or [])
            options = replace(options, frame=frame)
            place = work or f"{output}_work"
            build = partial(find_large_map_build(), recordings, output, options, work=place, engine=runs)
        else:
            options = replace(options, frame=frame)
            build = partial(mapping.build_map, frames, output, options, reference_poses=poses)
        bars = opened.enter_context(StageBars())
        summary = build(overwrite=overwrite, progress=bars)
    packed = pack_map(output, output / "reference.tar.gz", overwrite=overwrite) if archive else None
    _print(summary, output, packed, as_json)


def _advise_on_phones(frames: list[FrameSource]) -> None:
    for phone in sorted({phone_of(source) for source in frames} - {""}):
        console.print(phone_advice(phone), highlight=False, soft_wrap=True)


def _print(summary: mapping.MapSummary, output: Path, packed: Path | None, as_json: bool) -> None:
    if as_json:
        print_json({"map": output, "archive": packed, **asdict(summary), "share_outside": summary.share_outside})
        return
    console.print(str(summary))
    if packed is not None:
        console.print(f"packed as {packed}")


def _read_references(paths: list[Path]) -> list[ReferencePoses | None] | ReferencePoses | None:
    """Reference poses for all sources where one file is given, else for each."""
    poses = [None if str(path) == "none" else read_poses(path) for path in paths]
    if len(poses) < 2:
        return poses[0] if poses else None
    return poses


def _check_parts(engine: EngineChoice, add_to: Path | None, work: str) -> None:
    """Refuse options of a build in parts where none is. Raises ConfigError."""
    if work and not engine.is_given:
        raise ConfigError(f"--work is the place of a build in parts: give --engine {PROCESSES}, too")
    if engine.is_given and add_to is not None:
        raise ConfigError("images are added to a map in one process: leave out --engine, or build a map of them alone")


def _recordings(
    sources: list[Path], config: SourceConfig, with_sensors: SourceConfig, references: list[Path]
) -> list[mapping.Recording]:
    """The sources by their places, each with its file of reference poses, if any. Raises ConfigError."""
    poses = [None if str(path) == "none" else path for path in references]
    each = poses * len(sources) if len(poses) == 1 else poses or [None] * len(sources)
    if len(each) != len(sources):
        raise ConfigError(
            f"{len(each)} files of reference poses for {len(sources)} sources: give one for each, or one for all"
        )
    configs = _configs(sources, config, with_sensors)
    return [mapping.Recording(*one) for one in zip(sources, configs, each, strict=True)]


def _check_nothing_moves(tells_of_frame: bool) -> None:
    """Refuse options about the map's frame where images are added: it stays what it is. Raises ConfigError."""
    if tells_of_frame:
        raise ConfigError(
            "the map that images are added to keeps its poses, scale and axes: leave out --reference-poses, --scale, "
            "--scale-distance, --odometry-topic, --gravity and --imu-topic"
        )


def open_all(sources: list[Path], config: SourceConfig, with_sensors: SourceConfig) -> list[FrameSource]:
    """Open every source; topics of sensors are those of the bags among them, and refused where there is none."""
    return [open_source(*one) for one in zip(sources, _configs(sources, config, with_sensors), strict=True)]


def _configs(sources: list[Path], config: SourceConfig, with_sensors: SourceConfig) -> list[SourceConfig]:
    bags = [source for source in sources if source.exists() and is_bag(source)]
    return [with_sensors if source in bags or not bags else config for source in sources]


def override_frame(config: FrameConfig, scale: Scale, scale_distance: float, gravity: GravityChoice) -> FrameConfig:
    """Options of the frame with those that the command line gives."""
    return replace(
        config,
        scale=scale.value if scale is not Scale.auto else config.scale,
        scale_distance=scale_distance or config.scale_distance,
        gravity=gravity.value if gravity is not GravityChoice.auto else config.gravity,
    )
