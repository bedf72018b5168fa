"""Pose errors and their figures: statistics, recall, relative errors, consistency (NEES).

Position error is the distance of camera centres, rotation error the angle between orientations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.spatial.transform import Rotation

from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.evaluation.association import PosePairs

RECALL_THRESHOLDS: tuple[tuple[float, float], ...] = ((0.05, 5.0), (0.25, 2.0), (0.5, 5.0), (5.0, 10.0))
"""Metres and degrees: the usual indoor threshold, then the three of outdoor benchmarks (Sattler et al. 2018)."""

POSE_DOF = 6
NEES_BAND: tuple[float, float] = (chi_square_quantile(0.025, POSE_DOF), chi_square_quantile(0.975, POSE_DOF))
"""95 % of the squared normalised errors of a consistent 6-DoF covariance lie between these."""


@dataclass(frozen=True)
class Statistics:
    """Figures of a set of numbers, in the unit of the numbers."""

    count: int
    median: float
    mean: float
    rmse: float
    p95: float
    max: float
    min: float

    @property
    def std(self) -> float:
        """Standard deviation."""
        return float(np.sqrt(max(0.0, self.rmse**2 - self.mean**2)))

    @property
    def sse(self) -> float:
        """Sum of squares."""
        return self.count * self.rmse**2

    @staticmethod
    def of(values: ArrayLike) -> Statistics | None:
        """Statistics of numbers (N,); those that are not finite are left out; None when nothing is left."""
        known = np.asarray(values, dtype=np.float64).reshape(-1)
        known = known[np.isfinite(known)]
        if len(known) == 0:
            return None
        rmse = float(np.sqrt(np.mean(np.square(known))))
        median, p95 = (float(value) for value in np.percentile(known, (50, 95)))
        return Statistics(len(known), median, float(known.mean()), rmse, p95, float(known.max()), float(known.min()))


def spread_of(values: ArrayLike) -> dict[str, float] | None:
    """Median, 95th percentile and maximum of numbers (N,) by name; None as of ``Statistics.of``."""
    statistics = Statistics.of(values)
    if statistics is None:
        return None
    return {"median": statistics.median, "p95": statistics.p95, "max": statistics.max}


@dataclass(frozen=True)
class Recall:
    """Share of all queries, in percent, found within a distance (metres) and an angle (degrees)."""

    distance_m: float
    angle_deg: float
    percent: float

    def figures(self) -> dict[str, float]:
        """Plain values for JSON."""
        return {"within_m": self.distance_m, "within_deg": self.angle_deg, "percent": self.percent}


def finite_median(values: Sequence[float] | Array) -> float | None:
    """The median of numbers; None where there are none, or half of them are infinite."""
    middle = float(np.median(values)) if len(values) else np.inf
    return middle if np.isfinite(middle) else None


def position_error(estimate: SE3, truth: SE3) -> float:
    """Distance between two camera centres."""
    return float(np.linalg.norm(estimate.translation - truth.translation))


def rotation_error_deg(estimate: SE3, truth: SE3) -> float:
    """Angle between two orientations in degrees."""
    return rotation_angle_deg(estimate.rotation, truth.rotation)


def pose_errors(estimates: Sequence[SE3 | None], truths: Sequence[SE3 | None]) -> Array:
    """Position and rotation errors (N, 2) in metres and degrees; NaN where either pose is missing."""
    errors = np.full((len(estimates), 2), np.nan)
    for row, (estimate, truth) in enumerate(zip(estimates, truths, strict=True)):
        if estimate is not None and truth is not None:
            errors[row] = position_error(estimate, truth), rotation_error_deg(estimate, truth)
    return errors


def recall(
    errors: Array, num_queries: int, thresholds: Sequence[tuple[float, float]] = RECALL_THRESHOLDS
) -> tuple[Recall, ...]:
    """Percent of ALL queries within each threshold: a query without a pose counts as a failure.

    ``errors`` (N, 2) are position and rotation errors; rows of NaN are failures, too.
    """
    return tuple(
        Recall(distance, angle, 100.0 * np.count_nonzero(is_within(errors, distance, angle)) / max(1, num_queries))
        for distance, angle in thresholds
    )


def is_within(errors: Array, distance_m: float, angle_deg: float) -> NDArray[np.bool_]:
    """Which errors (N, 2) of position and rotation are within a threshold; NaN is not."""
    return np.asarray((errors[:, 0] <= distance_m) & (errors[:, 1] <= angle_deg))


def motion_errors(pairs: PosePairs, begins: NDArray[np.intp], ends: NDArray[np.intp]) -> Array:
    """Errors (M, 2) of the motions from poses ``begins`` (M,) to poses ``ends`` (M,), in map units and degrees."""
    if len(begins) == 0:
        return np.empty((0, 2))
    turns, moves = _motions(pairs.estimates, begins, ends)
    true_turns, true_moves = _motions(pairs.truths, begins, ends)
    angles = Rotation.from_matrix(turns.transpose(0, 2, 1) @ true_turns).magnitude()
    return np.column_stack([np.linalg.norm(moves - true_moves, axis=1), np.degrees(angles)])


def _motions(poses: Sequence[SE3], begins: NDArray[np.intp], ends: NDArray[np.intp]) -> tuple[Array, Array]:
    """Rotations (M, 3, 3) and translations (M, 3) of ``begin_from_end``."""
    rotations = np.array([pose.rotation for pose in poses])
    positions = np.array([pose.translation for pose in poses])
    into_begin = rotations[begins].transpose(0, 2, 1)
    return into_begin @ rotations[ends], np.einsum("nij,nj->ni", into_begin, positions[ends] - positions[begins])


def steps_of(progress: NDArray[np.float64], delta: float) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows (M,) where steps begin and end, which is the first row at least ``delta`` further in ``progress`` (N,)."""
    begins = np.arange(len(progress))
    ends = np.searchsorted(progress, progress + delta * (1.0 - 1e-9))
    reached = ends < len(progress)
    return begins[reached], ends[reached]


def progress(pairs: PosePairs, unit: str) -> NDArray[np.float64]:
    """Progress (N,) at each pair: "s" since the first one, or "m" travelled by the truth."""
    if unit == "s":
        return np.asarray((pairs.stamps_ns - pairs.stamps_ns[:1]) / NANOSECONDS)
    if unit != "m":
        raise ValueError(f"progress is in 's' or 'm', not {unit!r}")
    steps = np.linalg.norm(np.diff(pairs.true_positions, axis=0), axis=1)
    return np.concatenate([np.zeros(min(1, len(pairs))), np.cumsum(steps)])


def nees(estimate: SE3, truth: SE3, covariance: Array) -> float:
    """Normalised squared error of a pose by its own covariance (6, 6); its mean is 6 when the covariance is consistent.

    NaN when the covariance is not finite and positive definite, because then it does not describe the error.
    """
    error = pose_difference(truth, estimate)
    if not np.all(np.isfinite(covariance)) or np.linalg.eigvalsh(covariance)[0] <= 0.0:
        return float("nan")
    return float(error @ np.linalg.solve(covariance, error))
