"""``visloc localize``: localizes each frame by itself in a map, or in one of several, one line a frame."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import console, print_camera
from visloc_ros.apps.flags import find_map, needed, takes_flags
from visloc_ros.apps.json_output import AsJson, print_json
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
from visloc_ros.apps.query_report import QueryReport
from visloc_ros.apps.timings import Spread, Timings, print_spreads, stage_spreads
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.map import Map
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
    finally:  # a bad image, or Ctrl-C, does not lose earlier results
        if timings:
            print_spreads(report.stage_spreads())
        if as_json:
            print_json(report.figures())


def find(engine: AnchorEngine | MultiMapEngine, frame: Frame) -> Anchor:
    """The result for a frame, and its map."""
    if isinstance(engine, MultiMapEngine):
        return engine.localize(frame)
    return Anchor(engine.localize(frame), engine.map_identity)


def describe(name: str, result: AnchorPose | Rejection, truth: Trajectory | None) -> str:
    """One line about a frame: its pose and the support, or why there is none."""
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


class MapReports:
    """Outcomes of images, by map: of one map in ``folder``, of several in folders with their names below.

    An image that is not found counts for the map that came closest. Raises ConfigError where a name is no folder's.
    """

    def __init__(
        self,
        places: Sequence[Map],
        source: str,
        truth: Trajectory | None,
        calibration: CameraCalibration,
        folder: Path | None,
    ) -> None:
        self._stack = ExitStack()
        if len(places) == 1:
            self._reports = {places[0].name: QueryReport(places[0], source, truth, calibration, folder)}
            return
        self._reports = {
            one.name: QueryReport(one, source, truth, calibration, _below(folder, one.name), f"{one.name}: ")
            for one in places
        }

    def __enter__(self) -> MapReports:
        with ExitStack() as entered:
            for report in self._reports.values():
                entered.enter_context(report)
            self._stack = entered.pop_all()
        return self

    def add(self, name: str, anchor: Anchor, decode_ms: float) -> None:
        """Keep the outcome of an image, and the time to read it. Raises OutputError."""
        self._reports[anchor.map.name].add(name, anchor.result, decode_ms)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def stage_spreads(self) -> dict[str, Spread]:
        """Times of the stages, from the reading of an image to its pose, over all maps."""
        return stage_spreads(chain.from_iterable(report.stages_ms() for report in self._reports.values()))

    def figures(self) -> dict[str, Any]:
        """All images together, and each as in poses.jsonl; of several maps by name."""
        figures = {name: report.figures() for name, report in self._reports.items()}
        return {"maps": figures} if len(figures) > 1 else next(iter(figures.values()))


def _below(folder: Path | None, name: str) -> Path | None:
    if folder is not None and (Path(name).name != name or name == ".."):
        raise ConfigError(f"the map's name '{name}' cannot be that of a folder: leave --output out")
    return None if folder is None else folder / name
