"""``visloc run``: the whole pipeline over a source, every frame, deterministic, without ROS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.command_replay import finish
from visloc_ros.apps.console import StageBars, print_camera
from visloc_ros.apps.odometry_options import (
    CameraFromImu,
    ImuTopic,
    JsonFile,
    OdometryTopic,
    Sensors,
    provenance,
    read_truth,
    require_folders,
    write_json,
)
from visloc_ros.apps.offline_run import RunConfig, run_offline, search_inline
from visloc_ros.apps.options import (
    ConfigFile,
    GroundTruth,
    MapArgument,
    SourceArgument,
    takes_source_config,
)
from visloc_ros.core.config import read_config
from visloc_ros.core.map import open_map
from visloc_ros.evaluation import summarize
from visloc_ros.localization import AnchorEngine, find_camera
from visloc_ros.sources import RecalibratedSource, SourceConfig, open_source
from visloc_ros.sources.measurements import measurements_of


@takes_source_config
def run(
    map_path: MapArgument,
    source: SourceArgument,
    source_config: SourceConfig,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for trajectory, summary and report.")],
    ground_truth: GroundTruth = None,
    config: ConfigFile = None,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Estimate the best trajectory once more afterwards, from all that came.")
    ] = False,
    json_file: JsonFile = None,
    sensors: Sensors = False,
    imu_topic: ImuTopic = "",
    odometry_topic: OdometryTopic = "",
    camera_from_imu: CameraFromImu = "",
) -> None:
    """Track and localize every frame of a video, folder or bag, without ROS; the same result twice.

    Example: visloc run maps/office query.mp4 --output out/office --smooth
    """
    require_folders(json_file)
    topics = replace(source_config, imu_topic=imu_topic, odometry_topic=odometry_topic, camera_from_imu=camera_from_imu)
    frames = open_source(source, topics)
    measurements = measurements_of(frames) if sensors or imu_topic or odometry_topic else None
    options = read_config(RunConfig, config)
    if smooth:
        options = replace(options, smooth=True)
    place, truth = open_map(map_path), read_truth(ground_truth, frames)
    engine = AnchorEngine(place, options.anchor)
    calibration = find_camera(engine, frames)
    print_camera(calibration)
    frames = RecalibratedSource(frames, calibration)
    with StageBars() as bars:
        record = run_offline(place, frames, truth, options, bars, search_inline(engine, options), measurements)
    record = replace(record, calibration=calibration)
    finish(record, output)
    if json_file is not None:
        write_json(json_file, summarize(record) | provenance())
