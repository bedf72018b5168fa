"""``visloc localize``: every frame by itself in a map, or in one of several, one line a frame."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from visloc_ros.apps.console import console, print_camera
from visloc_ros.apps.flags import find_map, needed, takes_flags
from visloc_ros.apps.json_output import AsJson, print_json
from visloc_ros.apps.map_reports import MapReports
from visloc_ros.apps.node_options import Search, searched_by
from visloc_ros.apps.options import (
    ConfigFile,
    GroundTruth,
    MapOrFlag,
    SourceOrFlag,
    read_truth,
    takes_source_config,
)
from visloc_ros.apps.outputs import check_outputs
from visloc_ros.apps.timings import Timings, print_spreads
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.types import Anchor, AnchorPose, Frame, Rejection
from visloc_ros.evaluation.decoding import decode
from visloc_ros.localization import AnchorConfig, AnchorEngine, MultiMapEngine, find_camera
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.sources import SourceConfig, open_source

TRUTH_TOLERANCE_NS = 5_000_000


@takes_flags
@takes_source_config
def localize(
    source_config: SourceConfig,
    map_path: MapOrFlag = None,
    source: SourceOrFlag = None,
    also: Annotated[
        list[Path] | None, typer.Option(help="Another map that frames may show; repeatable. Each pose names its map.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Folder for poses.tum, poses.jsonl, summary.json and poses.png."),
    ] = None,
    ground_truth: GroundTruth = None,
    search: Search = "",
    config: ConfigFile = None,
    timings: Timings = False,
    as_json: AsJson = False,
) -> None:
    """Localize frames one by one: a line each, failures too.

    Example: visloc localize maps/office query.mp4 --every 15 --output out/office
    """
    map_path, source = needed("a map", map_path), needed("a source", source)
    if also and ground_truth is not None:
        raise ConfigError("true poses are in the frame of one map: leave out --ground-truth, or --also")
    check_outputs(folder=output)
    frames = open_source(source, source_config)
    places = [open_searchable_map(path) for path in (map_path, *filter(None, map(find_map, also or ())))]
    options = searched_by(search, read_config(AnchorConfig, config))
    engine = MultiMapEngine(places, options) if also else AnchorEngine(places[0], options)
    calibration = find_camera(engine, frames)
    print_camera(calibration)
    truth = None if also else read_truth(ground_truth, frames)
    report = MapReports(places, frames.name, truth, calibration, output)
    try:
        with report:
            for decoded in decode(frames):
                frame = decoded.frame
                anchor = find(engine, frame)
                report.add(frame.name or str(frame.stamp_ns), anchor, decoded.decode_ms)
                line = describe(frame.name, anchor.result, truth)
                console.print(f"{line}  {anchor.map.name}" if also else line, highlight=False, soft_wrap=True)
    finally:  # a bad image, or Ctrl-C, does not cost what was found before it
        if timings:
            print_spreads(report.stage_spreads())
        if as_json:
            print_json(report.figures())


def find(engine: AnchorEngine | MultiMapEngine, frame: Frame) -> Anchor:
    """What was found of a frame, and in which map."""
    if isinstance(engine, MultiMapEngine):
        return engine.localize(frame)
    return Anchor(engine.localize(frame), engine.map_identity)


def describe(name: str, result: AnchorPose | Rejection, truth: Trajectory | None) -> str:
    """One line about a frame: where it is and what that rests on, or why there is no pose."""
    stamp = f"{result.stamp_ns / NANOSECONDS:.3f} {name}"
    milliseconds = f"{sum(result.stage_ms.values()):.0f} ms"
    if isinstance(result, Rejection):
        return f"{stamp}  {result}  {milliseconds}"
    x, y, z = result.map_from_camera.translation
    line = (
        f"{stamp}  x {x:.3f} y {y:.3f} z {z:.3f}  {result.num_inliers} inliers  {result.reprojection_error_px:.2f} px"
    )
    if result.calibration is not None and result.calibration.focal_sigma:
        line += f"  f {result.calibration.camera.mean_focal_length():.0f} px ({result.calibration.source.value})"
    true_pose = truth.nearest(result.stamp_ns, TRUTH_TOLERANCE_NS) if truth else None
    if true_pose is not None:
        error_cm = 100 * float(sum((result.map_from_camera.translation - true_pose.translation) ** 2)) ** 0.5
        angle = rotation_angle_deg(result.map_from_camera.rotation, true_pose.rotation)
        line += f"  error {error_cm:.1f} cm {angle:.2f} deg"
    return f"{line}  {milliseconds}"
