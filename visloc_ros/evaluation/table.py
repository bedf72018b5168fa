"""Rows for a terminal table as plain data: figure, value, and target. The CLI draws them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from visloc_ros.evaluation.metrics import Recall, Statistics
from visloc_ros.evaluation.odometry_errors import Coverage, OdometryErrors, SegmentErrors
from visloc_ros.evaluation.relative_drift import Drift, KittiErrors
from visloc_ros.evaluation.trajectories import TrajectoryErrors

UNKNOWN = "–"

NEES_LABEL = "covariance (NEES, 6 is consistent)"

BUDGETS_MS: Mapping[str, float] = {"odometry": 33.0, "anchor": 1000.0, "pose_age": 50.0}
"""95th percentiles to stay below on a 2-core CPU at VGA."""


@dataclass(frozen=True)
class Row:
    """One line: a label, a value in words, the target in words if there is one, and whether it was met."""

    label: str
    value: str
    target: str | None = None
    met: bool | None = None


def summary_rows(summary: Mapping[str, Any]) -> list[Row]:
    """Rows of a run's summary, the most important first."""
    unit = "m" if summary["metric"] else "units"
    return [
        _localized_row(summary),
        *_camera_rows(summary["camera"]),
        Row("position error", format_errors(summary["position_error_m"], unit)),
        Row("rotation error", format_errors(summary["rotation_error_deg"], "deg")),
        Row("anchor position error", format_errors(summary["anchor_position_error_m"], unit)),
        Row("anchor rotation error", format_errors(summary["anchor_rotation_error_deg"], "deg")),
        Row("anchors", _anchor_words(summary["anchors"])),
        Row("anchors are right with", _probability_words(summary["anchor_probability"])),
        Row("first fix after", format_number(summary["time_to_first_fix_s"], "s")),
        _odometry_row(summary),
        _latency_row("anchor latency", summary["anchor_latency_ms"], BUDGETS_MS["anchor"]),
        _latency_row("pose age", summary["pose_age_ms"], BUDGETS_MS["pose_age"]),
        Row("pose rests on", _support_words(summary["frames_by_support"])),
        Row(NEES_LABEL, consistency_words(summary["nees"])),
        *(
            Row(f"innovation of {source} (NIS, 6 is consistent)", consistency_words(nis))
            for source, nis in summary["nis"].items()
        ),
        Row("frames dropped", str(summary["frames_dropped"])),
        Row("peak memory", format_number(summary["peak_rss_mb"], "MB")),
    ]


def _camera_rows(camera: Mapping[str, Any] | None) -> list[Row]:
    return [] if camera is None else [Row("camera", camera["description"])]


def trajectory_rows(errors: TrajectoryErrors) -> list[Row]:
    """Rows of a comparison of two trajectories, but for the ``error_statistics``."""
    return [
        Row("matched poses", _matched_words(errors)),
        Row("alignment", f"{errors.align}, scale {errors.truth_from_estimate.scale:.4f}"),
        *(
            Row(
                f"within {_threshold_words(of_all)}",
                f"{of_matched.percent:.1f} % of matched, {of_all.percent:.1f} % of all true",
            )
            for of_all, of_matched in zip(errors.recall, errors.recall_of_matched, strict=True)
        ),
        *([] if errors.kitti is None else [_kitti_row(errors.kitti)]),
        *([] if errors.consistency is None else [Row(NEES_LABEL, consistency_words(asdict(errors.consistency)))]),
    ]


def _matched_words(errors: TrajectoryErrors) -> str:
    words = f"{errors.num_matched} of {errors.num_estimates} estimated, {errors.num_truths} true"
    if 2 * errors.num_matched >= min(errors.num_estimates, errors.num_truths):
        return words
    return f"{words}: most have no partner, do both use the same clock and unit?"


def _kitti_row(kitti: KittiErrors) -> Row:
    value = f"{kitti.translation_percent:.4f} %, {kitti.rotation_deg_per_m:.6f} deg/m"
    return Row("KITTI odometry benchmark", f"{value} ({kitti.count} stretches of 100 to 800 m)")


