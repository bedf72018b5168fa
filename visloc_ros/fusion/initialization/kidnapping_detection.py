"""Kidnapping detection: refused anchors that contradict the alignment, and the other alignment that they agree on.

A wrong anchor seldom has a low risk, and map tracking goes on after it. So while no map point is tracked, a single
anchor of low risk contradicts the alignment, and a few of them that agree replace it. Of other anchors more are
needed.
"""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Rejection
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.initialization.alignment_search import AlignmentHypothesis, AlignmentSearch
from visloc_ros.fusion.initialization.sim3_alignment import ScalePrior
from visloc_ros.fusion.innovation import Innovation
from visloc_ros.fusion.smoothing.fixed_lag_smoother import FixedLagSmoother

NOISE_FACTOR = 2.0  # by which an anchor may be noisier than its covariance before it counts as a contradiction
CONTRADICTING_ANCHORS = 3  # refused in a row: more than make a first fix, because others have been accepted
CONTRADICTING_RISK = 0.01  # of an anchor that contradicts by itself, without any sign of an error
OTHER_AXES = 1e-6  # of the distance, a sigma along all axes: so that rounding makes no eigenvalue of the sum negative
RELOCATION_SCALE_SIGMA = 0.1  # relative; a scale that was learnt in a wrong place is seldom farther off


class KidnappingDetector:
    """Refused anchors since an alignment began; ``is_suspected`` once they contradict it more than chance would."""

    def __init__(self, config: FusionConfig) -> None:
        self._gate = config.gate
        self._max_gap_ns = round(config.max_gap_s * NANOSECONDS)
        self._search = AlignmentSearch(config)
        self._refused_in_a_row = 0
        self._newest_refused_ns = 0
        self._map_from_map: SE3 | None = None  # the kidnapping, if the newest refused anchor is right

    @property
    def is_suspected(self) -> bool:
        """Whether the camera may well be elsewhere."""
        return self._map_from_map is not None

    def covariance_at(self, map_from_camera: SE3) -> Array:
        """Covariance (6, 6) to add to a pose, so that the pose of the newest refused anchor is one sigma away."""
        if self._map_from_map is None:
            return np.zeros((6, 6))
        error = pose_difference(self._map_from_map @ map_from_camera, map_from_camera)
        return np.outer(error, error) + (OTHER_AXES * np.linalg.norm(error)) ** 2 * np.eye(6)

    def note_accepted(self, fix: AnchorFix) -> None:
        """End the suspicion after an accepted anchor, unless a refused one is newer."""
        if fix.stamp_ns > self._newest_refused_ns:
            self._refused_in_a_row, self._map_from_map = 0, None

    def note_refused(
        self, fix: AnchorFix, innovation: Innovation, smoother: FixedLagSmoother
    ) -> AlignmentHypothesis | None:
        """Add a refused anchor; returns the other alignment once enough refused anchors agree on it.

        Kidnapping, slipped odometry and a first fix at the wrong place all end like this.
        """
        self._refused_in_a_row += 1
        self._newest_refused_ns = max(self._newest_refused_ns, fix.stamp_ns)
        self._search.add(fix)
        # The scale stays, less certain, where the alignment may be wrong.
        scale = ScalePrior(smoother.latest_state.log_scale, RELOCATION_SCALE_SIGMA)
        in_a_row = self._refused_in_a_row >= CONTRADICTING_ANCHORS
        is_confirmed = self._search.is_confirmed(fix, smoother.latest_fix.stamp_ns, scale, smoother.odometry)
        is_strong = self._is_strong_contradiction(fix, innovation, smoother)
        if self.is_suspected or in_a_row or is_confirmed or is_strong:
            predicted = smoother.at(fix.sample).state.map_from_camera
            self._map_from_map = fix.anchor.map_from_camera @ predicted.inverse
        hypothesis = self._search.find(scale)
        if isinstance(hypothesis, Rejection) or not self._has_majority(hypothesis, fix, smoother):
            return None
        return hypothesis

    def _is_strong_contradiction(self, fix: AnchorFix, innovation: Innovation, smoother: FixedLagSmoother) -> bool:
        """Whether a refused anchor has a low risk and is farther off than noise explains."""
        is_far = innovation.squared > NOISE_FACTOR**2 * chi_square_quantile(self._gate.probability, 6)
        return is_far and self._is_clear(fix, smoother)

    def _is_clear(self, fix: AnchorFix, smoother: FixedLagSmoother) -> bool:
        """Whether an anchor has a low risk, and no map point was tracked into its image."""
        return fix.risk <= CONTRADICTING_RISK and not smoother.is_tracked(fix.stamp_ns, self._max_gap_ns)

    def _has_majority(self, hypothesis: AlignmentHypothesis, fix: AnchorFix, smoother: FixedLagSmoother) -> bool:
        """Whether the anchors that agree on another alignment, the newest included, outnumber those accepted meanwhile.

        A few suffice if they have a low risk and no anchor was accepted meanwhile.
        """
        accepted = smoother.count_since(hypothesis.fixes[0].stamp_ns)
        supported = sum(self._is_clear(one, smoother) for one in hypothesis.fixes)
        is_clear = accepted == 0 and supported >= CONTRADICTING_ANCHORS
        is_enough = is_clear or len(hypothesis.fixes) >= self._gate.relocation_anchors + accepted
        return fix in hypothesis.fixes and is_enough
