"""Whether a run is worse than an earlier one of the same recording, by their summaries."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from visloc_ros.core.errors import ConfigError
from visloc_ros.core.files import read_text
from visloc_ros.evaluation.summary import Summary

LARGEST_BASELINE_BYTES = 16 << 20


@dataclass(frozen=True)
class Figure:
    """A figure of a summary, and by how much it may get worse: a share of its earlier value, at least a step.

    A run is the same every time on one machine; another one's numerical libraries change the last digits, which move
    the medians of errors by up to a few per cent.
    """

    path: str
    label: str
    share: float
    step: float
    higher_is_better: bool = False

    def limit(self, before: float) -> float:
        """The worst value that is not a regression."""
        margin = max(self.share * abs(before), self.step)
        return before - margin if self.higher_is_better else before + margin

    def is_worse(self, before: float, now: float | None) -> bool:
        """Whether the figure has got worse; a missing one counts as worse."""
        if now is None:
            return True
        limit = self.limit(before)
        return now < limit if self.higher_is_better else now > limit


FIGURES = (
    Figure("localized_share_after_first_fix", "localized after the first fix", 0.0, 0.01, higher_is_better=True),
    Figure("time_to_first_fix_s", "first fix, s", 0.1, 0.3),
    Figure("position_error_m.median", "position error, median, m", 0.1, 0.001),
    Figure("position_error_m.p95", "position error, 95 %, m", 0.15, 0.003),
    Figure("rotation_error_deg.median", "rotation error, median, deg", 0.1, 0.02),
    Figure("rotation_error_deg.p95", "rotation error, 95 %, deg", 0.15, 0.05),
    Figure("anchor_position_error_m.median", "anchors' position error, median, m", 0.1, 0.001),
)


@dataclass(frozen=True)
class Comparison:
    """One figure before and now, and the worst acceptable value."""

    figure: Figure
    before: float
    now: float | None

    @property
    def is_worse(self) -> bool:
        """Whether it is a regression."""
        return self.figure.is_worse(self.before, self.now)


def read_baseline(path: Path) -> Summary:
    """Read the summary of an earlier run. Raises ConfigError where it is none."""
    text = read_text(path, ConfigError, LARGEST_BASELINE_BYTES)
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path} is no JSON ({error}): give the summary.json of an earlier run") from error
    if not isinstance(values, dict) or not isinstance(values.get("frames"), int):
        raise ConfigError(f"{path} is no summary of a run: give the summary.json that an earlier run wrote")
    return values


def compare_with_baseline(summary: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[Comparison]:
    """All figures that the baseline has. Raises ConfigError where it is of another recording, or has none of them."""
    if summary["frames"] != baseline["frames"]:
        raise ConfigError(
            f"the baseline is of another recording: it has {baseline['frames']} frames, this one {summary['frames']}"
        )
    known = [(figure, _value(baseline, figure.path)) for figure in FIGURES]
    found = [Comparison(figure, before, _value(summary, figure.path)) for figure, before in known if before is not None]
    if not found:
        raise ConfigError("the baseline has no figure to compare: give one of a run in which frames were localized")
    return found


def _value(summary: Mapping[str, Any], path: str) -> float | None:
    value: Any = summary
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None