def error_statistics(errors: TrajectoryErrors) -> list[tuple[str, Statistics | None]]:
    """Names of errors with their units, and their statistics."""
    pairs = f"{errors.pair_selection}, {'all' if errors.pair_selection.all_pairs else 'consecutive'} pairs"
    if errors.relative_position_error_m is None:
        pairs += " (no two matched poses are so far apart)"
    named: list[tuple[str, Statistics | None]] = [
        ("APE position [m]", errors.position_error_m),
        ("APE rotation [deg]", errors.rotation_error_deg),
        (f"RPE position [m], {pairs}", errors.relative_position_error_m),
        (f"RPE rotation [deg], {pairs}", errors.relative_rotation_error_deg),
    ]
    if errors.by_orientations is not None:
        position, rotation = errors.by_orientations
        named += [("position [m], orientations aligned", position), ("rotation [deg], orientations aligned", rotation)]
    return named


def odometry_rows(errors: OdometryErrors) -> list[Row]:
    """Rows of an evaluation of odometry alone; errors only where truth was known."""
    position = Row("position error (Sim3 ATE)", _statistics_words(errors.position_error_m, "m"))
    rows = [*_coverage_rows(errors.coverage), position, *(_drift_rows(errors) if errors.position_error_m else [])]
    if errors.refined_error_m is not None:
        rows.append(Row("position error, refined at the end", _statistics_words(errors.refined_error_m, "m")))
    return rows


def _coverage_rows(coverage: Coverage) -> list[Row]:
    reasons = ", ".join(f"{reason} {count}" for reason, count in coverage.lost_frames.items())
    share = coverage.tracked_share_after_start
    tracked = f"{coverage.num_tracked} of {coverage.num_frames} frames ({100 * coverage.tracked_share:.1f} %)"
    start = format_number(coverage.start_s, "s")
    if coverage.start_s is not None and coverage.start_after_motion_s is not None:
        start += f"; 1 cm was moved after {format_number(coverage.start_s - coverage.start_after_motion_s, 's')}"
    losses = str(coverage.num_losses)
    if coverage.longest_loss_s is not None:
        losses += f", the longest {format_number(coverage.longest_loss_s, 's')}"
    return [
        Row("tracked", tracked if share is None else f"{tracked}, {100 * share:.1f} % after the start"),
        Row("first pose after", start),
        Row("losses after the start", losses),
        Row("frames without pose", reasons or "none"),
    ]


def _drift_rows(errors: OdometryErrors) -> list[Row]:
    drift = errors.drift
    rows = [
        Row("rotation error (Sim3 APE)", _statistics_words(errors.rotation_error_deg, "deg")),
        Row("rotation error (orientations aligned)", _statistics_words(errors.aligned_orientation_error_deg, "deg")),
        Row("drift over 1 s, position", _statistics_words(drift.translation_m_per_s, "m")),
        Row("drift over 1 s, rotation", _statistics_words(drift.rotation_deg_per_s, "deg")),
        Row("drift over the path", _path_drift_words(drift)),
    ]
    return rows if len(errors.segments) < 2 else [*rows, *map(_segment_row, errors.segments)]


def _path_drift_words(drift: Drift) -> str:
    if drift.translation_percent is None or drift.rotation_deg_per_m is None:
        return UNKNOWN
    lengths = "/".join(f"{stretch.length_m:g}" for stretch in drift.stretches)
    return f"{drift.translation_percent:.2f} %, {drift.rotation_deg_per_m:.3f}°/m (mean over stretches of {lengths} m)"


def _segment_row(segment: SegmentErrors) -> Row:
    label = f"segment {segment.segment}: {segment.num_poses} poses, {segment.duration_s:.1f} s"
    return Row(label, f"ATE {_statistics_words(segment.position_error_m, 'm')}")


