"""``visloc localize``: every frame by itself in the map, one line a frame."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from visloc_ros.apps.console import console, print_advice, print_camera
from visloc_ros.apps.flags import needed, takes_flags
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
from visloc_ros.apps.outputs import check_outputs, write_json, writing
from visloc_ros.apps.timings import Spread, Timings, print_spreads, stage_spreads
from visloc_ros.core.advice import advise, count_reasons
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.config import read_config
from visloc_ros.core.geometry import rotation_angle_deg
from visloc_ros.core.map import Map
from visloc_ros.core.result_mapping import result_to_mapping
from visloc_ros.core.trajectory import NANOSECONDS, TUM_HEADER, Trajectory, tum_line
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.evaluation import AnchorRecord, RunRecord, summarize
from visloc_ros.evaluation.decoding import decode
from visloc_ros.evaluation.machine import provenance
from visloc_ros.localization import AnchorConfig, AnchorEngine, find_camera
from visloc_ros.localization.reduced_map import open_searchable_map
from visloc_ros.sources import SourceConfig, open_source

TRUTH_TOLERANCE_NS = 5_000_000


@takes_flags
@takes_source_config
def localize(
    source_config: SourceConfig,
    map_path: MapOrFlag = None,
    source: SourceOrFlag = None,
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
    check_outputs(folder=output)
    frames = open_source(source, source_config)
    place = open_searchable_map(map_path)
    engine = AnchorEngine(place, searched_by(search, read_config(AnchorConfig, config)))
    calibration = find_camera(engine, frames)
    print_camera(calibration)
    truth = read_truth(ground_truth, frames)
    report = QueryReport(place, frames.name, truth, calibration, output)
    try:
        with report:
            for decoded in decode(frames):
                frame = decoded.frame
                result = engine.localize(frame)
                report.add(frame.name or str(frame.stamp_ns), result, decoded.decode_ms)
                console.print(describe(frame.name, result, truth), highlight=False, soft_wrap=True)
    finally:  # a bad image, or Ctrl-C, does not cost what was found before it
        if timings:
            print_spreads(report.stage_spreads())
        if as_json:
            print_json(report.figures())


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


class QueryReport:
    """Outcomes of images, written as they come: what was found stays, whatever ends the command.

    In the end it tells how many there were, and writes their summary and their picture.
    """

    def __init__(
        self, place: Map, source: str, truth: Trajectory | None, calibration: CameraCalibration, folder: Path | None
    ) -> None:
        self._place, self._source, self._truth, self._calibration = place, source, truth, calibration
        self._folder = folder
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
        """Keep the outcome of an image, and how long it took to read it. Raises OutputError."""
        self._names.append(name)
        self._results.append(result)
        self._decode_ms.append(decode_ms)
        if self._folder is not None:
            with writing(self._folder):
                self._outcomes.write(json.dumps(_outcome(name, result)) + "\n")
                self._outcomes.flush()
                if isinstance(result, AnchorPose):
                    self._poses.write(tum_line(result.stamp_ns, result.map_from_camera))
                    self._poses.flush()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        rejected = count_reasons(result.reason for result in self._results if isinstance(result, Rejection))
        count = len(self._results)
        console.print(f"localized {count - sum(rejected.values())} of {count} frames")
        print_advice(advise(rejected))
        if self._folder is not None:
            with writing(self._folder):
                self._poses.close()
                self._outcomes.close()
            self._write_summary(self._folder)

    def stage_spreads(self) -> dict[str, Spread]:
        """Times of the stages, from the reading of an image to its pose."""
        timed = zip(self._decode_ms, self._results, strict=True)
        return stage_spreads({"decode": decode_ms, **result.stage_ms} for decode_ms, result in timed)

    def figures(self) -> dict[str, Any]:
        """All images together, and each as in poses.jsonl."""
        outcomes = [_outcome(name, result) for name, result in zip(self._names, self._results, strict=True)]
        return {**self._summary(self._record()), "frames": outcomes}

    def _write_summary(self, folder: Path) -> None:
        from visloc_ros.evaluation.query_plot import write_query_plot  # drawing takes a second to import

        record = self._record()
        write_json(folder / "summary.json", self._summary(record))
        write_query_plot(folder / "poses.png", record)

    def _summary(self, record: RunRecord) -> dict[str, Any]:
        return _summary(self._results, record) | {"stage_ms": self.stage_spreads()} | provenance()

    def _record(self) -> RunRecord:
        return RunRecord(
            title=f"{self._source} in {self._place.name}",
            frames=(),
            anchors=tuple(AnchorRecord.from_result(one, sum(one.stage_ms.values())) for one in self._results),
            ground_truth=self._truth,
            map_points=self._place.points,
            map_camera_positions=self._place.camera_positions,
            metric=self._place.manifest.metric,
            calibration=self._calibration,
        )


def _outcome(name: str, result: AnchorPose | Rejection) -> dict[str, Any]:
    return {"name": name} | result_to_mapping(result)


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
