"""A fix that is held: anchors and followed map points join it; anchors that it refuses raise doubt in it."""

from __future__ import annotations

from collections.abc import Sequence

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import LoopClosure, Reason, Rejection, TrackedPose
from visloc_ros.fusion.anchor_fix import Fix
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.health import Evidence
from visloc_ros.fusion.initialization.alignment_search import Place
from visloc_ros.fusion.initialization.kidnapping_detection import Doubt
from visloc_ros.fusion.innovation import Innovation
from visloc_ros.fusion.odometry_model.history import Sample
from visloc_ros.fusion.odometry_model.noise_model import StateEstimate
from visloc_ros.fusion.smoothing.anchor_gate import meet
from visloc_ros.fusion.smoothing.factor_graph import FREE_SCALE_SIGMA
from visloc_ros.fusion.smoothing.factors.sensors import Sensor
from visloc_ros.fusion.smoothing.fixed_lag_smoother import FixedLagSmoother
from visloc_ros.fusion.smoothing.tracked_motion_filter import TrackedMotion


class HeldFix:
    """Where the camera is in the map, in one segment of odometry; begun where a few anchors agree on a place."""

    def __init__(self, config: FusionConfig, place: Place, sensors: Sequence[Sensor]) -> None:
        self._config = config
        scale_sigma = min(place.prior.sigma, FREE_SCALE_SIGMA)
        self._smoother = FixedLagSmoother(config, place.fixes, place.map_from_odom, scale_sigma, sensors)
        self._doubt = Doubt(config)

    @property
    def stamp_ns(self) -> int:
        """Stamp of the newest anchor's image."""
        return self._smoother.latest_fix.stamp_ns

    def at(self, sample: Sample) -> StateEstimate:
        """Estimate at any odometry sample of the segment."""
        return self._smoother.at(sample)

    def reaches(self, stamp_ns: int) -> bool:
        """Tell whether an anchor of this stamp is not too old to join."""
        return self._smoother.reaches(stamp_ns)

    def join(self, fix: Fix) -> tuple[Innovation, Place | None]:
        """Take an anchor that fits its prediction; where refused ones agree on another place instead, tell it."""
        innovation = meet(self._smoother, fix, self._config)
        if not innovation.accepted:
            return innovation, self._doubt.add(fix, innovation, self._smoother)
        self._smoother.insert(fix)
        self._doubt.dispel(fix)
        return innovation, None

    def follow(self, tracked: TrackedPose, sample: Sample) -> Innovation | Rejection:
        """Extend the trail of the anchor that the followed points come from, if they fit odometry."""
        fix = self._smoother.fix_at(tracked.anchor_stamp_ns)
        if fix is None or not fix.is_followed_by(sample):
            return Rejection(tracked.stamp_ns, Reason.STALE)
        motion, scale = TrackedMotion.of(tracked, fix.anchor, sample), self._smoother.scale_at(fix)
        innovation = fix.trail.take(motion, fix.sample, scale, self._smoother.odometry, self._config)
        return Rejection(tracked.stamp_ns, Reason.ODOMETRY_DISAGREES) if innovation is None else innovation

    def close(self, loop: LoopClosure, ends: tuple[Sample, Sample]) -> Rejection | None:
        """Take a loop between two samples, unless it began before the window or contradicts what is known."""
        if not self._smoother.reaches_back_to(loop.earlier_ns):
            return Rejection(loop.later_ns, Reason.STALE)
        squared = self._smoother.close(loop, ends)
        return None if squared is None else Rejection(loop.later_ns, Reason.ODOMETRY_DISAGREES, {"chi_square": squared})

    def evidence(self, sample: Sample, covariance: Array) -> Evidence:
        """What a pose with a covariance (6, 6) rests on at a sample."""
        newest = self._smoother.latest_fix
        travelled = self._smoother.latest_state.scale * self._smoother.path_since_anchor(sample)
        followed = self._smoother.is_followed(sample.stamp_ns, round(self._config.max_gap_s * NANOSECONDS))
        age_ns, is_doubted = sample.stamp_ns - newest.stamp_ns, self._doubt.is_serious
        checked = self._smoother.count_since(0) >= self._config.alignment.start_anchors
        return Evidence(travelled, age_ns, covariance, is_doubted, followed, checked)

    def doubt_at(self, map_from_camera: SE3) -> Array:
        """What doubt adds to the covariance (6, 6) of a pose."""
        return self._doubt.covariance_at(map_from_camera)
