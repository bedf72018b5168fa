"""``visloc track``: odometry alone, without a map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import console, print_table
from visloc_ros.apps.odometry_options import (
    Backend,
    JsonFile,
    Live,
    PlotFile,
    provenance,
    read_odometry_config,
    read_truth,
    write_json,
)
from visloc_ros.apps.options import ConfigFile, GroundTruth, SourceArgument, takes_source_config
from visloc_ros.core.errors import OutputError
from visloc_ros.core.trajectory import write_tum
from visloc_ros.core.types import OdometryPose
from visloc_ros.evaluation import Row, evaluate_odometry, odometry_rows
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.odometry_plots import write_odometry_plot
from visloc_ros.evaluation.odometry_run import AtStamps, OdometryRun, run_odometry
from visloc_ros.evaluation.odometry_summary import summarize_odometry
from visloc_ros.evaluation.summary import percentiles
from visloc_ros.evaluation.table import UNKNOWN, format_number
from visloc_ros.odometry import OdometryConfig, SensorPlayback, make_odometry
from visloc_ros.sources import FrameSource, SourceConfig, open_source
from visloc_ros.sources.measurements import Measurements, measurements_of


@takes_source_config
def track(
    source: SourceArgument,
    source_config: SourceConfig,
    backend: Backend = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="TUM file for odom_from_camera (unscaled), of the longest segment."),
    ] = None,
    ground_truth: GroundTruth = None,
    json_file: JsonFile = None,
    plot: PlotFile = None,
    live: Live = False,
    realtime: Annotated[
        bool,
        typer.Option("--realtime", help="Feed frames at the speed of their stamps and drop late ones; --live, too."),
    ] = False,
    sensors: Annotated[
        bool, typer.Option("--sensors", help="Use an IMU and wheels, too: a EuRoC folder's IMU, or the topics named.")
    ] = False,
    imu_topic: Annotated[str, typer.Option(help="IMU topic of the bag; predicts turns and tells what is up.")] = "",
    odometry_topic: Annotated[str, typer.Option(help="Wheel odometry topic of the bag; tells the scale.")] = "",
    camera_from_imu: Annotated[
        str, typer.Option(help="Rotation from IMU to camera axes, 'w x y z'; otherwise from the bag's /tf_static.")
    ] = "",
    config: ConfigFile = None,
) -> None:
    """Track a camera by visual odometry alone: every frame, unscaled.

    Where the odometry lost itself it begins a new segment, whose poses share neither origin nor scale with those
    before: each is aligned with the truth by itself, the largest ATE is told, and --output writes a file for each.

    Example: visloc track flight.mcap --output out/flight.tum --plot out/flight.png
    """
    topics = replace(source_config, imu_topic=imu_topic, odometry_topic=odometry_topic, camera_from_imu=camera_from_imu)
    frames = open_source(source, topics)
    options = read_odometry_config(config, backend)
    truth = read_truth(ground_truth, frames)
    measurements = measurements_of(frames) if sensors or imu_topic or odometry_topic else Measurements()
    run, dropped = run_over(frames, options, live, realtime, measurements)
    errors = evaluate_odometry(run.results, truth)
    rows = [*odometry_rows(errors), *_scale_rows(run), *_cost_rows(run, dropped)]
    print_table(f"{options.backend} on {source}", rows)
    if output is not None:
        for path in write_segments(output, run.poses):
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    if json_file is not None:
        how = {"source": frames.name, "backend": options.backend, "live": live or realtime, "frames_dropped": dropped}
        write_json(json_file, how | summarize_odometry(run, errors) | provenance())
    if plot is not None:
        write_odometry_plot(plot, f"{options.backend} on {frames.name}", run, errors, truth)


def run_over(
    source: FrameSource, config: OdometryConfig, live: bool, realtime: bool, measurements: Measurements
) -> tuple[OdometryRun, int]:
    """Track every frame of a source, and count those that came too late for ``realtime``."""

    def make() -> SensorPlayback:
        return SensorPlayback(make_odometry(config, live=live or realtime), measurements)

    if not realtime:
        return run_odometry(make, decode(source)), 0
    paced = AtStamps(decode(source))
    return run_odometry(make, paced), paced.dropped


def write_segments(path: Path, poses: list[OdometryPose]) -> Iterator[Path]:
    """Write a TUM file of the longest segment, and one named after its number for each other. Raises OutputError."""
    segments = {number: list(own) for number, own in groupby(poses, key=lambda pose: pose.segment)}
    longest = max(segments, key=lambda number: len(segments[number]), default=None)
    for number, own in segments.items():
        file = path if number == longest else path.with_stem(f"{path.stem}_segment{number}")
        try:
            write_tum(file, [pose.stamp_ns for pose in own], [pose.odom_from_camera for pose in own])
        except OSError as error:
            raise OutputError(f"cannot write {file}: {error.strerror}") from error
        yield file


def _scale_rows(run: OdometryRun) -> list[Row]:
    scale = run.poses[-1].scale if run.poses else None
    if scale is None:
        return []
    return [Row("scale at the end", f"{scale.metres_per_unit:.4g} m a unit, known to {100 * scale.log_sigma:.1f} %")]


def _cost_rows(run: OdometryRun, dropped: int) -> list[Row]:
    latency = percentiles(frame.track_ms for frame in run.frames)
    words = f"p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms" if latency else UNKNOWN
    rows = [Row("time a frame", words), Row("peak memory", format_number(run.peak_rss_mb, "MB"))]
    return [*rows, Row("frames dropped", str(dropped))] if dropped else rows
