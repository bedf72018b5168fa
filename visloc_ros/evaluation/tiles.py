"""The key figures of a run as tiles: for the head of the page and of the picture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from visloc_ros.evaluation.table import BUDGETS_MS, UNKNOWN, format_angle, format_length, format_number


@dataclass(frozen=True)
class Tile:
    """A key figure of the page's head; ``tone`` ("good", "bad" or "") judges it against its budget."""

    key: str
    label: str
    value: str
    detail: str
    tone: str = ""

    @property
    def known(self) -> bool:
        """Whether there is a figure at all."""
        return self.value != UNKNOWN


def key_tiles(summary: Mapping[str, Any]) -> list[Tile]:
    """The eight main figures."""
    unit = "m" if summary["metric"] else "units"
    return [
        _error_tile("position_error_m", "Position error, median", summary, unit),
        _error_tile("rotation_error_deg", "Rotation error, median", summary, "deg"),
        _share_tile(summary),
        _first_fix_tile(summary),
        _anchor_tile(summary, unit),
        _odometry_tile(summary),
        _age_tile(summary),
        _memory_tile(summary),
    ]


def _error_tile(key: str, label: str, summary: Mapping[str, Any], unit: str) -> Tile:
    spread = summary[key]
    if spread is None:
        return Tile(key, label, UNKNOWN, "no pose to compare" if summary["has_ground_truth"] else "no ground truth")
    words = {name: _length_or_angle(value, unit) for name, value in spread.items()}
    return Tile(key, label, words["median"], f"p95 {words['p95']} · max {words['max']}")


def _length_or_angle(value: float, unit: str) -> str:
    return format_angle(value) if unit == "deg" else format_length(value, unit)


def _share_tile(summary: Mapping[str, Any]) -> Tile:
    share = summary["localized_share_after_first_fix"]
    detail = f"{summary['localized_frames']} of {summary['frames']} frames"
    value = UNKNOWN if share is None else f"{100 * share:.1f} %"
    return Tile("localized_share_after_first_fix", "Localized after the first fix", value, detail)


def _first_fix_tile(summary: Mapping[str, Any]) -> Tile:
    seconds = summary["time_to_first_fix_s"]
    value = UNKNOWN if seconds is None else f"{seconds:.2f} s"
    return Tile("time_to_first_fix_s", "First fix after", value, "since the first image")


def _anchor_tile(summary: Mapping[str, Any], unit: str) -> Tile:
    counts, position, rotation = (
        summary[key] for key in ("anchors", "anchor_position_error_m", "anchor_rotation_error_deg")
    )
    tried = counts["accepted"] + sum(counts["rejected"].values())
    detail = "frames found in the map"
    if position is not None and rotation is not None:
        detail = f"median {format_length(position['median'], unit)}, {format_angle(rotation['median'])}"
    return Tile("anchors", "Anchors accepted", f"{counts['accepted']} of {tried}" if tried else UNKNOWN, detail)


def _odometry_tile(summary: Mapping[str, Any]) -> Tile:
    rate = summary["odometry_fps"]
    value = UNKNOWN if rate is None else f"{rate:.0f} frames/s"
    return Tile("odometry_fps", "Odometry", value, *_judged(summary["odometry_latency_ms"], BUDGETS_MS["odometry"]))


def _age_tile(summary: Mapping[str, Any]) -> Tile:
    age = summary["pose_age_ms"]
    value = UNKNOWN if age is None else format_number(age["p50"], "ms")
    return Tile("pose_age_ms", "Pose age when published", value, *_judged(age, BUDGETS_MS["pose_age"]))


def _judged(latency: Mapping[str, float] | None, budget_ms: float) -> tuple[str, str]:
    """Text on a 95th percentile and its budget, and its tone."""
    if latency is None:
        return "not measured in this run", ""
    words = f"p95 {format_number(latency['p95'], 'ms')}, budget {budget_ms:g} ms"
    return words, "good" if latency["p95"] <= budget_ms else "bad"


def _memory_tile(summary: Mapping[str, Any]) -> Tile:
    megabytes, dropped = summary["peak_rss_mb"], summary["frames_dropped"]
    detail = f"{dropped} frame{'' if dropped == 1 else 's'} dropped"
    value = UNKNOWN if megabytes is None else f"{megabytes:,.0f} MB".replace(",", " ")
    return Tile("peak_rss_mb", "Peak memory", value, detail, "good" if dropped == 0 else "bad")
