"""The figures of an odometry run as plain data for JSON; unknown ones are null."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.evaluation.metrics import Statistics
from visloc_ros.evaluation.odometry_errors import Coverage, OdometryErrors, SegmentErrors
from visloc_ros.evaluation.odometry_run import OdometryRun, TrackedFrame
from visloc_ros.evaluation.relative_drift import Drift
from visloc_ros.evaluation.summary import percentiles

PREPROCESS_STAGES = ("prepare", "preprocess")
WARM_UP_FRAMES = 2
"""Frames whose time is given apart."""

Figures = dict[str, Any]


def summarize_odometry(run: OdometryRun, errors: OdometryErrors) -> Figures:
    """Summarize a run and its errors as figures for JSON.

    ``latency_ms`` is the tracking of a frame without its reading, until there is a pose; ``busy_ms`` is that and the
    settling until the next frame can be tracked, ``fps`` what this can sustain: 1000 / mean ms.
    ``ate_sim3_m`` is the root mean square of the position errors after Umeyama's alignment; where odometry was lost and
    started again, each segment is aligned by itself and the largest counts. ``rotation_error_deg`` is after the same
    alignment, ``aligned_orientation_error_deg`` after one of the orientations.
    ``refined_error_m`` is of the final path, where an odometry refines it.
    ``stage_ms`` are over the frames in which a stage ran, its ``mean`` over all frames.
    """
    latencies = [frame.track_ms for frame in run.frames]
    times = [frame.busy_ms for frame in run.frames]
    return {
        "complete": run.is_complete,
        **_coverage(errors.coverage),
        "fps": 1e3 / float(np.mean(times)) if times else None,
        "latency_ms": percentiles(latencies),
        "busy_ms": percentiles(times),
        "ate_sim3_m": errors.worst_rmse_m,
        "refined_error_m": _spread(errors.refined_error_m),
        "position_error_m": _spread(errors.position_error_m),
        "rotation_error_deg": _spread(errors.rotation_error_deg),
        "aligned_orientation_error_deg": _spread(errors.aligned_orientation_error_deg),
        "rpe": _drift(errors.drift),
        "segments": [_segment(segment, run) for segment in errors.segments],
        "scale": _scale(run),
        "stage_ms": stage_figures(run.frames),
        "frame_ms": [round(milliseconds, 3) for milliseconds in latencies],
        "peak_rss_mb": run.peak_rss_mb,
    }


def lifecycle(run: OdometryRun, warm_up_frames: int = WARM_UP_FRAMES) -> Figures:
    """Times of what happens once, and of every frame after the warm-up.

    A frame's total includes its reading and all stages. ``inference`` is tracking without preprocessing.
    """
    measured = run.frames[warm_up_frames:]
    preprocess = [_preprocess_ms(frame) for frame in measured]
    return {
        "init_ms": run.init_ms,
        "warm_up_ms": [frame.track_ms for frame in run.frames[:warm_up_frames]],
        "decode_ms": percentiles(frame.decode_ms for frame in measured),
        "preprocess_ms": percentiles(preprocess),
        "inference_ms": percentiles(frame.track_ms - apart for frame, apart in zip(measured, preprocess, strict=True)),
        "settle_ms": percentiles(frame.settle_ms for frame in measured),
        "total_ms": percentiles(frame.decode_ms + frame.busy_ms for frame in measured),
        "finalize_ms": run.finalize_ms,
    }


def stage_figures(frames: Sequence[TrackedFrame]) -> dict[str, Figures]:
    """Times of each stage in the order in which the stages first appear; ``frames`` is how many it ran in."""
    collected: dict[str, list[float]] = {}
    for frame in frames:
        for stage, milliseconds in [*frame.result.stage_ms.items(), *frame.settle_stages_ms.items()]:
            collected.setdefault(stage, []).append(milliseconds)
    return {
        stage: {**(percentiles(times) or {}), "mean": sum(times) / len(frames), "frames": len(times)}
        for stage, times in collected.items()
    }


def _preprocess_ms(frame: TrackedFrame) -> float:
    return sum(frame.result.stage_ms.get(stage, 0.0) for stage in PREPROCESS_STAGES)


def _coverage(coverage: Coverage) -> Figures:
    return {
        "frames": coverage.num_frames,
        "tracked_frames": coverage.num_tracked,
        "tracked_share_after_start": coverage.tracked_share_after_start,
        "start_s": coverage.start_s,
        "start_after_motion_s": coverage.start_after_motion_s,
        "losses": dict(coverage.lost_frames),
        "loss_events": coverage.num_losses,
        "longest_loss_s": coverage.longest_loss_s,
    }


def _drift(drift: Drift) -> Figures:
    return {
        "over_1_s": {
            "translation_m": _spread(drift.translation_m_per_s),
            "rotation_deg": _spread(drift.rotation_deg_per_s),
        },
        "over_path": {
            "translation_percent": drift.translation_percent,
            "rotation_deg_per_m": drift.rotation_deg_per_m,
            "by_length": [vars(stretch) for stretch in drift.stretches],
        },
    }


def _segment(segment: SegmentErrors, run: OdometryRun) -> Figures:
    begin_ns = run.frames[0].result.stamp_ns
    return {
        "segment": segment.segment,
        "poses": segment.num_poses,
        "begin_s": (segment.begin_ns - begin_ns) / NANOSECONDS,
        "duration_s": segment.duration_s,
        "true_path_m": segment.true_path_m,
        "metres_per_unit": segment.metres_per_unit,
        "ate_sim3_m": None if segment.position_error_m is None else segment.position_error_m.rmse,
    }


def _scale(run: OdometryRun) -> Figures | None:
    """The final scale by other sensors."""
    scale = run.poses[-1].scale if run.poses else None
    return None if scale is None else {"metres_per_unit": scale.metres_per_unit, "log_sigma": scale.log_sigma}


def _spread(statistics: Statistics | None) -> Mapping[str, float] | None:
    if statistics is None:
        return None
    return {name: getattr(statistics, name) for name in ("rmse", "median", "p95", "max")}
