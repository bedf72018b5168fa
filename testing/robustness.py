"""The effect of an incident on a run: when it was detected, when the pose recovered, and whether it was overconfident.

A pose is *overconfident* when the state is LOCALIZED and its error lies beyond 3 sigma: outside the region of its
covariance that holds as many errors (99.73 %) of a consistent estimator as 3 sigma do of a single number. Any pose of a
camera that is not in the map at all is, too.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.types import State
from visloc_ros.evaluation.metrics import POSE_DOF
from visloc_ros.evaluation.records import RunRecord
from visloc_ros.evaluation.series import PoseSeries, RunSeries, run_series

LARGEST_NEES = chi_square_quantile(math.erf(3.0 / math.sqrt(2.0)), POSE_DOF)
"""Squared normalised errors beyond this one lie outside of 3 sigma."""


@dataclass(frozen=True)
class Incident:
    """When something happens to the camera, in seconds since the first frame; a jump ends when it begins."""

    begin_s: float
    end_s: float


@dataclass(frozen=True)
class Robustness:
    """Figures of one run; times in seconds, None where the event did not occur; lengths in map units.

    ``detected_after_s``, ``lost_after_s``: from the incident's begin to the first frame whose state is not LOCALIZED,
    or is LOST; a frame that a live system dropped does not count.
    ``recovered_after_s``: from its end to the first LOCALIZED pose that is within 3 sigma; without an incident from the
    first frame. ``largest_error``, ``largest_error_deg`` and ``largest_nees`` are those while LOCALIZED,
    ``longest_overconfident_s`` is the longest time that the pose stayed overconfident, 0 for single frames, and
    ``overconfident_spans_s`` holds the first and the last frame of each such time;
    ``largest_sigmas`` the largest error over the standard deviation of the worst axis. ``poses_outside_map`` counts
    poses of a camera that is not in the map.
    """

    frames: int
    poses: int
    localized: int
    overconfident: int
    longest_overconfident_s: float
    overconfident_spans_s: tuple[tuple[float, float], ...]
    poses_outside_map: int
    detected_after_s: float | None
    lost_after_s: float | None
    recovered_after_s: float | None
    largest_error: float | None
    largest_error_deg: float | None
    largest_sigmas: float | None
    largest_nees: float | None


def judge_run(record: RunRecord, incident: Incident | None = None, series: RunSeries | None = None) -> Robustness:
    """Judge a run whose ground truth holds a pose for every frame in which the camera is in the map."""
    frames = (series or run_series(record)).frames
    trusted, lost, unknown = (_in_state(record, one) for one in (State.LOCALIZED, State.LOST, State.UNINITIALIZED))
    posed = np.isfinite(frames.positions[:, 0])
    localized = posed & trusted
    overconfident = localized & exceeds_covariance(frames)
    begin_s, end_s = (0.0, 0.0) if incident is None else (incident.begin_s, incident.end_s)
    overconfident_spans_s = _unbroken(frames.seconds, overconfident)
    later = frames.seconds >= begin_s if incident is not None else np.zeros(len(posed), dtype=bool)
    return Robustness(
        frames=len(posed),
        poses=int(posed.sum()),
        localized=int(localized.sum()),
        overconfident=int(overconfident.sum()),
        longest_overconfident_s=max((end - begin for begin, end in overconfident_spans_s), default=0.0),
        overconfident_spans_s=overconfident_spans_s,
        poses_outside_map=int((posed & np.isnan(frames.position_error)).sum()),
        detected_after_s=_first(frames, later & ~trusted & ~unknown, begin_s),
        lost_after_s=_first(frames, later & lost, begin_s),
        recovered_after_s=_first(frames, (frames.seconds >= end_s) & localized & ~overconfident, end_s),
        largest_error=_largest(frames.position_error[localized]),
        largest_error_deg=_largest(frames.rotation_error_deg[localized]),
        largest_sigmas=_largest(error_in_sigmas(frames)[localized]),
        largest_nees=_largest(frames.nees[localized]),
    )


def error_in_sigmas(series: PoseSeries) -> NDArray[np.float64]:
    """The larger of position and rotation error (N,) in standard deviations of the worst axis; NaN unknown."""
    return np.fmax(series.position_error / series.sigma_position, series.rotation_error_deg / series.sigma_rotation_deg)


def exceeds_covariance(series: PoseSeries) -> NDArray[np.bool_]:
    """Which poses (N,) lie beyond 3 sigma, or are of a camera that is not in the map; without a pose False."""
    posed = np.isfinite(series.positions[:, 0])
    return posed & ~(series.nees <= LARGEST_NEES)


def _in_state(record: RunRecord, state: State) -> NDArray[np.bool_]:
    return np.array([frame.state is state for frame in record.frames], dtype=bool)


def _first(series: PoseSeries, chosen: NDArray[np.bool_], since_s: float) -> float | None:
    rows = np.flatnonzero(chosen)
    return float(series.seconds[rows[0]] - since_s) if len(rows) else None


def _unbroken(seconds: NDArray[np.float64], chosen: NDArray[np.bool_]) -> tuple[tuple[float, float], ...]:
    """Seconds of the first and the last frame of each unbroken row of chosen ones."""
    rows = np.flatnonzero(chosen)
    unbroken = np.split(rows, np.flatnonzero(np.diff(rows) > 1) + 1)
    return tuple((float(seconds[row[0]]), float(seconds[row[-1]])) for row in unbroken if len(row))


def _largest(values: NDArray[np.float64]) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.max()) if len(known) else None
