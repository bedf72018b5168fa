"""Doubt in a fix: anchors that it refuses, what they say about it, and where they would rather have the camera.

A wrong anchor rests on few inliers, and does not end the following of map points. So one that is as well supported as
those accepted before it, while no point is followed any more, speaks of a moved camera at once, and a few of them that
agree are enough to move the fix. Others must be several.
"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Rejection
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.alignment_search import Place, PlaceSearch
from visloc_ros.fusion.initialization.sim3_alignment import ScalePrior
from visloc_ros.fusion.innovation import Innovation
from visloc_ros.fusion.odometry_model.noise_model import pose_difference
from visloc_ros.fusion.smoothing.fixed_lag_smoother import FixedLagSmoother

NOISE_FACTOR = 2.0  # by which an anchor may be noisier than it claims before it speaks of another place


class Doubt:
    """Refused anchors since a fix began; ``is_serious`` once they contradict the fix more than chance would."""

    def __init__(self, config: FusionConfig) -> None:
        self._gate = config.gate
        self._start_anchors = config.alignment.start_anchors
        self._max_gap_ns = round(config.max_gap_s * NANOSECONDS)
        self._search = PlaceSearch(config)
        self._refused_in_a_row = 0
        self._newest_refused_ns = 0
        self._map_from_map: SE3 | None = None  # how the camera was moved if the newest refused anchor is right

    @property
    def is_serious(self) -> bool:
        """Whether the camera may well be elsewhere."""
        return self._map_from_map is not None

    def covariance_at(self, map_from_camera: SE3) -> Array:
        """What it adds to the covariance (6, 6) of a pose: where the newest refused anchor has it is one sigma away."""
        if self._map_from_map is None:
            return np.zeros((6, 6))
        error = pose_difference(self._map_from_map @ map_from_camera, map_from_camera)
        return np.outer(error, error)

    def dispel(self, fix: Fix) -> None:
        """An anchor was accepted: the camera was still there, unless others that were refused are newer."""
        if fix.stamp_ns > self._newest_refused_ns:
            self._refused_in_a_row, self._map_from_map = 0, None

    def add(self, fix: Fix, innovation: Innovation, smoother: FixedLagSmoother) -> Place | None:
        """An anchor was refused; the place to move to where enough of them agree.

        Such as a kidnapped camera, slipped odometry, or a start at the wrong place leave behind.
        """
        self._refused_in_a_row += 1
        self._newest_refused_ns = max(self._newest_refused_ns, fix.stamp_ns)
        self._search.remember(fix)
        # What is left of the scale where the fix may be wrong.
        scale = ScalePrior(smoother.latest_state.log_scale, self._gate.relocation_scale_sigma)
        in_a_row = self._refused_in_a_row >= self._gate.doubt_anchors
        borne_out = self._search.bears_out(fix, smoother.latest_fix.stamp_ns, scale, smoother.odometry)
        alone = self._speaks_for_itself(fix, innovation, smoother)
        if self.is_serious or in_a_row or borne_out or alone:
            predicted = smoother.at(fix.sample).state.map_from_camera
            self._map_from_map = fix.anchor.map_from_camera @ predicted.inverse
        place = self._search.find(scale)
        return None if isinstance(place, Rejection) or not self._outweighs(place, fix, smoother) else place

    def _speaks_for_itself(self, fix: Fix, innovation: Innovation, smoother: FixedLagSmoother) -> bool:
        """Whether a refused anchor is as good as the accepted ones, too far off for noise, and nothing is followed."""
        is_far = innovation.squared > NOISE_FACTOR**2 * chi_square_quantile(self._gate.probability, 6)
        return is_far and self._is_free(fix, smoother)

    def _is_free(self, fix: Fix, smoother: FixedLagSmoother) -> bool:
        """Whether an anchor is as well supported as the accepted ones, and nothing was followed into its image."""
        is_supported = fix.anchor.num_inliers >= self._gate.doubt_inliers * smoother.usual_inliers
        return is_supported and not smoother.is_followed(fix.stamp_ns, self._max_gap_ns)

    def _outweighs(self, place: Place, fix: Fix, smoother: FixedLagSmoother) -> bool:
        """Whether enough anchors agree on another place, the newest of them included, for those since the first.

        Of those that are as good as the accepted ones as many as at a start suffice, if nothing speaks against them.
        """
        contradicting = smoother.count_since(place.fixes[0].stamp_ns)
        good = sum(self._is_free(one, smoother) for one in place.fixes)
        is_clear = contradicting == 0 and good >= self._start_anchors
        is_enough = is_clear or len(place.fixes) >= self._gate.relocation_anchors + contradicting
        return fix in place.fixes and is_enough
