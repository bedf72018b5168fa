"""The search for an alignment among recent anchors that are not (yet) trusted: at the start and after a kidnapping.

At the start, anchors are collected until enough of them agree on the odometry's pose in the map and its scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from visloc_ros.core.geometry import Sim3
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.types import Reason, Rejection
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.pose_prior import StampedPosePrior
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


class FirstFix:
    """The search for an alignment of one segment of odometry; ``missing`` is the reason why there is none yet.

    ``again`` after an earlier fix: for a robot under way, an uncertain scale, which the covariance shows as soon as the
    camera moves, is better than no pose.
    """

    def __init__(self, config: FusionConfig, again: bool = False) -> None:
        alignment = config.alignment
        scale_sigma = max(alignment.max_scale_sigma, alignment.max_scale_sigma_restart if again else 0.0)
        self._config = replace(config, alignment=replace(alignment, max_scale_sigma=scale_sigma))
        self._search = AlignmentSearch(self._config)
        self.missing = Reason.NO_ANCHOR

    def take(
        self, fix: AnchorFix, scale_prior: ScalePrior, pose_prior: StampedPosePrior | None
    ) -> AlignmentHypothesis | None:
        """Add an anchor; returns the alignment once it is certain. ``scale_prior`` is what other sensors measured.

        A few anchors may come from a place that looks alike: fewer than a relocation needs must fit the ``pose_prior``.
        """
        self._search.add(fix)
        hypothesis = self._find(scale_prior)
        if isinstance(hypothesis, Rejection):
            self.missing = hypothesis.reason
            return None
        if len(hypothesis.fixes) < self._config.gate.relocation_anchors and not _fits(pose_prior, hypothesis.fixes):
            self.missing = Reason.ODOMETRY_DISAGREES
            return None
        return hypothesis

    @property
    def search_prior(self) -> StampedPosePrior | None:
        """Prior of the next search: the newest anchor, once an older one is consistent with it."""
        if not self._search.candidates:
            return None
        *earlier, newest = self._search.candidates
        pose, covariance = newest.anchor.map_from_camera, newest.covariance + self._config.alignment.tolerance
        priors = [StampedPosePrior.from_anchor(fix).at(newest.sample) for fix in earlier]
        is_confirmed = any(prior.is_consistent_with(pose, covariance) for prior in priors)
        return StampedPosePrior.from_anchor(newest) if is_confirmed else None

    def _find(self, prior: ScalePrior) -> AlignmentHypothesis | Rejection:
        """The alignment by the anchors alone; where they do not determine the scale, with that of other sensors."""
        by_anchors = self._search.find()
        return (
            by_anchors if isinstance(by_anchors, AlignmentHypothesis) or prior is NO_PRIOR else self._search.find(prior)
        )


def _fits(pose_prior: StampedPosePrior | None, fixes: Sequence[AnchorFix]) -> bool:
    """Whether there is no prior, or any of these anchors is consistent with it."""
    if pose_prior is None:
        return True
    priors = [pose_prior.at(fix.sample) for fix in fixes]
    return any(
        prior.is_consistent_with(fix.anchor.map_from_camera, fix.covariance) or not prior.is_informative
        for prior, fix in zip(priors, fixes, strict=True)
    )
