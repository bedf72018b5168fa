"""``visloc localize``: localizes each frame by itself in a map, or in one of several, one line a frame."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import AsJson, console, print_advice, print_camera, print_json
from visloc_ros.apps.flags import find_map, needed, takes_flags
from visloc_ros.apps.hint_options import Hints, takes_hints
from visloc_ros.apps.options import (
    ConfigFile,
    GroundTruth,
    MapOrFlag,
    Search,
    SourceOrFlag,
    read_truth,
    searched_by,
    takes_source_config,
)
from visloc_ros.apps.outputs import check_outputs, write_json, writing
from visloc_ros.apps.timings import Spread, Timings, print_spreads, stage_spreads
from visloc_ros.core.advice import advise, count_reasons
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.config import read_config
from visloc_ros.core.errors import ConfigError
from visloc_ros.core.geo_reference import GeoReference
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.map import Map
from visloc_ros.core.result_mapping import result_to_mapping
from visloc_ros.core.trajectory import NANOSECONDS, TUM_HEADER, Trajectory, tum_line
from visloc_ros.core.types import Anchor, AnchorPose, Frame, Rejection
from visloc_ros.evaluation import AnchorRecord, RunRecord, summarize
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine, MultiMapEngine, SearchHint, find_camera
from visloc_ros.localization.searchable_map import open_searchable_map
from visloc_ros.sources import SourceConfig, open_source

TRUTH_TOLERANCE_NS = 5_000_000


@takes_flags
@takes_source_config
@takes_hints
def localize(
    source_config: SourceConfig,
    hints: Hints,
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
    for place in places if also and output is not None else ():
        check_outputs(folder=_below(output, place.name))
    options = searched_by(search, read_config(AnchorConfig, config))
    engine = MultiMapEngine(places, options) if also else AnchorEngine(places[0], options)
    hints.of("", places[0].identity)  # a wrong one is refused before anything is written
    calibration = find_camera(engine, frames)
    print_camera(calibration)
    truth = None if also else read_truth(ground_truth, frames)
    report = MapReports(places, frames.name, truth, calibration, output)
    try:
        with report:
            for decoded in decode(frames):
                frame = decoded.frame
                anchor = find(engine, frame, hints.of(frame.name, places[0].identity))
                report.add(frame.name or str(frame.stamp_ns), anchor, decoded.decode_ms)
                line = describe(frame.name, anchor.result, truth, anchor.map.on_earth)
                console.print(f"{line}  {anchor.map.name}" if also else line, highlight=False, soft_wrap=True)
    finally:  # a bad image, or Ctrl-C, does not lose earlier results
        if timings:
            print_spreads(report.stage_spreads())
        if as_json:
            print_json(report.figures())


def find(engine: AnchorEngine | MultiMapEngine, frame: Frame, hint: SearchHint | None) -> Anchor:
    """The result for a frame, and its map."""
    if isinstance(engine, MultiMapEngine):
        return engine.localize(frame, hint=hint)
    return Anchor(engine.localize(frame, hint=hint), engine.map_identity)


def describe(
    name: str, result: AnchorPose | Rejection, truth: Trajectory | None, on_earth: GeoReference | None = None
) -> str:
    """One line about a frame: its pose and the support, or why there is none."""
    stamp = f"{result.stamp_ns / NANOSECONDS:.3f} {name}"
    milliseconds = f"{sum(result.stage_ms.values()):.0f} ms"
    if isinstance(result, Rejection):
        return f"{stamp}  {result}  {milliseconds}"
    x, y, z = result.map_from_camera.translation
    line = (
        f"{stamp}  x {x:.3f} y {y:.3f} z {z:.3f}  {result.num_inliers} inliers  {result.reprojection_error_px:.2f} px"
    )
    if on_earth is not None:
        line += f"  {on_earth.geo_pose(result.map_from_camera, result.covariance)}"
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


class QueryReport:
    """Outcomes of images, written as they come, so that they stay however the command ends.

    At the end it prints their number, after ``label``, and writes their summary and their picture.
    """

    def __init__(
        self,
        place: Map,
        source: str,
        truth: Trajectory | None,
        calibration: CameraCalibration,
        folder: Path | None,
        label: str = "",
    ) -> None:
        self._place, self._source, self._truth, self._calibration = place, source, truth, calibration
        self._folder, self._label = folder, label
        self._names: list[str] = []
        self._results: list[AnchorPose | Rejection] = []
        self._decode_ms: list[float] = []

    def __enter__(self) -> QueryReport:
        if self._folder is not None:
            with writing(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)
                self._poses = (self._folder / "poses.tum").open("w", encoding="utf-8")
                self._outcomes = (self._folder / "poses.jsonl").open("w", encoding="utf-8")
                self._poses.write(TUM_HEADER)
        return self

    def add(self, name: str, result: AnchorPose | Rejection, decode_ms: float) -> None:
        """Keep the outcome of an image, and the time to read it. Raises OutputError."""
        self._names.append(name)
        self._results.append(result)
        self._decode_ms.append(decode_ms)
        if self._folder is not None:
            with writing(self._folder):
                self._outcomes.write(json.dumps(self._outcome(name, result)) + "\n")
                self._outcomes.flush()
                if isinstance(result, AnchorPose):
                    self._poses.write(tum_line(result.stamp_ns, result.map_from_camera))
                    self._poses.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        rejected = count_reasons(result.reason for result in self._results if isinstance(result, Rejection))
        count = len(self._results)
        console.print(f"{self._label}localized {count - sum(rejected.values())} of {count} frames")
        print_advice(advise(rejected))
        if self._folder is not None:
            with writing(self._folder):
                self._poses.close()
                self._outcomes.close()
            self._write_summary(self._folder)

    def stages_ms(self) -> Iterator[dict[str, float]]:
        """Times of the stages of each image, from its reading to its pose."""
        for decode_ms, result in zip(self._decode_ms, self._results, strict=True):
            yield {"decode": decode_ms, **result.stage_ms}

    def figures(self) -> dict[str, Any]:
        """All images together, and each as in poses.jsonl."""
        outcomes = [self._outcome(name, result) for name, result in zip(self._names, self._results, strict=True)]
        return {**self._summary(self._record()), "frames": outcomes}

    def _write_summary(self, folder: Path) -> None:
        from visloc_ros.evaluation.search_plots import write_query_plot  # drawing takes a second to import

        record = self._record()
        write_json(folder / "summary.json", self._summary(record))
        write_query_plot(folder / "poses.png", record)

    def _summary(self, record: RunRecord) -> dict[str, Any]:
        return _summary(self._results, record) | {"stage_ms": stage_spreads(self.stages_ms())} | provenance()

    def _outcome(self, name: str, result: AnchorPose | Rejection) -> dict[str, Any]:
        return {"name": name} | result_to_mapping(result, on_earth=self._place.identity.on_earth)

    def _record(self) -> RunRecord:
        return RunRecord(
            title=f"{self._source} in {self._place.name}",
            frames=(),
            anchors=tuple(map(AnchorRecord.from_result, self._results)),
            ground_truth=self._truth,
            map_points=self._place.points,
            map_camera_positions=self._place.camera_positions,
            metric=self._place.manifest.metric,
            calibration=self._calibration,
        )


def _summary(results: Sequence[AnchorPose | Rejection], record: RunRecord) -> dict[str, Any]:
    """Figures of all images together."""
    counted = count_reasons(result.reason for result in results if isinstance(result, Rejection))
    summary = summarize(record)
    kept = ("title", "metric", "camera", "anchor_position_error_m", "anchor_rotation_error_deg", "anchor_latency_ms")
    sources = Counter(p.calibration.source.value for p in results if isinstance(p, AnchorPose) and p.calibration)
    return {name: summary[name] for name in kept} | {
        "images": len(results),
        "localized": len(results) - sum(counted.values()),
        "rejected": {reason.value: count for reason, count in counted.items()},
        "poses_by_calibration": dict(sources),
        "advice": advise(counted),
    }
