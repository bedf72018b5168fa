"""The first fix: anchors are gathered until enough of them agree on a place and tell the scale of the odometry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from visloc_ros.core.types import Reason, Rejection
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.alignment_search import Place, PlaceSearch
from visloc_ros.fusion.initialization.pose_prior import Hint
from visloc_ros.fusion.initialization.sim3_alignment import NO_PRIOR, ScalePrior

NEAR = np.diag(np.repeat([0.1**2, np.deg2rad(2.0) ** 2], 3))
"""Covariance (m2, rad2) between anchors that agree well enough for a search around them."""


class FirstFix:
    """The search for a fix in one segment of odometry; ``missing`` tells what it lacks.

    ``again`` where there was a fix before: then a robot is under way, and an uncertain scale, which shows in the
    covariance as soon as the camera moves, serves it better than no pose.
    """

    def __init__(self, config: FusionConfig, again: bool = False) -> None:
        alignment = config.alignment
        scale_sigma = max(alignment.max_scale_sigma, alignment.max_scale_sigma_again if again else 0.0)
        self._config = replace(config, alignment=replace(alignment, max_scale_sigma=scale_sigma))
        self._search = PlaceSearch(self._config)
        self.missing = Reason.SCALE_UNSET

    def take(self, fix: Fix, prior: ScalePrior, hint: Hint | None) -> Place | None:
        """Keep an anchor; the place once it is sure. ``prior`` is what other sensors know of the scale.

        Fewer anchors than a relocation needs may come from a place that looks alike: a hint must allow for them.
        """
        self._search.remember(fix)
        place = self._find(prior)
        if isinstance(place, Rejection):
            self.missing = place.reason
            return None
        if len(place.fixes) < self._config.gate.relocation_anchors and not _allowed_by(hint, place.fixes):
            self.missing = Reason.ODOMETRY_DISAGREES
            return None
        return place

    @property
    def expected(self) -> Hint | None:
        """Where to look next: at the newest anchor, once an older one, turned as odometry says, allows for it."""
        if not self._search.candidates:
            return None
        *earlier, newest = self._search.candidates
        pose = newest.anchor.map_from_camera
        is_borne_out = any(Hint.of_fix(fix).at(newest.sample).allows(pose, NEAR) for fix in earlier)
        return Hint.of_fix(newest) if is_borne_out else None

    def _find(self, prior: ScalePrior) -> Place | Rejection:
        """Where the candidates put the odometry; where they do not tell the scale, with that of other sensors."""
        unaided = self._search.find()
        return unaided if isinstance(unaided, Place) or prior is NO_PRIOR else self._search.find(prior)


def _allowed_by(hint: Hint | None, fixes: Sequence[Fix]) -> bool:
    """Whether a hint, if there is one, bears out that these anchors are not from a place that looks alike."""
    if hint is None:
        return True
    beliefs = [hint.at(fix.sample) for fix in fixes]
    return any(
        belief.allows(fix.anchor.map_from_camera, fix.covariance) or not belief.is_worth_something
        for belief, fix in zip(beliefs, fixes, strict=True)
    )
