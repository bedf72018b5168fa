"""The search for an alignment among recent anchors that are not (yet) trusted: at the start and after a kidnapping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Sim3
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import Rejection
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.sim3_alignment import NO_PRIOR, PosePair, ScalePrior, align_robust
from visloc_ros.fusion.odometry_model.noise_model import CameraState, OdometryModel, StateEstimate

MAX_CANDIDATES = 12  # every two of them make a hypothesis: 66 at most


@dataclass(frozen=True, eq=False)
class AlignmentHypothesis:
    """Agreeing anchors in the order of their stamps, their common similarity, and the scale prior it used."""

    fixes: Sequence[AnchorFix]
    map_from_odom: Sim3
    prior: ScalePrior


class AlignmentSearch:
    """A buffer of candidate anchors, in the order of their stamps."""

    def __init__(self, config: FusionConfig) -> None:
        self._config = config
        self._candidates: list[AnchorFix] = []

    @property
    def candidates(self) -> Sequence[AnchorFix]:
        """The anchors in the buffer."""
        return self._candidates

    def add(self, fix: AnchorFix) -> None:
        """Add an anchor; the oldest leaves a full buffer."""
        self._candidates = sorted([*self._candidates, fix], key=lambda known: known.stamp_ns)
        self._candidates = self._candidates[-MAX_CANDIDATES:]

    def find(self, prior: ScalePrior = NO_PRIOR) -> AlignmentHypothesis | Rejection:
        """The alignment of the largest set of candidates that agree, or the reason why there is none."""
        found = align_robust([PosePair.from_fix(fix) for fix in self._candidates], self._config.alignment, prior)
        if isinstance(found, Rejection):
            return found
        agreeing = [fix for fix, good in zip(self._candidates, found.inliers, strict=True) if good]
        return AlignmentHypothesis(agreeing, found.map_from_odom, prior)

    def is_confirmed(self, fix: AnchorFix, since_ns: int, scale: ScalePrior, odometry: OdometryModel) -> bool:
        """Whether another candidate, newer than a stamp, agrees with this one on the camera's pose."""
        others = [known for known in self._candidates if known is not fix and known.stamp_ns > since_ns]
        return any(self._agree(other, fix, scale, odometry) for other in others)

    def _agree(self, other: AnchorFix, fix: AnchorFix, scale: ScalePrior, odometry: OdometryModel) -> bool:
        covariance = np.zeros((7, 7))
        covariance[:6, :6], covariance[6, 6] = other.covariance, scale.sigma**2
        start = StateEstimate(CameraState(other.anchor.map_from_camera, scale.log_scale), covariance)
        expected = odometry.propagate(start, other.sample.motion_to(fix.sample))
        error = pose_difference(fix.anchor.map_from_camera, expected.state.map_from_camera)
        squared = error @ np.linalg.solve(expected.covariance[:6, :6] + fix.covariance, error)
        return bool(squared <= chi_square_quantile(self._config.gate.probability, 6))
