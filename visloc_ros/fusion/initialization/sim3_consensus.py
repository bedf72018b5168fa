"""Sim3 consensus over a whole segment of odometry: which anchors agree, and the similarities along the path.

One similarity does not fit a long path, because odometry drifts; over a dozen anchors it does. So anchors are aligned
in overlapping windows, and dynamic programming finds the sequence of window alignments with most inliers that agrees
with odometry: a place that looks alike may win some windows, but no odometry leads there and back. A sequence may
jump, as a kidnapped camera does, at a cost in anchors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Sim3
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import Rejection
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import AlignmentConfig, FusionConfig
from visloc_ros.fusion.initialization.sim3_alignment import (
    NO_PRIOR,
    Alignment,
    PosePair,
    ScalePrior,
    align_disjoint_sets,
    align_robust,
)
from visloc_ros.fusion.odometry_model.history import OdometrySample
from visloc_ros.fusion.odometry_model.noise_model import CameraState, StateEstimate

WINDOW = 12
LARGEST_WINDOW = 48
WINDOWS_PER_ANCHOR = 3
LOOK_BACK = 12  # windows that a sequence may skip


@dataclass(frozen=True, eq=False)
class WindowAlignment:
    """The alignment of the anchors that agree in a window, and the odometry sample at its middle."""

    window: slice
    alignment: Alignment
    middle: OdometrySample

    @property
    def support(self) -> float:
        """Number of inliers, over the number of windows that each of them is part of."""
        return float(np.sum(self.alignment.inliers)) / WINDOWS_PER_ANCHOR

    @property
    def state(self) -> CameraState:
        """Camera and scale at the middle."""
        similarity = self.alignment.map_from_odom
        return CameraState(similarity.apply_to_pose(self.middle.odom_from_camera), float(np.log(similarity.scale)))


@dataclass(frozen=True, eq=False)
class Consensus:
    """Which of the anchors (N,) are inliers, and the similarities along the path."""

    inliers: NDArray[np.bool_]
    alignments: Sequence[WindowAlignment]

    def near(self, stamp_ns: int) -> Sim3:
        """The similarity of the window whose middle is nearest to a stamp."""
        nearest = min(self.alignments, key=lambda one: abs(one.middle.stamp_ns - stamp_ns))
        return nearest.alignment.map_from_odom


def find_consensus(
    fixes: Sequence[AnchorFix], config: FusionConfig, prior: ScalePrior = NO_PRIOR
) -> Consensus | Rejection:
    """Consensus of anchors in the order of their stamps, or the reason why there is none, as in ``align_robust``.

    Where the camera hardly moves within a dozen anchors, windows grow until they determine the scale.
    """
    size = WINDOW
    while True:
        alignments = _slide(fixes, size, config.alignment, prior)
        if not isinstance(alignments, Rejection):
            return _consensus(len(fixes), _best_sequence(alignments, config))
        if size >= min(LARGEST_WINDOW, len(fixes)):
            return alignments
        size *= 2


def _slide(
    fixes: Sequence[AnchorFix], size: int, config: AlignmentConfig, prior: ScalePrior
) -> list[WindowAlignment] | Rejection:
    """Alignments in each window, several where places look alike; a window without its own scale takes the median."""
    pairs, windows = [PosePair.from_fix(fix) for fix in fixes], _windows(len(fixes), size)
    found = [align_disjoint_sets(pairs[window], config, prior) for window in windows]
    with_scale = [one for alignments in found for one in alignments]
    if not with_scale:
        return _refusal([align_robust(pairs[window], config, prior) for window in windows])
    median_scale = _median_scale(with_scale)
    return [
        WindowAlignment(window, one, fixes[window][len(one.inliers) // 2].sample)
        for window, alignments in zip(windows, found, strict=True)
        for one in alignments or align_disjoint_sets(pairs[window], config, median_scale)
    ]


def _median_scale(alignments: Sequence[Alignment]) -> ScalePrior:
    """The scale of a window that does not determine its own: as uncertain as another one's, and as they scatter."""
    logs, sigmas = np.log([one.map_from_odom.scale for one in alignments]), [one.scale_sigma for one in alignments]
    return ScalePrior(float(np.median(logs)), float(np.hypot(np.median(sigmas), np.std(logs))))


def _refusal(tries: Sequence[Alignment | Rejection]) -> Rejection:
    return next(one for one in reversed(tries) if isinstance(one, Rejection))


def _windows(count: int, size: int) -> list[slice]:
    """Windows that overlap so that each element is in several, the last one flush with the end."""
    if count <= size:
        return [slice(0, count)]
    starts = [*range(0, count - size, size // WINDOWS_PER_ANCHOR), count - size]
    return [slice(start, start + size) for start in starts]


def _best_sequence(alignments: Sequence[WindowAlignment], config: FusionConfig) -> list[WindowAlignment]:
    """The sequence of window alignments with most support, less the cost of its jumps."""
    totals: list[float] = []
    before: list[int | None] = []
    for index, current in enumerate(alignments):
        total, last = 0.0, None
        for earlier in range(max(0, index - LOOK_BACK), index):
            if alignments[earlier].window == current.window:
                continue
            is_joined = _is_joined_by_odometry(alignments[earlier], current, config)
            jump = 0 if is_joined else config.gate.relocation_anchors
            if totals[earlier] - jump > total:
                total, last = totals[earlier] - jump, earlier
        totals.append(total + current.support)
        before.append(last)
    sequence: list[WindowAlignment] = []
    at: int | None = int(np.argmax(totals))
    while at is not None:
        sequence.append(alignments[at])
        at = before[at]
    return sequence[::-1]


def _is_joined_by_odometry(earlier: WindowAlignment, later: WindowAlignment, config: FusionConfig) -> bool:
    """Whether odometry between two windows fits their alignments."""
    covariance, tolerance = np.zeros((7, 7)), config.alignment.tolerance
    covariance[:6, :6], covariance[6, 6] = tolerance, earlier.alignment.scale_sigma**2
    start = StateEstimate(earlier.state, covariance)
    predicted = start.moved(earlier.middle.motion_to(later.middle), config.odometry_noise)
    error = pose_difference(later.state.map_from_camera, predicted.state.map_from_camera)
    expected = predicted.covariance[:6, :6] + tolerance
    return float(error @ np.linalg.solve(expected, error)) <= chi_square_quantile(config.gate.probability, 6)


def _consensus(count: int, sequence: Sequence[WindowAlignment]) -> Consensus:
    """An anchor is an inlier if it is one in most of the windows of the sequence that it is part of."""
    votes, windows = np.zeros(count), np.zeros(count)
    for one in sequence:
        votes[one.window] += one.alignment.inliers
        windows[one.window] += 1
    return Consensus(votes > 0.5 * windows, sequence)
