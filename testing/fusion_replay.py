"""Runs the fusion on simulated runs, and measures the errors of its estimates.

Map points followed from an anchor's image on, as by map tracking, give poses without images.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from testing.fusion_runs import FusionRun
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import SE3, Array, rotation_angle_deg
from visloc_ros.core.tangent import perturbed, pose_differences
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import AnchorPose, Estimate, OdometryPose, Reason, Rejection, TrackedPose
from visloc_ros.fusion.fuser import Fuser

NUM_FOLLOWED = 60
REPROJECTION_ERROR_PX = 0.6


@dataclass(frozen=True, eq=False)
class PoseTrack:
    """``map_from_camera`` a frame: positions (N, 3), rotations (N, 3, 3), NaN where there is none."""

    positions: Array
    rotations: Array

    @staticmethod
    def of(poses: Sequence[SE3 | None]) -> PoseTrack:
        """Stack poses."""
        return PoseTrack(
            np.array([np.full(3, np.nan) if pose is None else pose.translation for pose in poses]),
            np.array([np.full((3, 3), np.nan) if pose is None else pose.rotation for pose in poses]),
        )

    def errors_of(self, other: PoseTrack) -> Array:
        """Errors (N, 6) that take the other's poses to these: metres, rotation vectors (rad); NaN where unknown."""
        errors = np.full((len(self.rotations), 6), np.nan)
        known = np.isfinite(self.rotations + other.rotations).all(axis=(1, 2))
        poses = (self.positions, self.rotations, other.positions, other.rotations)
        errors[known] = pose_differences(*(values[known] for values in poses))
        return errors


def play(
    fuser: Fuser,
    run: FusionRun,
    watch: Callable[[Estimate], None] | None = None,
    followed: FollowedPoints | None = None,
    on_accepted: Callable[[AnchorPose], None] | None = None,
) -> list[Estimate]:
    """Feed a run in the order of arrival; one estimate a frame, made as the frame comes.

    With ``followed``, map points are followed from each accepted anchor on, and enter as tracked poses.
    """
    estimates, waiting, loops = [], list(reversed(run.anchors)), {loop.later_ns: loop for loop in run.loops}
    for stamp_ns, odometry in zip(run.stamps_ns, run.odometry, strict=True):
        fuser.add_odometry(odometry)
        if stamp_ns in loops:
            fuser.add_loop(loops[stamp_ns])
        if followed is not None:
            fuser.add_tracked(followed.track(stamp_ns))
        while waiting and waiting[-1][0] <= stamp_ns:
            anchor = waiting.pop()[1]
            is_refused = isinstance(fuser.add_anchor(anchor), Rejection)
            if not is_refused and followed is not None:
                followed.restart(anchor)
            if not is_refused and on_accepted is not None:
                on_accepted(anchor)
        estimates.append(fuser.estimate(stamp_ns))
        if watch is not None:
            watch(estimates[-1])
    return estimates


def pose_errors(run: FusionRun, estimates: Sequence[Estimate]) -> Array:
    """Errors (N, 6) that take the estimates to the truth, metres and radians; NaN where there is no pose."""
    return PoseTrack.of(run.truth).errors_of(PoseTrack.of([estimate.map_from_camera for estimate in estimates]))


def whitened_errors(errors: Array, estimates: Sequence[Estimate]) -> Array:
    """Errors (N, 6) normalised by the estimates' covariances; NaN where there is none."""
    unknown = np.full((6, 6), np.nan)
    covariances = np.array([unknown if e.covariance is None else e.covariance for e in estimates])
    whitened = np.full_like(errors, np.nan)
    known = np.isfinite(errors).all(axis=1) & np.isfinite(covariances).all(axis=(1, 2))
    roots = np.linalg.cholesky(covariances[known])
    whitened[known] = np.linalg.solve(roots, errors[known][..., None])[..., 0]
    return whitened


def position_errors(run: FusionRun, estimates: Sequence[Estimate]) -> Array:
    """Distances in metres of the estimates that have a pose."""
    return np.asarray(np.linalg.norm(_known(pose_errors(run, estimates))[:, :3], axis=1))


def rotation_errors_deg(run: FusionRun, estimates: Sequence[Estimate]) -> Array:
    """Angles in degrees of the estimates that have a pose."""
    return np.asarray(np.degrees(np.linalg.norm(_known(pose_errors(run, estimates))[:, 3:], axis=1)))


def squared_errors(run: FusionRun, estimates: Sequence[Estimate]) -> Array:
    """Normalised estimation error squared (6 degrees of freedom) of the estimates that have a pose."""
    return np.asarray(np.sum(np.square(_known(whitened_errors(pose_errors(run, estimates), estimates))), axis=1))


def largest_odom_jump(run: FusionRun, estimates: Sequence[Estimate]) -> float:
    """The largest step of ``odom_from_camera`` that is not the odometry's times the scale known before it.

    Metres or radians. From one odometry segment to the next no motion is known: there the pose must stay. Steps to and
    from poses by followed map points alone, which have no scale, are left out.
    """
    jump = 0.0
    rows = [row for row, estimate in enumerate(estimates) if estimate.odom_from_camera is not None]
    for row, following in pairwise(rows):
        before, after = estimates[row].odom_from_camera, estimates[following].odom_from_camera
        by_points = any(e.map_from_odom is not None and e.scale is None for e in (estimates[row], estimates[following]))
        if before is None or after is None or by_points:
            continue
        expected = before @ _scaled_step(run.odometry[row], run.odometry[following], estimates[row].scale)
        angle = np.deg2rad(rotation_angle_deg(expected.rotation, after.rotation))
        jump = max(jump, float(np.linalg.norm(expected.translation - after.translation)), float(angle))
    return jump


def _scaled_step(a: OdometryPose | Rejection, b: OdometryPose | Rejection, scale: float | None) -> SE3:
    if isinstance(a, Rejection) or isinstance(b, Rejection) or scale is None or a.segment != b.segment:
        return SE3.identity()
    step = a.odom_from_camera.inverse @ b.odom_from_camera
    return SE3(step.rotation, scale * step.translation)


def _known(errors: Array) -> Array:
    return np.asarray(errors[np.isfinite(errors).all(axis=1)])


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
