"""Baselines, scores and summaries of simulated fusion runs."""

from dataclasses import replace

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.types import Estimate, OdometryPose, State
from visloc_ros.evaluation.fusion_baselines import align_causally, last, rigid, single, without_wrong_anchors
from visloc_ros.evaluation.fusion_plots import draw_distributions, draw_runs, pooled_errors
from visloc_ros.evaluation.fusion_replay import PoseTrack, whitened_errors
from visloc_ros.evaluation.fusion_scores import BASELINES, FUSED, largest_odom_jump, score
from visloc_ros.evaluation.fusion_summary import autocorrelation, frames_alike, judge_honesty, summarise_runs
from visloc_ros.simulation.fusion_runs import simulate_run
from visloc_ros.simulation.fusion_scenario import FusionScenario

EXACT = FusionScenario(
    duration_s=15.0,
    rate_hz=5.0,
    position_drift=0.0,
    rotation_drift_deg=0.0,
    scale_drift=0.0,
    turning_misjudged=0.0,
    anchor_sigma=0.0,
    anchor_sigma_deg=0.0,
)
DRIFTING = replace(EXACT, scale_drift=0.05, rotation_drift_deg=1.0, duration_s=60.0, anchor_sigma=0.01)


def errors_of(run, fit):
    return PoseTrack.of(run.truth).errors_of(align_causally(run, fit))


@pytest.mark.parametrize("fit", [single, last(5), rigid(5)])
def test_without_noise_every_alignment_is_exact_from_the_third_anchor_on(fit):
    run = simulate_run(replace(EXACT, losses=((7.0, 1.0),)), 0)
    errors = errors_of(run, fit)
    third = run.stamps_ns.index(run.anchors[2][0])
    assert not np.isfinite(errors[:third]).any()
    assert np.isfinite(errors[third:35]).all()
    assert not np.isfinite(errors[35:50]).any()
    assert np.isfinite(errors[-1]).all()
    assert np.nanmax(np.abs(errors)) < 1e-6


def test_alignments_know_only_the_anchors_that_have_come():
    run = simulate_run(replace(DRIFTING, delay_s=(3.0, 3.0)), 1)
    truncated = replace(run, anchors=[(t, a) for t, a in run.anchors if t <= run.stamps_ns[150]])
    whole, part = align_causally(run, single).positions, align_causally(truncated, single).positions
    np.testing.assert_array_equal(whole[:151], part[:151])
    assert np.abs(whole[200] - part[200]).max() > 1e-6


def test_pieces_follow_drift_that_one_similarity_cannot():
    run = simulate_run(DRIFTING, 2)
    whole, pieces = (np.nanmedian(np.linalg.norm(errors_of(run, fit)[:, :3], axis=1)) for fit in (single, last(5)))
    assert pieces < 0.6 * whole


def test_a_rigid_alignment_keeps_its_first_scale():
    run = simulate_run(replace(EXACT, scale_drift=0.05, duration_s=40.0), 3)
    track = align_causally(run, rigid(5))
    seen = np.array([pose.odom_from_camera.translation for pose in run.odometry])
    posed = np.flatnonzero(np.isfinite(track.positions[:, 0]))[60:]
    steps = np.linalg.norm(np.diff(track.positions[posed], axis=0), axis=1)
    scales = steps / np.linalg.norm(np.diff(seen[posed], axis=0), axis=1)
    assert np.median(np.abs(scales / np.median(scales) - 1.0)) < 1e-9


def test_anchors_from_one_spot_raise_nothing():
    run = simulate_run(replace(EXACT, path="still"), 0)
    spot = [replace(o, odom_from_camera=SE3.identity()) for o in run.odometry]
    assert not np.isfinite(align_causally(replace(run, odometry=spot), single).positions).any()


def test_wrong_anchors_are_withheld():
    run = simulate_run(replace(EXACT, outlier_share=0.4, duration_s=40.0), 0)
    assert run.wrong
    assert np.nanmax(np.abs(errors_of(run, single))) > 0.1
    assert np.nanmax(np.abs(errors_of(without_wrong_anchors(run), single))) < 1e-6


def test_a_perfect_run_has_a_perfect_score():
    result = score(EXACT, 0)
    assert set(result.methods) == {FUSED, *BASELINES}
    assert np.nanmax(result.methods[FUSED].position) < 1e-6
    assert not result.diverged
    assert result.first_fix_s == pytest.approx(3.5, abs=1.1)
    assert result.odom_jump < 1e-9
    assert result.scale_error < 1e-6
    assert (result.wrong_share, result.whitened.shape) == (0.0, (75, 6))


def estimates_of(run):
    """Estimates whose odom is the truth, and whose map is, too."""
    covariance = np.eye(6)
    return [
        Estimate(stamp, State.LOCALIZED, None, SE3.identity(), pose, covariance, scale=scale, metric=True)
        for stamp, pose, scale in zip(run.stamps_ns, run.truth, run.scales, strict=True)
    ]


