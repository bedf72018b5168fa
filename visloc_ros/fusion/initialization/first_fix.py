"""The first fix: anchors are collected until enough of them agree on the odometry's pose in the map and its scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from visloc_ros.core.types import Reason, Rejection
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.alignment_search import AlignmentHypothesis, AlignmentSearch
from visloc_ros.fusion.initialization.pose_prior import StampedPosePrior
from visloc_ros.fusion.initialization.sim3_alignment import NO_PRIOR, ScalePrior

NEAR = np.diag(np.repeat([0.1**2, np.deg2rad(2.0) ** 2], 3))
"""Covariance (m2, rad2) between anchors that agree well enough for a search around them."""


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
        pose = newest.anchor.map_from_camera
        priors = [StampedPosePrior.from_anchor(fix).at(newest.sample) for fix in earlier]
        is_confirmed = any(prior.is_consistent_with(pose, NEAR) for prior in priors)
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
