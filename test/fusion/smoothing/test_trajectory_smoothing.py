import random
from dataclasses import replace

import numpy as np
import pytest

from testing.fusion_replay import FollowedPoints, play, position_errors, squared_errors
from testing.fusion_runs import simulate_run
from testing.fusion_scenario import EXACT, FusionScenario
from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.core.trajectory import NANOSECONDS as SECOND
from visloc_ros.core.types import Estimate, OdometryPose, Reason, Rejection, State
from visloc_ros.fusion import Fuser, FusionConfig, RecordedMeasurements, smooth
from visloc_ros.fusion.smoothing.batch_smoother import SPACING_S, OdometryRecord, choose_states

CONFIG = FusionConfig()
CHEAP = FusionScenario(rate_hz=8.0, duration_s=30.0)


def measurements_of(run):
    measurements = RecordedMeasurements()
    for result in [*run.odometry, *(anchor for _, anchor in run.anchors)]:
        measurements.add(result)
    return measurements


def smoothed_estimates(run, measurements=None):
    """One estimate a frame, as the causal fuser gives them."""
    smoothed = smooth(measurements or measurements_of(run), CONFIG)
    found = {pose.stamp_ns: pose for pose in smoothed.poses}
    return [estimate_of(stamp_ns, found.get(stamp_ns)) for stamp_ns in run.stamps_ns], smoothed


def estimate_of(stamp_ns, pose):
    if pose is None:
        return Estimate(stamp_ns, State.LOST)
    return Estimate(
        stamp_ns,
        State.LOCALIZED,
        map_from_odom=pose.map_from_camera,
        odom_from_camera=SE3.identity(),
        covariance=pose.covariance,
    )


def errors_at(run, estimates):
    """Position errors by frame; NaN where there is no pose."""
    return np.array(
        [
            np.nan if pose is None else np.linalg.norm(pose.translation - true.translation)
            for pose, true in zip((e.map_from_camera for e in estimates), run.truth, strict=True)
        ]
    )


def test_what_is_exact_comes_out_exact_in_every_frame():
    run = simulate_run(replace(EXACT, rate_hz=8.0, duration_s=30.0), 1)
    estimates, smoothed = smoothed_estimates(run)
    assert len(smoothed.poses) == len(run.stamps_ns)
    assert errors_at(run, estimates).max() < 1e-4
    np.testing.assert_allclose([pose.scale for pose in smoothed.poses], run.scales, rtol=1e-3)


@pytest.mark.parametrize("path", ["eight", "line", "stop_and_go"])
def test_hindsight_is_clearly_better(path):
    ratios = []
    for seed in range(2):
        run = simulate_run(replace(CHEAP, path=path), seed)
        causal, (after, _) = play(Fuser(CONFIG, metric=True), run), smoothed_estimates(run)
        same = np.array([estimate.map_from_camera is not None for estimate in causal])
        ratios.append(np.median(errors_at(run, after)[same]) / np.median(position_errors(run, causal)))
    assert np.median(ratios) < 0.75


def test_covariances_are_honest():
    means = [
        np.mean(squared_errors(run, smoothed_estimates(run)[0])) for run in (simulate_run(CHEAP, s) for s in range(6))
    ]
    assert 3.0 < np.mean(means) < 9.0


@pytest.mark.parametrize("seed", [0, 3, 9, 14])
def test_neither_outliers_nor_a_place_that_looks_alike_are_believed(seed):
    run = simulate_run(replace(CHEAP, duration_s=40.0, outlier_share=0.15, alias_share=0.25), seed)
    estimates, smoothed = smoothed_estimates(run)
    assert not smoothed.anchor_stamps_ns & run.outliers
    assert errors_at(run, estimates).max() < 0.5


def test_segments_have_their_own_scale_and_no_pose_in_between():
    run = simulate_run(replace(CHEAP, losses=((9.0, 0.5), (20.0, 2.0))), 2)
    estimates, smoothed = smoothed_estimates(run)
    lost = np.array([isinstance(result, Rejection) for result in run.odometry])
    errors = errors_at(run, estimates)
    np.testing.assert_array_equal(np.isnan(errors), lost)
    assert np.nanmedian(errors) < 0.05
    ratios = np.array([pose.scale for pose in smoothed.poses]) / run.scales[~lost]
    assert np.abs(np.log(ratios)).max() < 0.15
    assert np.ptp(np.log(run.scales[~lost])) > 0.5


