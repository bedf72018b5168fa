"""``visloc track``: odometry alone, without a map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from visloc_ros.apps.console import AsJson, console, print_camera, print_json, print_table
from visloc_ros.apps.flags import needed, takes_flags
from visloc_ros.apps.options import (
    Backend,
    CameraFromImu,
    ConfigFile,
    GroundTruth,
    ImuTopic,
    OdometryTopic,
    PlotFile,
    Sensors,
    SourceOrFlag,
    read_odometry_config,
    read_truth,
    takes_source_config,
)
from visloc_ros.apps.outputs import check_outputs, writing
from visloc_ros.apps.timings import Timings, odometry_spreads, print_spreads
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.trajectory import Trajectory, write_tum
from visloc_ros.core.types import OdometryPose
from visloc_ros.evaluation import Row, evaluate_odometry, odometry_rows
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.machine import provenance
from visloc_ros.evaluation.odometry_errors import measure_coverage
from visloc_ros.evaluation.odometry_run import AtStamps, OdometryRecorder, OdometryRun, with_earlier_poses
from visloc_ros.evaluation.odometry_summary import lifecycle, summarize_odometry
from visloc_ros.evaluation.summary import percentiles
from visloc_ros.evaluation.table import UNKNOWN, format_number
from visloc_ros.odometry import SensorPlayback, make_odometry
from visloc_ros.sources import SourceConfig, open_source
from visloc_ros.sources.measurements import Measurements, measurements_of


@takes_flags
@takes_source_config
def track(
    source_config: SourceConfig,
    source: SourceOrFlag = None,
    backend: Backend = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="TUM file for odom_from_camera (unscaled), of the longest segment."),
    ] = None,
    ground_truth: GroundTruth = None,
    plot: PlotFile = None,
    timings: Timings = False,
    live: Annotated[
        bool,
        typer.Option(
            "--live",
            help="As the node does: frames at the speed of their stamps, dropped where two newer ones wait, slow work "
            "beside them; otherwise runs are repeatable.",
        ),
    ] = False,
    sensors: Sensors = False,
    imu_topic: ImuTopic = "",
    odometry_topic: OdometryTopic = "",
    camera_from_imu: CameraFromImu = "",
    config: ConfigFile = None,
    as_json: AsJson = False,
) -> None:
    """Track a camera by visual odometry alone: every frame, unscaled.

    After a loss the odometry begins a new segment, whose poses share neither origin nor scale with those before: each
    is aligned with the truth by itself, the largest ATE is reported, and --output writes a file for each. Frames before
    a segment's start get their poses once the start is known. An odometry that refines its last segment in the end adds
    a file _refined. When tracking is stopped early, the poses so far are written nevertheless.

    Example: visloc track flight.mcap --output out/flight.tum --plot out/flight.png
    """
    source = needed("a source", source)
    check_outputs(output, plot)
    topics = replace(source_config, imu_topic=imu_topic, odometry_topic=odometry_topic, camera_from_imu=camera_from_imu)
    frames = open_source(source, topics)
    options = read_odometry_config(config, backend)
    how = {"source": frames.name, "backend": options.backend, "live": live}
    truth = read_truth(ground_truth, frames)
    report = TrackReport(how, frames.calibration, truth, output, plot, timings, as_json)
    measurements = measurements_of(frames) if sensors or imu_topic or odometry_topic else Measurements()
    feed = AtStamps(decode(frames)) if live else decode(frames)
    recorder = OdometryRecorder(lambda: SensorPlayback(make_odometry(options, live=live), measurements))
    try:
        recorder.follow(feed)
    finally:  # a bad image, or Ctrl-C, does not lose earlier poses
        report.write(recorder.run, feed.dropped if isinstance(feed, AtStamps) else 0)


@dataclass(frozen=True)
class TrackReport:
    """The report of a run: a table, and the requested files. ``how`` describes the run."""

    how: Mapping[str, Any]
    calibration: CameraCalibration
    truth: Trajectory | None
    path_file: Path | None
    plot_file: Path | None
    timings: bool
    as_json: bool

    def write(self, run: OdometryRun, dropped: int) -> None:
        """Report a run and its number of late frames; nothing where it failed at once. Raises OutputError."""
        if not (run.frames or run.is_complete):
            return
        title = f"{self.how['backend']} on {self.how['source']}" + ("" if run.is_complete else ", not to its end")
        times = lifecycle(run)
        in_time, run = measure_coverage(run.results, self.truth), with_earlier_poses(run)
        errors = evaluate_odometry(run.results, self.truth, refined=run.refined)
        located_afterwards = errors.coverage.num_tracked - in_time.num_tracked
        start_s, after_motion_s = in_time.start_s, in_time.start_after_motion_s  # how long the odometry took to begin
        coverage = replace(errors.coverage, start_s=start_s, start_after_motion_s=after_motion_s)
        errors = replace(errors, coverage=coverage)
        print_camera(self.calibration)
        if self.as_json:
            how = {**self.how, "camera": self.calibration.to_mapping(), "frames_dropped": dropped}
            how["frames_located_afterwards"] = located_afterwards
            print_json({**how, **summarize_odometry(run, errors), "timings": times, **provenance()})
        else:
            rows = [*odometry_rows(errors), *_later_rows(located_afterwards), *_scale_rows(run)]
            print_table(title, [*rows, *_cost_rows(run, dropped)])
        if self.timings:
            print_spreads(odometry_spreads(times))
        if self.path_file is not None:
            self._write_paths(self.path_file, run)
        if self.plot_file is not None:
            from visloc_ros.evaluation.odometry_plots import write_odometry_plot  # with matplotlib

            write_odometry_plot(self.plot_file, title, run, errors, self.truth)

    def _write_paths(self, file: Path, run: OdometryRun) -> None:
        written = list(write_segments(file, run.poses))
        if run.refined is not None:
            written.append(write_path(file.with_stem(f"{file.stem}_refined"), run.refined))
        for path in written:
            console.print(f"wrote {path}", highlight=False, soft_wrap=True)


def write_segments(path: Path, poses: list[OdometryPose]) -> Iterator[Path]:
    """Write a TUM file of the longest segment, and one named after its number for each other. Raises OutputError."""
    segments = {number: list(own) for number, own in groupby(poses, key=lambda pose: pose.segment)}
    longest = max(segments, key=lambda number: len(segments[number]), default=None)
    for number, own in segments.items():
        file = path if number == longest else path.with_stem(f"{path.stem}_segment{number}")
        stamps_ns = np.array([pose.stamp_ns for pose in own])
        yield write_path(file, Trajectory(stamps_ns, tuple(pose.odom_from_camera for pose in own)))


def write_path(file: Path, path: Trajectory) -> Path:
    """Write a TUM file, and give its name. Raises OutputError."""
    with writing(file):
        write_tum(file, path.stamps_ns, path.poses)
    return file


def _later_rows(located_afterwards: int) -> list[Row]:
    return [Row("located afterwards", f"{located_afterwards} of them")] if located_afterwards else []


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
