"""Scores of one simulated run: errors of the fusion and of the baselines, consistency, jumps, outliers accepted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.fusion.baselines import Fit, align_causally, last, rigid, single, without_outliers
from testing.fusion_replay import (
    FollowedPoints,
    PoseTrack,
    largest_odom_jump,
    play,
    pose_errors,
    whitened_errors,
)
from testing.fusion_runs import FusionRun, simulate_run
from testing.fusion_scenario import FusionScenario
from visloc_ros.core.geometry import Array
from visloc_ros.core.trajectory import NANOSECONDS
from visloc_ros.core.types import Estimate, State
from visloc_ros.fusion.config import FusionConfig
from visloc_ros.fusion.fuser import Fuser

FUSED = "fuser"
PIECES = (5, 10, 20)
BASELINES: Mapping[str, Fit] = {
    "single Umeyama": single,
    **{f"piecewise Umeyama, {window}": last(window) for window in PIECES},
    "SE3 only, 10": rigid(10),
}
DIVERGED_M = 1.0
DIVERGED_SIGMAS = 10.0


@dataclass(frozen=True, eq=False)
class MethodErrors:
    """Errors a frame (N,), NaN without a pose: metres, degrees."""

    position: Array
    rotation_deg: Array

    @staticmethod
    def of(errors: Array) -> MethodErrors:
        """From errors (N, 6) in metres and radians."""
        return MethodErrors(np.linalg.norm(errors[:, :3], axis=1), np.degrees(np.linalg.norm(errors[:, 3:], axis=1)))


@dataclass(frozen=True, eq=False)
class RunScore:
    """One run by all methods; what follows ``methods`` is of the fusion alone.

    ``whitened`` (N, 6) are errors in units of what the covariance expects. ``first_fix_s`` is NaN where there never was
    one. ``odom_jump`` is the largest step of ``odom_from_camera`` beyond the odometry's, scaled, in metres or radians.
    ``diverged``: a LOCALIZED frame is more than a metre off, or more than ten of its standard deviations.
    Shares are of the anchors that came: outliers that were accepted, inliers that were rejected.
    """

    methods: Mapping[str, MethodErrors]
    seconds: Array
    localized: NDArray[np.bool_]
    whitened: Array
    diverged: bool
    first_fix_s: float
    odom_jump: float
    scale_error: float
    accepted_outlier_share: float
    rejected_inlier_share: float


def score(scenario: FusionScenario, seed: int, config: FusionConfig | None = None) -> RunScore:
    """Simulate a run, and estimate it by all methods. Baselines know which anchors are outliers; the fuser does not."""
    run, accepted = simulate_run(scenario, seed), set[int]()
    followed = FollowedPoints(scenario, run, seed) if scenario.tracked else None
    fuser = Fuser(config or FusionConfig(), metric=True)
    estimates = play(fuser, run, followed=followed, on_accepted=lambda anchor: accepted.add(anchor.stamp_ns))
    return score_estimates(run, estimates, accepted)


def score_estimates(run: FusionRun, estimates: Sequence[Estimate], accepted: Set[int]) -> RunScore:
    """Compare a run's estimates with the truth and with the baselines; ``accepted`` are stamps of anchors."""
    errors = pose_errors(run, estimates)
    fused, whitened = MethodErrors.of(errors), whitened_errors(errors, estimates)
    seconds = (np.array(run.stamps_ns) - run.stamps_ns[0]) / NANOSECONDS
    localized = np.array([estimate.state is State.LOCALIZED for estimate in estimates])
    come = {anchor.stamp_ns for arrival, anchor in run.anchors if arrival <= run.stamps_ns[-1]}
    outliers, inliers = come & run.outliers, come - run.outliers
    return RunScore(
        methods={FUSED: fused, **_baseline_errors(run)},
        seconds=seconds,
        localized=localized,
        whitened=whitened,
        diverged=_has_diverged(fused.position, whitened, localized),
        first_fix_s=next(iter(seconds[np.isfinite(fused.position)].tolist()), np.nan),
        odom_jump=largest_odom_jump(run, estimates),
        scale_error=_scale_error(run, estimates),
        accepted_outlier_share=len(outliers & accepted) / max(len(outliers), 1),
        rejected_inlier_share=len(inliers - accepted) / max(len(inliers), 1),
    )


def _baseline_errors(run: FusionRun) -> dict[str, MethodErrors]:
    known, truth = without_outliers(run), PoseTrack.of(run.truth)
    return {name: MethodErrors.of(truth.errors_of(align_causally(known, fit))) for name, fit in BASELINES.items()}


def _has_diverged(distances: Array, whitened: Array, localized: NDArray[np.bool_]) -> bool:
    """Whether any LOCALIZED frame is more than a metre off, or more than ten of its standard deviations.

    Whitening by a lower triangle leaves the first three errors to the position alone.
    """
    sigmas = np.linalg.norm(whitened[:, :3], axis=1)
    return bool(np.any(localized & ((distances > DIVERGED_M) | (sigmas > DIVERGED_SIGMAS))))


def _scale_error(run: FusionRun, estimates: Sequence[Estimate]) -> float:
    """Relative error of the last scale; NaN where none is estimated."""
    known = [row for row, estimate in enumerate(estimates) if estimate.scale is not None]
    if not known:
        return np.nan
    last_scale = estimates[known[-1]].scale
    return float(abs((last_scale or np.nan) / run.scales[known[-1]] - 1.0))
