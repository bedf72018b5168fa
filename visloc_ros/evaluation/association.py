"""Associates estimates with true poses by stamp."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.errors import SourceError
from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS, Trajectory
from visloc_ros.core.trajectory_files import NUMBERED

DEFAULT_TOLERANCE_S = 0.01
"""As in evo."""

MAX_TRUTH_GAP_NS = 120_000_000
"""Truth is interpolated across at most this gap: a hand-held camera strays by some millimetres within it."""


@dataclass(frozen=True, eq=False)
class PosePairs:
    """Estimates and truths (N,) of the same instants, stamps (N,) of the estimates in nanoseconds, in their order."""

    stamps_ns: NDArray[np.int64]
    estimates: tuple[SE3, ...]
    truths: tuple[SE3, ...]

    def __len__(self) -> int:
        return len(self.estimates)

    @property
    def estimated_positions(self) -> Array:
        """Estimated camera centres (N, 3)."""
        return np.array([pose.translation for pose in self.estimates]).reshape(-1, 3)

    @property
    def true_positions(self) -> Array:
        """True camera centres (N, 3)."""
        return np.array([pose.translation for pose in self.truths]).reshape(-1, 3)


def truth_at(truth: Trajectory, stamp_ns: int, tolerance_s: float = DEFAULT_TOLERANCE_S) -> SE3 | None:
    """True pose at a stamp, interpolated between near neighbours; else the nearest one within the tolerance."""
    right = int(np.searchsorted(truth.stamps_ns, stamp_ns))
    bracketed = 0 < right < len(truth)
    if bracketed and truth.stamps_ns[right] - truth.stamps_ns[right - 1] <= MAX_TRUTH_GAP_NS:
        return truth.interpolate(stamp_ns)
    return truth.nearest(stamp_ns, round(tolerance_s * NANOSECONDS))


def associate(estimate: Trajectory, truth: Trajectory, tolerance_s: float = DEFAULT_TOLERANCE_S) -> PosePairs:
    """Pair every pose of the trajectory that has fewer of them with the other's nearest in time, as evo does.

    Raises SourceError when nothing pairs up, and where only one of them has times.
    """
    if estimate.is_numbered != truth.is_numbered:
        name, other = ("estimate", "truth") if estimate.is_numbered else ("truth", "estimate")
        raise SourceError(f"the {name} {NUMBERED}; those of the {other} are times")
    rows, true_rows = _nearest_rows(estimate.stamps_ns, truth.stamps_ns, round(tolerance_s * NANOSECONDS))
    if len(rows) == 0:
        raise SourceError(_why_nothing_pairs(estimate, truth, tolerance_s))
    estimates, truths = tuple(estimate.poses[row] for row in rows), tuple(truth.poses[row] for row in true_rows)
    return PosePairs(estimate.stamps_ns[rows], estimates, truths)


def _nearest_rows(
    stamps: NDArray[np.int64], others: NDArray[np.int64], tolerance_ns: int
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows (M,) of both that belong together, at most the tolerance apart."""
    if len(stamps) == 0 or len(others) == 0:
        return np.empty(0, dtype=np.intp), np.empty(0, dtype=np.intp)
    if len(others) < len(stamps):
        nearest = _nearest(others, stamps)
        close = np.abs(stamps[nearest] - others) <= tolerance_ns
        return nearest[close], np.flatnonzero(close)
    nearest = _nearest(stamps, others)
    close = np.abs(others[nearest] - stamps) <= tolerance_ns
    return np.flatnonzero(close), nearest[close]


def _nearest(stamps: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.intp]:
    """Row of the nearest of ``others`` for each stamp; the earlier one of two equally near."""
    right = np.clip(np.searchsorted(others, stamps), 1, max(1, len(others) - 1))
    left = right - 1
    right = np.minimum(right, len(others) - 1)
    later_is_nearer = np.abs(others[right] - stamps) < np.abs(stamps - others[left])
    return np.asarray(np.where(later_is_nearer, right, left))


def _why_nothing_pairs(estimate: Trajectory, truth: Trajectory, tolerance_s: float) -> str:
    if len(estimate) == 0 or len(truth) == 0:
        return f"the {'estimate' if len(estimate) == 0 else 'ground truth'} holds no poses"
    return (
        f"no estimate lies within {tolerance_s:g} s of a true pose: the estimate covers {_span(estimate)}, "
        f"the truth {_span(truth)}; check that both use the same clock, or raise the tolerance"
    )


def _span(trajectory: Trajectory) -> str:
    begin, end = (trajectory.stamps_ns[i] / NANOSECONDS for i in (0, -1))
    return f"{begin:.3f} to {end:.3f} s"
