"""Which anchors of a whole segment of odometry to begin with, and where they put it.

One similarity does not fit a long path, because odometry drifts; over a dozen anchors it does. So agreement is sought
in overlapping windows, and the windows are joined by the odometry between them into the best-supported course: a place
that looks alike may win some windows, but odometry does not lead there and back. A course may still jump, as a camera
does that was carried, where enough anchors pay for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from visloc_ros.core.geometry import Array, Sim3
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.types import Rejection
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.config import AlignmentConfig, FusionConfig
from visloc_ros.fusion.initialization.sim3_alignment import (
    NO_PRIOR,
    Alignment,
    PosePair,
    ScalePrior,
    align_rivals,
    align_robust,
)
from visloc_ros.fusion.odometry_model.history import Sample
from visloc_ros.fusion.odometry_model.noise_model import CameraState, StateEstimate, pose_difference

WINDOW = 12
LARGEST_WINDOW = 48
VIEWS = 3  # windows that each anchor is part of
LOOK_BACK = 12  # windows over which a course may leave out others
SCALE_SIGMA = 0.05  # of the log scale between neighbouring windows


@dataclass(frozen=True, eq=False)
class Piece:
    """Agreement of some anchors in a window: where it is, and the odometry at its middle."""

    window: slice
    alignment: Alignment
    middle: Sample

    @property
    def support(self) -> float:
        """Anchors that agree, each counted once over all windows."""
        return float(np.sum(self.alignment.inliers)) / VIEWS

    @property
    def state(self) -> CameraState:
        """Camera and scale at the middle."""
        similarity = self.alignment.map_from_odom
        return CameraState(similarity.apply_to_pose(self.middle.odom_from_camera), float(np.log(similarity.scale)))


@dataclass(frozen=True, eq=False)
class Consensus:
    """Which of the anchors (N,) are trusted, and the similarities along the way."""

    trusted: NDArray[np.bool_]
    pieces: Sequence[Piece]

    def near(self, stamp_ns: int) -> Sim3:
        """Similarity next to a stamp."""
        nearest = min(self.pieces, key=lambda piece: abs(piece.middle.stamp_ns - stamp_ns))
        return nearest.alignment.map_from_odom


def find_consensus(fixes: Sequence[Fix], config: FusionConfig, prior: ScalePrior = NO_PRIOR) -> Consensus | Rejection:
    """Agreement of anchors in the order of their stamps, or why there is none, as ``align_robust`` says it.

    Where the camera hardly moves within a dozen anchors, windows grow until they tell the scale.
    """
    size = WINDOW
    while True:
        pieces = _slide(fixes, size, config.alignment, prior)
        if not isinstance(pieces, Rejection):
            return _consensus(len(fixes), _best_course(pieces, config))
        if size >= min(LARGEST_WINDOW, len(fixes)):
            return pieces
        size *= 2


def _slide(fixes: Sequence[Fix], size: int, config: AlignmentConfig, prior: ScalePrior) -> list[Piece] | Rejection:
    """Agreement in each window, of several places where they look alike; where none tells the scale, others do."""
    pairs, windows = [_pair(fix) for fix in fixes], _windows(len(fixes), size)
    found = [align_rivals(pairs[window], config, prior) for window in windows]
    scales = [one.map_from_odom.scale for rivals in found for one in rivals]
    if not scales:
        return _refusal([align_robust(pairs[window], config, prior) for window in windows])
    others = ScalePrior(float(np.log(np.median(scales))), SCALE_SIGMA)
    return [
        Piece(window, one, fixes[window][len(one.inliers) // 2].sample)
        for window, rivals in zip(windows, found, strict=True)
        for one in rivals or align_rivals(pairs[window], config, others)
    ]


def _refusal(tries: Sequence[Alignment | Rejection]) -> Rejection:
    return next(one for one in reversed(tries) if isinstance(one, Rejection))


def _windows(count: int, size: int) -> list[slice]:
    """Windows that overlap so that each element is in several, the last one flush with the end."""
    if count <= size:
        return [slice(0, count)]
    starts = [*range(0, count - size, size // VIEWS), count - size]
    return [slice(start, start + size) for start in starts]


def _best_course(pieces: Sequence[Piece], config: FusionConfig) -> list[Piece]:
    """The sequence of pieces with most support, less what its jumps cost."""
    totals: list[float] = []
    before: list[int | None] = []
    for index, piece in enumerate(pieces):
        total, last = 0.0, None
        for earlier in range(max(0, index - LOOK_BACK), index):
            if pieces[earlier].window == piece.window:
                continue
            jump = 0 if _leads_to(pieces[earlier], piece, config) else config.gate.relocation_anchors
            if totals[earlier] - jump > total:
                total, last = totals[earlier] - jump, earlier
        totals.append(total + piece.support)
        before.append(last)
    course: list[Piece] = []
    at: int | None = int(np.argmax(totals))
    while at is not None:
        course.append(pieces[at])
        at = before[at]
    return course[::-1]


def _leads_to(earlier: Piece, later: Piece, config: FusionConfig) -> bool:
    """Tell whether odometry leads from one piece to the other."""
    slack = _slack(config.alignment)
    carried = StateEstimate(earlier.state, slack).moved(earlier.middle.leg_to(later.middle), config.drift)
    error = pose_difference(later.state.map_from_camera, carried.state.map_from_camera)
    expected = (carried.covariance + slack)[:6, :6]
    return float(error @ np.linalg.solve(expected, error)) <= chi_square_quantile(config.gate.probability, 6)


def _slack(config: AlignmentConfig) -> Array:
    position, rotation = config.position_tolerance, np.deg2rad(config.rotation_tolerance_deg)
    return np.diag(np.square([position] * 3 + [rotation] * 3 + [SCALE_SIGMA]))


def _consensus(count: int, course: Sequence[Piece]) -> Consensus:
    """Trust what most of the pieces that see an anchor count in."""
    votes, views = np.zeros(count), np.zeros(count)
    for piece in course:
        votes[piece.window] += piece.alignment.inliers
        views[piece.window] += 1
    return Consensus(votes > 0.5 * views, course)


def _pair(fix: Fix) -> PosePair:
    anchor = fix.anchor
    return PosePair(
        fix.stamp_ns, anchor.map_from_camera, fix.sample.odom_from_camera, fix.covariance, anchor.num_inliers
    )
