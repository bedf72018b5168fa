"""Command-line options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.flags import find_map, with_parameters
from visloc_ros.core.config import read_config
from visloc_ros.core.files import is_folder
from visloc_ros.core.trajectory import Trajectory
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.localization.config import RETRIEVAL, AnchorConfig, check_search, search_names
from visloc_ros.odometry import OdometryConfig
from visloc_ros.odometry.base import backend_names
from visloc_ros.sources import FrameSource, SourceConfig, SourceOfTopics
from visloc_ros.sources.base import bag_stem

_MAP_HELP = "Map: its folder, its reference.tar.gz, or its name in maps/."
MapArgument = Annotated[Path, typer.Argument(callback=find_map, help=_MAP_HELP, show_default=False)]
MapOption = Annotated[Path | None, typer.Option("--map", callback=find_map, help=_MAP_HELP)]
# These may be left out where an option gives the same: ``flags.takes_flags``.
MapOrFlag = Annotated[Path | None, typer.Argument(metavar="MAP_PATH", help=_MAP_HELP)]
SourceOrFlag = Annotated[
    Path | None, typer.Argument(metavar="SOURCE", help="Video file, image folder, or ROS 2 bag (mcap or sqlite3).")
]
SourcesOrFlags = Annotated[
    list[Path] | None,
    typer.Argument(metavar="SOURCES...", help="Video files, image folders, or ROS 2 bags (mcap or sqlite3)."),
]
GroundTruth = Annotated[
    Path | None,
    typer.Option(
        help="TUM file with the true map_from_camera poses, or a topic of the bag with poses or transforms; otherwise "
        "the source's own, if it has any."
    ),
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="YAML file with options that differ from the defaults.")
]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what is already there, once the new one is whole.")
]
First = Annotated[int, typer.Option(min=0, help="Index of the first image to read.")]
Last = Annotated[int, typer.Option(min=-1, help="Index of the last image to read; -1 reads to the end.")]
Every = Annotated[int, typer.Option(min=1, help="Read every n-th image.")]
Fps = Annotated[float, typer.Option(min=0.0, help="Images to read per second of the recording; 0 reads all.")]
MaxFrames = Annotated[int, typer.Option(min=0, help="Largest number of these images to read; 0 reads all.")]
ImageRate = Annotated[float, typer.Option(min=0.0, help="Image rate where the source has no stamps.")]
ImageTopic = Annotated[str, typer.Option(help="Image topic of the bag, where it has several.")]
Backend = Annotated[
    str | None,
    typer.Option(help=f"Which odometry: {', '.join(backend_names())}; otherwise that of the configuration."),
]
Sensors = Annotated[
    bool, typer.Option("--sensors", help="Use an IMU and wheels, too: a EuRoC folder's IMU, or the topics named.")
]
ImuTopic = Annotated[str, typer.Option(help="IMU topic of the bag; predicts turns and gives the direction of up.")]
OdometryTopic = Annotated[str, typer.Option(help="Wheel odometry topic of the bag; gives the scale.")]
CameraFromImu = Annotated[
    str, typer.Option(help="Rotation from IMU to camera axes, 'w x y z'; otherwise from the bag's /tf_static.")
]
PlotFile = Annotated[Path | None, typer.Option("--plot", help="PNG with path, errors, latencies and stages.")]
MapTracking = Annotated[
    bool, typer.Option(help="Follow the map's points in every frame between anchors; odometry alone takes less time.")
]
Domain = Annotated[int, typer.Option("--domain-id", min=0, max=232, help="ROS domain that the nodes talk in.")]
CameraFile = Annotated[str, typer.Option("--camera", help="Calibration file (COLMAP, ROS, Kalibr and more).")]

Rectified = Annotated[
    bool, typer.Option("--rectified", help="The bag's images are rectified: P of CameraInfo counts, not K and D.")
]


def _known_search(name: str) -> str:
    if name:
        check_search(name)
    return name


Search = Annotated[
    str,
    typer.Option(
        callback=_known_search,
        help=f"How images are searched: {', '.join(search_names())}; others than {RETRIEVAL} need a prepared map.",
        show_default=False,
    ),
]


def make_source_config(
    image_topic: ImageTopic = "",
    camera: CameraFile = "",
    rectified: Rectified = False,
    first: First = 0,
    last: Last = -1,
    every: Every = 1,
    fps: Fps = 0.0,
    max_frames: MaxFrames = 0,
    image_rate: ImageRate = 0.0,
) -> SourceConfig:
    """The frames of a source to read, by the options on the command line."""
    return SourceConfig(
        image_topic=image_topic,
        camera=camera,
        rectified=rectified,
        first=first,
        last=last,
        every=every,
        fps=fps,
        max_frames=max_frames,
        rate_hz=image_rate,
    )


def takes_outcome(receiver: str, make: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A decorator that gives a command the options of ``make``; it receives their outcome as this parameter."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own, shared = signature(command, eval_str=True), signature(make, eval_str=True)

        @wraps(command)
        def call(**given: Any) -> None:
            chosen = {name: given.pop(name) for name in shared.parameters}
            command(**given, **{receiver: make(**chosen)})

        kept = [parameter for name, parameter in own.parameters.items() if name != receiver]
        return with_parameters(call, own, [*kept, *shared.parameters.values()])

    return decorate


takes_source_config = takes_outcome("source_config", make_source_config)
"""Gives a command the options of ``make_source_config``; it receives their outcome as ``source_config``."""


def name_of(source: Path) -> str:
    """Name of the map of a recording."""
    path = Path(os.path.abspath(source))  # one that is called '..' has a name, too
    return path.name if is_folder(path) else bag_stem(path) or path.stem


def read_truth(given: Path | None, source: FrameSource) -> Trajectory | None:
    """True poses from a TUM file or a topic of the source, or else the source's own. Raises SourceError."""
    if given is None:
        return source.ground_truth
    if not given.exists() and isinstance(source, SourceOfTopics):
        return source.read_ground_truth(str(given))
    return read_tum(given)


def read_odometry_config(path: Path | None, backend: str | None) -> OdometryConfig:
    """Options from a YAML file or the defaults, with another backend if one is named. Raises ConfigError."""
    return with_backend(backend, read_config(OdometryConfig, path))


def with_backend(backend: str | None, config: OdometryConfig) -> OdometryConfig:
    """A configuration with the backend that was given, if any. Raises ConfigError."""
    return config if backend is None else replace(config, backend=backend)


def searched_by(search: str, config: AnchorConfig) -> AnchorConfig:
    """A configuration with the way of searching that was given, if any."""
    return replace(config, search=search) if search else config
