"""The alignment in use: a smoother that anchors, tracked poses and loops update, watched by kidnapping detection.

Anchors pass a gate: a chi-square test against the pose that the smoother predicts for their image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.statistics import chi_square_quantile
from visloc_ros.core.tangent import pose_difference
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import ACCEPTED, LoopClosure, Reason, Rejection, TrackedPose, Verdict
from visloc_ros.fusion.anchor_fix import AnchorFix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.health import PoseSupport
from visloc_ros.fusion.initialization.alignment_search import AlignmentHypothesis
from visloc_ros.fusion.initialization.kidnapping_detection import NOISE_FACTOR, KidnappingDetector
from visloc_ros.fusion.innovation import ANCHOR, Innovation
from visloc_ros.fusion.odometry_model.history import OdometrySample, RelativeMotion
from visloc_ros.fusion.odometry_model.noise_model import StateEstimate
from visloc_ros.fusion.smoothing.factors.sensors import SensorFactors
from visloc_ros.fusion.smoothing.fixed_lag_smoother import FixedLagSmoother
from visloc_ros.fusion.smoothing.states import FREE_SCALE_SIGMA
from visloc_ros.fusion.smoothing.tracked_motion_filter import TrackedMotion

CONFIRMING_ANCHORS = 3  # one more than the least that make a first fix


class ActiveAlignment:
    """The alignment of one segment of odometry to the map; it starts from a few anchors that agree."""

    def __init__(self, config: FusionConfig, hypothesis: AlignmentHypothesis, sensors: Sequence[SensorFactors]) -> None:
        self._config = config
        scale_sigma = min(hypothesis.prior.sigma, FREE_SCALE_SIGMA)
        self._smoother = FixedLagSmoother(config, hypothesis.fixes, hypothesis.map_from_odom, scale_sigma, sensors)
        self._detector = KidnappingDetector(config)

    @property
    def stamp_ns(self) -> int:
        """Stamp of the newest anchor's image."""
        return self._smoother.latest_fix.stamp_ns

    @property
    def anchor_probability(self) -> float | None:
        """Probability that the newest anchor is right, as it reports; None where it reports none."""
        return self._smoother.latest_fix.anchor.probability

    def at(self, sample: OdometrySample) -> StateEstimate:
        """Estimate at any odometry sample of the segment."""
        return self._smoother.at(sample)

    def motion_covariance(self, start: StateEstimate, motion: RelativeMotion) -> Array:
        """Covariance (6, 6) of a motion by odometry: its noise, and the scale's as at the start."""
        scale_alone = np.zeros((7, 7))
        scale_alone[6, 6] = start.covariance[6, 6]
        end = self._smoother.odometry.propagate(StateEstimate(start.state, scale_alone), motion)
        return end.covariance[:6, :6]

    def reaches(self, stamp_ns: int) -> bool:
        """Whether an anchor of this stamp is not older than the smoother's window."""
        return self._smoother.reaches(stamp_ns)

    def add_anchor(self, fix: AnchorFix) -> tuple[Innovation, AlignmentHypothesis | None]:
        """Add an anchor that passes the gate; refused ones may agree on another alignment, which is returned."""
        innovation = innovation_of(self._smoother, fix, self._config)
        if not innovation.accepted:
            return innovation, self._detector.note_refused(fix, innovation, self._smoother)
        self._smoother.add_anchor(fix)
        self._detector.note_accepted(fix)
        return innovation, None

    def add_tracked(self, tracked: TrackedPose, sample: OdometrySample) -> Innovation | Rejection:
        """Add a tracked pose to the filter of the anchor whose points are tracked, if it fits odometry."""
        fix = self._smoother.fix_at(tracked.anchor_stamp_ns)
        if fix is None or not fix.precedes(sample):
            return Rejection(tracked.stamp_ns, Reason.STALE)
        motion, scale = TrackedMotion.of(tracked, fix.anchor, sample), self._smoother.scale_at(fix)
        innovation = fix.tracked_motion.add(motion, fix.sample, scale, self._smoother.odometry, self._config)
        return Rejection(tracked.stamp_ns, Reason.ODOMETRY_DISAGREES) if innovation is None else innovation

    def is_refuted_by(self, tracked: Innovation) -> bool:
        """Whether a refused tracked pose is far from a first fix that no further anchor has confirmed.

        Two anchors fit any scale: where odometry has changed its own between them, all that comes after is wrong.
        """
        is_far = tracked.squared > NOISE_FACTOR**2 * chi_square_quantile(self._config.gate.probability, 6)
        return is_far and not self._is_confirmed

    @property
    def _is_confirmed(self) -> bool:
        return self._smoother.count_since(0) >= CONFIRMING_ANCHORS

    def add_loop(self, loop: LoopClosure, ends: tuple[OdometrySample, OdometrySample]) -> Verdict:
        """Add a loop between two samples, unless it begins before the window or fails the gate."""
        if not self._smoother.covers(loop.earlier_ns):
            return Rejection(loop.later_ns, Reason.STALE)
        squared = self._smoother.add_loop(loop, ends)
        if squared is None:
            return ACCEPTED
        return Rejection(loop.later_ns, Reason.ODOMETRY_DISAGREES, {"chi_square": squared})

    def support_at(self, sample: OdometrySample, covariance: Array) -> PoseSupport:
        """The health of a pose with a covariance (6, 6) at a sample."""
        newest = self._smoother.latest_fix
        distance = self._smoother.latest_state.scale * self._smoother.path_since_anchor(sample)
        is_tracked = self._smoother.is_tracked(sample.stamp_ns, round(self._config.max_gap_s * NANOSECONDS))
        age_ns, is_contradicted = sample.stamp_ns - newest.stamp_ns, self._detector.is_suspected
        return PoseSupport(distance, age_ns, covariance, is_contradicted, is_tracked, self._is_confirmed)

    def kidnapping_covariance(self, map_from_camera: SE3) -> Array:
        """The term that a suspected kidnapping adds to the covariance (6, 6) of a pose."""
        return self._detector.covariance_at(map_from_camera)


def innovation_of(smoother: FixedLagSmoother, fix: AnchorFix, config: FusionConfig) -> Innovation:
    """The innovation of an anchor, gated with the tolerances of the alignment added to its covariance."""
    predicted = smoother.at(fix.sample)
    error = pose_difference(fix.anchor.map_from_camera, predicted.state.map_from_camera)
    covariance = predicted.covariance[:6, :6] + smoother.variance_components.anchors.inflate(fix.covariance)
    squared = float(error @ np.linalg.solve(covariance + config.alignment.tolerance, error))
    accepted = squared <= chi_square_quantile(config.gate.probability, 6)
    return Innovation(fix.stamp_ns, ANCHOR, error, covariance, accepted)


def refusal(fix: AnchorFix, innovation: Innovation) -> Rejection:
    """The rejection of an anchor outside the gate, with its distance in map units and its angle."""
    distance = float(np.linalg.norm(innovation.error[:3]))
    angle_deg = float(np.degrees(np.linalg.norm(innovation.error[3:])))
    counts = {"chi_square": innovation.squared, "distance": distance, "angle_deg": angle_deg}
    return Rejection(fix.stamp_ns, Reason.ODOMETRY_DISAGREES, counts)
