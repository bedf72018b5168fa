"""Anchors that are not, or not yet, believed: do they agree on a place? To start, and to find a moved camera again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from visloc_ros.core.geometry import Sim3
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.types import Rejection
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.sim3_alignment import NO_PRIOR, PosePair, ScalePrior, align_robust
from visloc_ros.fusion.odometry_model.noise_model import CameraState, OdometryModel, StateEstimate, pose_difference


@dataclass(frozen=True, eq=False)
class Place:
    """Anchors that agree, in the order of their stamps, where they put the odometry, and what told its scale."""

    fixes: Sequence[Fix]
    map_from_odom: Sim3
    prior: ScalePrior


class PlaceSearch:
    """The newest candidates, in the order of their stamps."""

    def __init__(self, config: FusionConfig) -> None:
        self._config = config
        self._candidates: list[Fix] = []

    @property
    def candidates(self) -> Sequence[Fix]:
        """The anchors that are remembered."""
        return self._candidates

    def remember(self, fix: Fix) -> None:
        """Keep an anchor; the oldest of too many is forgotten."""
        self._candidates = sorted([*self._candidates, fix], key=lambda known: known.stamp_ns)
        self._candidates = self._candidates[-self._config.alignment.max_candidates :]

    def find(self, prior: ScalePrior = NO_PRIOR) -> Place | Rejection:
        """The place that the largest agreeing set bears out, or why there is none."""
        found = align_robust([_pair(fix) for fix in self._candidates], self._config.alignment, prior)
        if isinstance(found, Rejection):
            return found
        agreeing = [fix for fix, good in zip(self._candidates, found.inliers, strict=True) if good]
        return Place(agreeing, found.map_from_odom, prior)

    def bears_out(self, fix: Fix, since_ns: int, scale: ScalePrior, odometry: OdometryModel) -> bool:
        """Tell whether another candidate, newer than a stamp, puts the camera where this one does."""
        others = [known for known in self._candidates if known is not fix and known.stamp_ns > since_ns]
        return any(self._agree(other, fix, scale, odometry) for other in others)

    def _agree(self, other: Fix, fix: Fix, scale: ScalePrior, odometry: OdometryModel) -> bool:
        covariance = np.zeros((7, 7))
        covariance[:6, :6], covariance[6, 6] = other.covariance, scale.sigma**2
        start = StateEstimate(CameraState(other.anchor.map_from_camera, scale.log_scale), covariance)
        expected = odometry.carry(start, other.sample.leg_to(fix.sample))
        error = pose_difference(fix.anchor.map_from_camera, expected.state.map_from_camera)
        squared = error @ np.linalg.solve(expected.covariance[:6, :6] + fix.covariance, error)
        return bool(squared <= chi_square_quantile(self._config.gate.probability, 6))


def _pair(fix: Fix) -> PosePair:
    return PosePair(
        fix.stamp_ns,
        fix.anchor.map_from_camera,
        fix.sample.odom_from_camera,
        fix.covariance,
        fix.anchor.num_inliers,
    )
