"""Poses by map points followed from an anchor's image on, as by map tracking, without images."""

from __future__ import annotations

import numpy as np

from visloc_ros.core.geometry import SE3, Array
from visloc_ros.core.tangent import perturbed
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Reason, Rejection, TrackedPose
from visloc_ros.simulation.fusion_runs import FusionRun
from visloc_ros.simulation.fusion_scenario import FusionScenario

NUM_FOLLOWED = 60
REPROJECTION_ERROR_PX = 0.6


class FollowedPoints:
    """Tracked poses of a run; each keeps the error of its anchor, and adds a little, most of which frames share.

    Points are lost ``tracked_distance`` metres after their anchor, and where the odometry is lost.
    """

    def __init__(self, scenario: FusionScenario, run: FusionRun, seed: int) -> None:
        self._scenario = scenario
        self._truth = dict(zip(run.stamps_ns, run.truth, strict=True))
        self._lost = {result.stamp_ns for result in run.odometry if isinstance(result, Rejection)}
        self._rng = np.random.default_rng([seed, 1])
        self._anchor: AnchorPose | None = None
        self._lasting, self._seen_ns = np.zeros(6), 0

    def restart(self, anchor: AnchorPose) -> None:
        """Follow the points of an accepted anchor from its image on; an older one than now followed changes nothing."""
        if self._anchor is None or anchor.stamp_ns > self._anchor.stamp_ns:
            self._anchor, self._seen_ns = anchor, anchor.stamp_ns
            self._lasting = self._rng.normal(size=6)

    def track(self, stamp_ns: int) -> TrackedPose | Rejection:
        """The pose of the next frame, or why there is none."""
        if self._anchor is None or stamp_ns in self._lost:
            self._anchor = None
            return Rejection(stamp_ns, Reason.FEW_FEATURES)
        step = self._truth[self._anchor.stamp_ns].inverse @ self._truth[stamp_ns]
        if float(np.linalg.norm(step.translation)) > self._scenario.tracked_distance:
            return Rejection(stamp_ns, Reason.FEW_INLIERS)
        return self._seen(self._anchor, stamp_ns, step)

    def _seen(self, anchor: AnchorPose, stamp_ns: int, step: SE3) -> TrackedPose:
        sigmas = np.repeat([self._scenario.tracked_sigma, np.deg2rad(self._scenario.tracked_sigma_deg)], 3)
        noise = self._noise(stamp_ns) * sigmas
        pose = anchor.map_from_camera @ step
        seen = perturbed(pose, noise)
        since = np.diag(np.square(sigmas))
        covariance = anchor.covariance + since
        return TrackedPose(
            stamp_ns, seen, covariance, anchor.stamp_ns, since, NUM_FOLLOWED, NUM_FOLLOWED, REPROJECTION_ERROR_PX
        )

    def _noise(self, stamp_ns: int) -> Array:
        """Error (6,) of a frame in standard deviations: a part of that of the frame before, and an independent part."""
        seconds, self._seen_ns = (stamp_ns - self._seen_ns) / NANOSECONDS, stamp_ns
        kept, share = np.exp(-seconds / self._scenario.tracked_correlation_s), self._scenario.tracked_lasting_share
        self._lasting = kept * self._lasting + np.sqrt(1.0 - kept**2) * self._rng.normal(size=6)
        return np.asarray(np.sqrt(share) * self._lasting + np.sqrt(1.0 - share) * self._rng.normal(size=6))