def test_a_jump_of_odom_is_found_and_a_scaled_increment_is_none():
    run = simulate_run(EXACT, 0)
    estimates = estimates_of(run)
    assert largest_odom_jump(run, estimates) < 1e-9
    shift = SE3(np.eye(3), np.array([0.0, 0.02, 0.0]))
    moved = [*estimates[:40], *(replace(e, odom_from_camera=shift @ e.odom_from_camera) for e in estimates[40:])]
    assert largest_odom_jump(run, moved) == pytest.approx(0.02)
    turn = SE3(rotation_matrix([0.0, 0.0, 0.03]), np.zeros(3))
    turned = [*estimates[:-1], replace(estimates[-1], odom_from_camera=estimates[-1].odom_from_camera @ turn)]
    assert largest_odom_jump(run, turned) == pytest.approx(0.03)


def test_from_one_segment_to_the_next_odom_must_stay():
    run = simulate_run(replace(EXACT, losses=((7.0, 1.0),)), 0)
    estimates = [
        e if isinstance(o, OdometryPose) else replace(e, odom_from_camera=None)
        for e, o in zip(estimates_of(run), run.odometry, strict=True)
    ]
    moved = np.linalg.norm(run.truth[40].translation - run.truth[34].translation)
    assert largest_odom_jump(run, estimates) == pytest.approx(moved, rel=0.1)


def test_whitening_leaves_the_first_three_errors_to_the_position():
    rng = np.random.default_rng(0)
    root = rng.normal(size=(6, 6))
    covariance, error = root @ root.T, rng.normal(size=6)
    estimate = Estimate(0, State.LOCALIZED, covariance=covariance)
    (white,) = whitened_errors(error[None], [estimate])
    assert white @ white == pytest.approx(error @ np.linalg.solve(covariance, error))
    assert white[:3] @ white[:3] == pytest.approx(error[:3] @ np.linalg.solve(covariance[:3, :3], error[:3]))


def correlated_squares(runs, count, correlation, rng):
    """Squares of six Gaussian errors of unit variance; each keeps a share of the one before."""
    errors = np.empty((runs, count, 6))
    errors[:, 0] = rng.normal(size=(runs, 6))
    for row in range(1, count):
        fresh = rng.normal(size=(runs, 6)) * np.sqrt(1.0 - correlation**2)
        errors[:, row] = correlation * errors[:, row - 1] + fresh
    return np.square(errors).sum(axis=2)


@pytest.mark.parametrize("correlation", [0.0, 0.8, 0.95])
def test_honest_errors_are_found_honest_however_alike_neighbours_are(correlation):
    squares = correlated_squares(400, 200, correlation, np.random.default_rng(1))
    honesty = judge_honesty(list(squares))
    alike = (1.0 + correlation**2) / (1.0 - correlation**2)  # of a first-order process, whose squares have r^2
    assert honesty.frames_alike == pytest.approx(alike, rel=0.2)
    assert honesty.mean == pytest.approx(1.0, abs=0.05)
    assert honesty.mean_share == pytest.approx(0.95, abs=0.03)
    assert honesty.instant_share == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("factor", [0.4, 2.0])
def test_claims_too_small_or_too_large_fall_out_of_the_band(factor):
    squares = factor * correlated_squares(100, 200, 0.8, np.random.default_rng(2))
    honesty = judge_honesty(list(squares))
    assert honesty.mean == pytest.approx(factor, rel=0.1)
    assert honesty.mean_share < 0.3


def test_frames_without_a_pose_tell_nothing():
    honesty = judge_honesty([np.full(10, np.nan), np.array([np.nan, 6.0, 6.5])])
    assert honesty.mean == pytest.approx(6.25 / 6)
    assert np.isnan(judge_honesty([np.full(10, np.nan)]).mean)
    assert frames_alike(10, autocorrelation([np.array([1.0, -1.0] * 5)])) == 1.0


def test_summary_and_pictures_of_a_few_runs():
    scores = [score(replace(EXACT, anchor_sigma=0.02, outlier_share=0.2), seed) for seed in range(3)]
    figures = summarise_runs(scores)
    assert figures.runs == 3
    assert 0.0 < figures.methods[FUSED].median_m < figures.methods[FUSED].p95_m < 0.2
    assert figures.methods[FUSED].diverged_share == 0.0
    assert figures.odom_jump < 1e-9
    assert 2.0 < figures.first_fix_s < 10.0
    for picture in (draw_runs({"a": scores[0]}), draw_distributions({"a": pooled_errors(scores)})):
        assert picture.startswith(b"\x89PNG")


def test_a_run_that_was_never_fixed_is_counted_not_hidden():
    figures = summarise_runs([score(replace(EXACT, path="still"), 0)])
    assert (figures.never_fixed, figures.runs) == (1, 1)
    assert np.isnan(figures.first_fix_s)
    assert np.isnan(figures.methods[FUSED].median_m)