def test_a_segment_without_anchors_has_no_poses():
    run = simulate_run(replace(CHEAP, losses=((10.0, 0.5), (12.0, 0.5)), gaps=((10.0, 2.0),)), 3)
    orphans = {result.stamp_ns for result in run.odometry if isinstance(result, OdometryPose) and result.segment == 1}
    smoothed = smooth(measurements_of(run), CONFIG)
    assert orphans
    assert not orphans & {pose.stamp_ns for pose in smoothed.poses}


def test_the_order_in_which_things_came_does_not_matter():
    measurements = measurements_of(simulate_run(CHEAP, 4))
    shuffled, rng = replace(measurements), random.Random(0)
    shuffled.odometry = rng.sample(measurements.odometry, len(measurements.odometry))
    shuffled.anchors = rng.sample(measurements.anchors, len(measurements.anchors))
    for one, other in zip(smooth(measurements, CONFIG).poses, smooth(shuffled, CONFIG).poses, strict=True):
        assert one.map_from_camera.is_close(other.map_from_camera, 1e-9, 1e-6)


def test_a_camera_carried_away_unseen_is_found_on_both_sides_and_uncertain_in_between():
    run = simulate_run(CHEAP, 5)
    carried, cut_ns = SE3(rotation_matrix([0, 0, 1.0]), [3.0, -2.0, 0.0]), run.stamps_ns[120]
    truth = [pose if t < cut_ns else carried @ pose for t, pose in zip(run.stamps_ns, run.truth, strict=True)]
    anchors = [
        (due, a if a.stamp_ns < cut_ns else replace(a, map_from_camera=carried @ a.map_from_camera))
        for due, a in run.anchors
    ]
    kidnapped = replace(run, truth=truth, anchors=anchors)
    estimates, _ = smoothed_estimates(kidnapped)
    sigmas = np.array([np.sqrt(np.trace(estimate.covariance[:3, :3])) for estimate in estimates])
    errors, away = errors_at(kidnapped, estimates), np.abs(np.array(run.stamps_ns) - cut_ns) > 2.2 * SECOND
    assert errors[away].max() < 0.3
    assert np.all(errors < 3.0 * sigmas + 0.05)


def test_followed_points_bridge_what_anchors_leave_open():
    scenario = replace(CHEAP, tracked=True, tracked_distance=5.0, gaps=((12.0, 8.0),))
    run = simulate_run(scenario, 6)
    followed, measurements = FollowedPoints(scenario, run, 6), measurements_of(run)
    anchors = {anchor.stamp_ns: anchor for _, anchor in run.anchors}
    for stamp_ns in run.stamps_ns:
        measurements.add(followed.track(stamp_ns))
        if stamp_ns in anchors:
            followed.restart(anchors[stamp_ns])
    with_points, _ = smoothed_estimates(run, measurements)
    without, _ = smoothed_estimates(run)
    assert np.max(errors_at(run, with_points)) < 0.6 * np.max(errors_at(run, without))


def test_nothing_is_made_up_without_agreeing_anchors():
    run = simulate_run(CHEAP, 7)
    assert smooth(RecordedMeasurements(), CONFIG).reason is Reason.SCALE_UNSET
    assert smooth(RecordedMeasurements(odometry=measurements_of(run).odometry), CONFIG).reason is Reason.SCALE_UNSET
    still = simulate_run(replace(CHEAP, path="still"), 7)
    assert smooth(measurements_of(still), CONFIG).reason is Reason.DEGENERATE_MOTION


def test_states_are_never_far_apart_and_contain_what_is_wanted():
    odometry = measurements_of(simulate_run(replace(CHEAP, losses=((9.0, 0.5),)), 8)).odometry
    record = OdometryRecord.of(odometry, CONFIG.max_gap_s)
    wanted = record.history.at(odometry[30].stamp_ns + 7)
    states = choose_states(record.samples, [wanted])
    stamps = np.array([sample.stamp_ns for sample in states])
    assert wanted.stamp_ns in stamps
    assert {odometry[0].stamp_ns, odometry[-1].stamp_ns} <= set(stamps.tolist())
    is_gap = np.diff([sample.segment for sample in states]) != 0
    assert is_gap.sum() == 1
    assert np.diff(stamps)[~is_gap].max() <= (SPACING_S + 1.0 / CHEAP.rate_hz) * SECOND
