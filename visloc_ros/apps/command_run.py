"""``visloc run``: the whole pipeline over a source, every frame, deterministic, without ROS."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from visloc_ros.apps.command_replay import finish
from visloc_ros.apps.console import AsJson, StageBars, console, print_camera, print_json, print_table
from visloc_ros.apps.flags import takes_flags
from visloc_ros.apps.offline_run import RunConfig, run_offline
from visloc_ros.apps.options import (
    Backend,
    CameraFromImu,
    ConfigFile,
    GroundTruth,
    ImuTopic,
    MapOrFlag,
    OdometryTopic,
    Search,
    Sensors,
    SourceOrFlag,
    read_truth,
    searched_by,
    takes_source_config,
    with_backend,
)
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.apps.recomputation import recompute
from visloc_ros.apps.rig_report import report_rig
from visloc_ros.apps.rig_run import run_rig
from visloc_ros.apps.timings import print_processor_time
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError, SetupError
from visloc_ros.core.trajectory_files import read_tum
from visloc_ros.evaluation import Row, RunRecord, summarize
from visloc_ros.evaluation.regression import compare_with_baseline, read_baseline
from visloc_ros.localization import AnchorEngine, find_camera
from visloc_ros.localization.rig import RigEngine
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.sources import FrameSource, RecalibratedSource, SourceConfig, open_source
from visloc_ros.sources.measurements import measurements_of
from visloc_ros.sources.rig_recording import open_rig_recording

WORSE = 3  # exit code; 1 is an error, 2 a wrong command line
EXACT = 1e-9  # metres, and elements of rotation matrices and covariances: by the order of sums


@takes_flags
@takes_source_config
def run(
    source_config: SourceConfig,
    map_path: MapOrFlag = None,
    source: SourceOrFlag = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder for trajectory, summary and report.")
    ] = None,
    ground_truth: GroundTruth = None,
    search: Search = "",
    backend: Backend = None,
    config: ConfigFile = None,
    causal: Annotated[
        bool, typer.Option("--causal", help="Give each frame only what a live system would know.")
    ] = False,
    sensors: Sensors = False,
    imu_topic: ImuTopic = "",
    odometry_topic: OdometryTopic = "",
    camera_from_imu: CameraFromImu = "",
    regress: Annotated[
        Path | None,
        typer.Option(help="summary.json of an earlier run of the same recording: exit code 3 if this one is worse."),
    ] = None,
    from_recording: Annotated[
        Path | None,
        typer.Option(help="Instead of a source: the recording of a replay, whose published poses are recomputed."),
    ] = None,
    rig: Annotated[
        Path | None,
        typer.Option(
            help="File of a rig (rig.yaml, Kalibr's camchain.yaml, COLMAP's rig_config.json): SOURCE is then a bag or "
            "a folder that holds a folder or video for each camera, by its name; poses are those of the rig."
        ),
    ] = None,
    timings: Annotated[
        bool, typer.Option("--timings", help="Also print what each stage takes of a processor, for a frame.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Give every frame of a video, folder or bag its best pose in the map, without ROS; the same result twice.

    Example: visloc run maps/office query.mp4 --output out/office
    """
    if from_recording is not None:
        compare_with(from_recording, as_json)
        return
    if map_path is None or source is None or output is None:
        raise ConfigError("give a map, a source and --output FOLDER, or --from-recording BAG alone")
    check_outputs(folder=output)
    baseline = None if regress is None else read_baseline(regress)
    options, has_sensors = run_options(config, causal, search, backend), bool(sensors or imu_topic or odometry_topic)
    if rig is not None:
        if has_sensors or source_config.camera:
            raise ConfigError("a rig has its intrinsics in its file, and takes no --camera, --sensors or topics")
        record = localize_rig(rig, map_path, source, source_config, ground_truth, options, output, as_json)
    else:
        topics = replace(
            source_config, imu_topic=imu_topic, odometry_topic=odometry_topic, camera_from_imu=camera_from_imu
        )
        record = localize_camera(map_path, open_source(source, topics), ground_truth, options, has_sensors)
        finish(record, output, as_json)
    conclude(record, baseline, timings)


def localize_camera(
    map_path: Path, frames: FrameSource, ground_truth: Path | None, options: RunConfig, has_sensors: bool
) -> RunRecord:
    """The poses of one camera's frames in a map, with the measurements of other sensors if these are asked for."""
    measurements = measurements_of(frames) if has_sensors else None
    place, truth = open_searchable_map(map_path), read_truth(ground_truth, frames)
    engine = AnchorEngine(place, options.anchor, most_turns=1)
    calibration = find_camera(engine, frames)
    print_camera(calibration)
    frames = RecalibratedSource(frames, calibration)
    with StageBars() as bars:
        record = run_offline(place, frames, truth, options, bars, measurements=measurements, engine=engine)
    return replace(record, calibration=calibration)


def run_options(config: Path | None, causal: bool, search: str, backend: str | None) -> RunConfig:
    """Options of a file, with what the command line says otherwise. Raises ConfigError."""
    options = read_config(RunConfig, config)
    return replace(
        options,
        causal=causal or options.causal,
        anchor=searched_by(search, options.anchor),
        odometry=with_backend(backend, options.odometry),
    )


def localize_rig(
    rig_file: Path,
    map_path: Path,
    folder: Path,
    source_config: SourceConfig,
    ground_truth: Path | None,
    options: RunConfig,
    output: Path,
    as_json: bool,
) -> RunRecord:
    """Give a rig its poses, write them, and report cameras that are not as given."""
    recording = open_rig_recording(folder, rig_file, source_config)
    place = open_searchable_map(map_path)
    engine = RigEngine(AnchorEngine(place, options.anchor, most_turns=1), recording.rig)
    truth = recording.ground_truth if ground_truth is None else read_tum(ground_truth)
    with StageBars() as bars:
        record = run_rig(place, recording, truth, options, bars, engine)
    try:
        finish(record, output, as_json)
    finally:  # where no frame was localized, too
        report_rig(engine, output)
    return record


def conclude(record: RunRecord, baseline: Mapping[str, Any] | None, timings: bool) -> None:
    """Print times, and raise what ended the run, or end it where it is worse than an earlier one."""
    if timings:
        print_processor_time(record)
    if record.ended_by is not None:
        raise record.ended_by
    if baseline is not None:
        check_regression(baseline, summarize(record))


def check_regression(baseline: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
    """Print each figure before and now, and end with exit code ``WORSE`` where one is worse than allowed."""
    comparisons = compare_with_baseline(summary, baseline)
    rows = []
    for one in comparisons:
        now = "none" if one.now is None else f"{one.now:.4g}"
        bound = "at least" if one.figure.higher_is_better else "at most"
        limit = f"{bound} {one.figure.limit(one.before):.4g}"
        rows.append(Row(one.figure.label, f"{one.before:.4g} -> {now}", limit, not one.is_worse))
    print_table("against the earlier run", rows)
    if any(one.is_worse for one in comparisons):
        raise typer.Exit(WORSE)


def compare_with(bag: Path, as_json: bool = False) -> None:
    """Recompute a recording's published poses. Raises SetupError where one of them differs."""
    comparison = recompute(bag)
    if as_json:
        print_json(asdict(comparison))
    console.print(
        f"{comparison.recorded} transforms and poses recorded, {comparison.recomputed} recomputed, "
        f"{comparison.common} at the same stamps; largest difference {comparison.largest_difference:.1e}",
        highlight=False,
    )
    if not (comparison.is_complete and comparison.largest_difference <= EXACT):
        raise SetupError("the recorded inputs do not give what was published: is this the version that recorded them?")
