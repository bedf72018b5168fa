"""Outcomes of images that were searched in a map: kept as they come, and summarized at the end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from visloc_ros.apps.console import console, print_advice
from visloc_ros.apps.outputs import write_json, writing
from visloc_ros.apps.timings import stage_spreads
from visloc_ros.core.advice import advise, count_reasons
from visloc_ros.core.calibration import CameraCalibration
from visloc_ros.core.map import Map
from visloc_ros.core.result_mapping import result_to_mapping
from visloc_ros.core.trajectory import TUM_HEADER, Trajectory, tum_line
from visloc_ros.core.types import AnchorPose, Rejection
from visloc_ros.evaluation import AnchorRecord, RunRecord, summarize
from visloc_ros.evaluation.machine import provenance


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
        outcomes = [_outcome(name, result) for name, result in zip(self._names, self._results, strict=True)]
        return {**self._summary(self._record()), "frames": outcomes}

    def _write_summary(self, folder: Path) -> None:
        from visloc_ros.evaluation.search_plots import write_query_plot  # drawing takes a second to import

        record = self._record()
        write_json(folder / "summary.json", self._summary(record))
        write_query_plot(folder / "poses.png", record)

    def _summary(self, record: RunRecord) -> dict[str, Any]:
        return _summary(self._results, record) | {"stage_ms": stage_spreads(self.stages_ms())} | provenance()

    def _record(self) -> RunRecord:
        return RunRecord(
            title=f"{self._source} in {self._place.name}",
            frames=(),
            anchors=tuple(AnchorRecord.from_result(one) for one in self._results),
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