def format_number(value: float | None, unit: str) -> str:
    """A number with its unit in three significant digits (whole ones above 100); a dash when unknown."""
    if value is None:
        return UNKNOWN
    return f"{value:.0f} {unit}" if abs(value) >= 100 else f"{value:.3g} {unit}"


def format_length(value: float | None, unit: str) -> str:
    """A distance; below a metre in centimetres or millimetres."""
    if value is not None and unit == "m" and abs(value) < 1.0:
        return f"{100.0 * value:.3g} cm" if abs(value) >= 0.01 else f"{1000.0 * value:.1f} mm"
    return format_number(value, unit)


def format_angle(value: float) -> str:
    """An angle in degrees."""
    return f"{value:.2f}°"


def format_errors(spread: Mapping[str, float] | None, unit: str) -> str:
    """Median, 95th percentile and maximum in words."""
    if spread is None:
        return UNKNOWN
    words = (f"{name} {_format(spread[name], unit)}" for name in ("median", "p95", "max"))
    return ", ".join(words)


def _format(value: float, unit: str) -> str:
    return format_angle(value) if unit == "deg" else format_length(value, unit)


def _statistics_words(statistics: Statistics | None, unit: str) -> str:
    if statistics is None:
        return UNKNOWN
    values = {"median": statistics.median, "rmse": statistics.rmse, "p95": statistics.p95, "max": statistics.max}
    return ", ".join(f"{name} {_format(value, unit)}" for name, value in values.items())


def _threshold_words(row: Recall) -> str:
    return f"{format_length(row.distance_m, 'm')} and {row.angle_deg:g} deg"


def _localized_row(summary: Mapping[str, Any]) -> Row:
    share, frames = summary["localized_share_after_first_fix"], summary["frames"]
    value = f"{summary['localized_frames']} of {frames}"
    if share is None:
        return Row("frames localized", f"{value}: no frame has a pose in the map")
    return Row("frames localized", f"{value} ({100 * share:.1f} % after the first fix)")


def _odometry_row(summary: Mapping[str, Any]) -> Row:
    latency = summary["odometry_latency_ms"]
    if latency is None:
        return Row("odometry", UNKNOWN)
    row = _latency_row("odometry", latency, BUDGETS_MS["odometry"])
    return Row(row.label, f"{summary['odometry_fps']:.0f} frames/s, {row.value}", row.target, row.met)


def _latency_row(label: str, latency: Mapping[str, float] | None, budget_ms: float) -> Row:
    target = f"p95 ≤ {budget_ms:g} ms"
    if latency is None:
        return Row(label, UNKNOWN, target)
    words = f"p50 {format_number(latency['p50'], 'ms')}, p95 {format_number(latency['p95'], 'ms')}"
    return Row(label, words, target, latency["p95"] <= budget_ms)


def _anchor_words(anchors: Mapping[str, Any]) -> str:
    words = [f"{anchors['accepted']} found"]
    words += [f"{count} {reason}" for reason, count in anchors["rejected"].items()]
    words += [f"{count} refused by fusion ({reason})" for reason, count in anchors["refused_by_fusion"].items()]
    return ", ".join(words)


def _probability_words(least: Mapping[str, float] | None) -> str:
    if least is None:
        return UNKNOWN
    return ", ".join(f"{name} {100 * value:.1f} %" for name, value in least.items())


def consistency_words(found: Mapping[str, Any] | None) -> str:
    """Text on squared normalised errors: their mean with its band, and the share inside the 95 % band."""
    if found is None:
        return UNKNOWN
    low, high = found["mean_band"]
    return (
        f"mean {found['mean']:.1f} (95 % band {low:.1f} to {high:.1f}), "
        f"{100 * found['share_in_band']:.0f} % inside the 95 % band, {100 * found['share_above_band']:.0f} % above"
    )


def _support_words(supports: Mapping[str, int]) -> str:
    total = sum(supports.values())
    words = (f"{name.lower().replace('_', ' ')} {100 * count / total:.1f} %" for name, count in supports.items())
    return ", ".join(words) or UNKNOWN
