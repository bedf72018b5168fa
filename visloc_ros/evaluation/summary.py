"""The figures of a run as plain data for ``summary.json``; unknown ones are null."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from visloc_ros.core.advice import advise, count_reasons
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import State, Support
from visloc_ros.evaluation.consistency import Consistency
from visloc_ros.evaluation.metrics import NEES_BAND, POSE_DOF, recall, spread_of
from visloc_ros.evaluation.records import AnchorRecord, FrameRecord, InnovationRecord, RunRecord
from visloc_ros.evaluation.series import PoseSeries, RunSeries, run_series

Summary = dict[str, Any]
WRONG_M, WRONG_PROBABILITY = 0.1, 0.99994
"""A wrong pose is farther off than this, and than its covariance allows with this probability (four sigma)."""


def summarize(record: RunRecord, series: RunSeries | None = None) -> Summary:
    """Summarize a run as figures for JSON.

    Errors are causal, in the map's frame, without alignment afterwards (metres when ``metric``). A frame is localized
    when it has a pose; ``time_to_first_fix_s`` runs from the first frame's stamp to the first localized frame's.
    ``odometry_fps`` is what tracking could sustain, 1000 / mean milliseconds. ``series`` saves computing it again.
    """
    series = run_series(record) if series is None else series
    return {
        "title": record.title,
        "metric": record.metric,
        "has_ground_truth": record.ground_truth is not None,
        "camera": None if record.calibration is None else record.calibration.to_mapping(),
        **_coverage(record),
        "advice": _advice(record),
        **_errors("", series.frames),
        "recall": _recall(series.frames),
        "nees": consistency(series.frames.nees),
        "wrong_frames": _wrong_frames(series.frames),
        "nis": _innovations(record.innovations),
        "frames_by_support": _supports(record.frames),
        **_odometry(record.frames),
        "pose_age_ms": percentiles(frame.pose_age_ms for frame in record.frames),
        "anchors": _anchor_counts(record.anchors),
        **_errors("anchor_", series.anchors),
        "anchor_probability": _lower_spread(anchor.probability for anchor in record.anchors if anchor.accepted),
        "anchor_recall": _recall(series.anchors),
        "anchor_nees": consistency(series.anchors.nees),
        "at_anchors": _at_anchors(record, series),
        "anchor_latency_ms": percentiles(anchor.latency_ms for anchor in record.anchors),
        "stage_ms": {
            "anchor": _stages(anchor.stage_ms for anchor in record.anchors),
            "odometry": _stages(frame.odometry_stage_ms for frame in record.frames),
        },
        "processor_ms": dict(record.processor_ms),
        "peak_rss_mb": _finite(record.peak_rss_mb),
        "wall_s": _finite(record.wall_s),
        "notes": list(record.notes),
    }


def percentiles(values: Iterable[float | None]) -> dict[str, float] | None:
    """Median and 95th percentile of the known values; None when there are none."""
    known = _known(values)
    if len(known) == 0:
        return None
    p50, p95 = np.percentile(known, (50, 95))
    return {"p50": float(p50), "p95": float(p95)}


def _coverage(record: RunRecord) -> Summary:
    localized = [frame.map_from_camera is not None for frame in record.frames]
    states = Counter(frame.state for frame in record.frames)
    reasons = Counter(frame.reason.value for frame in record.frames if frame.reason and frame.map_from_camera is None)
    first = localized.index(True) if any(localized) else None
    return {
        "frames": len(record.frames),
        "duration_s": _seconds_until(record.frames, len(record.frames) - 1) if record.frames else None,
        "localized_frames": sum(localized),
        "localized_share_after_first_fix": None if first is None else float(np.mean(localized[first:])),
        "time_to_first_fix_s": None if first is None else _seconds_until(record.frames, first),
        "frames_by_state": {state.value: states[state] for state in State if states[state]},
        "unlocalized_by_reason": dict(reasons.most_common()),
        "frames_dropped": record.frames_dropped,
    }


def _advice(record: RunRecord) -> list[str]:
    """Advice where frames have no pose, by the reasons of the searches in the map, or else of the frames."""
    if all(frame.map_from_camera is not None for frame in record.frames):
        return []
    searched = count_reasons(anchor.reason for anchor in record.anchors if not anchor.accepted)
    return advise(searched or count_reasons(frame.reason for frame in record.frames if frame.map_from_camera is None))


def _seconds_until(frames: Sequence[FrameRecord], row: int) -> float:
    return (frames[row].stamp_ns - frames[0].stamp_ns) / NANOSECONDS


def _errors(prefix: str, series: PoseSeries) -> Summary:
    return {
        f"{prefix}position_error_m": spread_of(series.position_error),
        f"{prefix}rotation_error_deg": spread_of(series.rotation_error_deg),
    }


def _lower_spread(values: Iterable[float | None]) -> dict[str, float] | None:
    """Median, 5th percentile and least of the known values; None when there are none."""
    known = _known(values)
    if len(known) == 0:
        return None
    return {"median": float(np.median(known)), "p5": float(np.percentile(known, 5)), "min": float(known.min())}


def _recall(series: PoseSeries) -> list[dict[str, float]] | None:
    """Percent of all records with a true pose that were found within each threshold."""
    if series.num_with_truth == 0:
        return None
    return [row.figures() for row in recall(series.errors, series.num_with_truth)]


def _wrong_frames(series: PoseSeries) -> int | None:
    """Number of wrong poses whose covariance does not show it; None without a true one."""
    if series.num_with_truth == 0:
        return None
    limit = chi_square_quantile(WRONG_PROBABILITY, POSE_DOF)
    return int(np.sum((series.position_error > WRONG_M) & (series.nees > limit)))


def _at_anchors(record: RunRecord, series: RunSeries) -> Summary | None:
    """Fused poses and anchors side by side, at the images that have both; None without any."""
    row_of = {frame.stamp_ns: row for row, frame in enumerate(record.frames) if frame.map_from_camera is not None}
    pairs = [
        (row_of[anchor.stamp_ns], row)
        for row, anchor in enumerate(record.anchors)
        if anchor.map_from_camera is not None and anchor.stamp_ns in row_of
    ]
    if not pairs:
        return None
    frame_rows, anchor_rows = np.transpose(pairs)
    return {
        "images": len(pairs),
        "fused_position_error_m": spread_of(series.frames.position_error[frame_rows]),
        "fused_rotation_error_deg": spread_of(series.frames.rotation_error_deg[frame_rows]),
        "anchor_position_error_m": spread_of(series.anchors.position_error[anchor_rows]),
        "anchor_rotation_error_deg": spread_of(series.anchors.rotation_error_deg[anchor_rows]),
    }


def consistency(values: ArrayLike) -> Summary | None:
    """Squared normalised errors (N,) compared with those of consistent covariances; None without any."""
    found = Consistency.of(values)
    if found is None:
        return None
    return {**asdict(found), "mean_band": [*found.mean_band], "band": [*NEES_BAND]}


def _innovations(innovations: Sequence[InnovationRecord]) -> dict[str, Summary | None]:
    """Consistency of the innovations by kind of measurement, including refused ones."""
    sources = dict.fromkeys(one.source for one in innovations)
    return {source: consistency([one.nis for one in innovations if one.source == source]) for source in sources}


def _supports(frames: Sequence[FrameRecord]) -> dict[str, int]:
    """Numbers of poses by support."""
    counts = Counter(frame.support for frame in frames if frame.map_from_camera is not None)
    return {support.value: counts[support] for support in Support if counts[support]}


def _odometry(frames: Sequence[FrameRecord]) -> Summary:
    times = _known(frame.odometry_ms for frame in frames)
    tracked = [frame.odometry_tracked for frame in frames]
    return {
        "odometry_tracked_share": float(np.mean(tracked)) if frames else None,
        "odometry_fps": float(1e3 / times.mean()) if len(times) and times.mean() > 0.0 else None,
        "odometry_latency_ms": percentiles(times),
    }


def _anchor_counts(anchors: Sequence[AnchorRecord]) -> Summary:
    rejected = Counter(_reason(anchor) for anchor in anchors if not anchor.accepted)
    refused = Counter(_reason(anchor) for anchor in anchors if anchor.accepted and anchor.fused is False)
    return {
        "accepted": sum(anchor.accepted for anchor in anchors),
        "rejected": dict(rejected.most_common()),
        "refused_by_fusion": dict(refused.most_common()),
    }


def _reason(anchor: AnchorRecord) -> str:
    return anchor.reason.value if anchor.reason is not None else "UNSTATED"


def _stages(timings: Iterable[Mapping[str, float]]) -> dict[str, dict[str, float] | None]:
    """Percentiles by stage, in the order in which the stages first appear."""
    collected: dict[str, list[float]] = {}
    for stage_ms in timings:
        for stage, milliseconds in stage_ms.items():
            collected.setdefault(stage, []).append(milliseconds)
    return {stage: percentiles(values) for stage, values in collected.items()}


def _known(values: Iterable[float | None]) -> np.ndarray[Any, np.dtype[np.float64]]:
    known = np.array([value for value in values if value is not None], dtype=np.float64)
    return known[np.isfinite(known)]


def _finite(value: float | None) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None
