"""Simulated runs for the fusion: the paths, the drift of odometry, the errors of anchors, the followed points."""

from dataclasses import replace

import numpy as np
import pytest

from testing.drifting_odometry import simulate_odometry
from testing.fusion_replay import FollowedPoints
from testing.fusion_runs import ALIAS, FIRST_STAMP_NS, simulate_anchors, simulate_run
from testing.fusion_scenario import EXACT, PATHS, RISE, FusionScenario, camera_poses
from visloc_ros.core.geometry import SE3, Sim3, rotation_vector
from visloc_ros.core.types import OdometryPose, Rejection, TrackedPose

SECOND = 1_000_000_000
STEADY = replace(EXACT, duration_s=20.0, rate_hz=10.0)
NOISY = FusionScenario(duration_s=20.0, rate_hz=5.0)
STEP = 0.02
TIMES = np.arange(0.0, 60.0, STEP)
SPEED = 0.6
FORWARD = np.array([0.0, 0.0, 1.0])


def true_similarity(run, index):
    """``map_from_odom`` that holds at a frame."""
    seen, true, scale = run.odometry[index].odom_from_camera, run.truth[index], run.scales[index]
    rotation = true.rotation @ seen.rotation.T
    return Sim3(scale, rotation, true.translation - scale * rotation @ seen.translation)


def test_a_seed_gives_the_same_run_again_and_another_one_another():
    first, again, other = simulate_run(NOISY, 3), simulate_run(NOISY, 3), simulate_run(NOISY, 4)
    for a, b in zip(first.odometry, again.odometry, strict=True):
        assert a.odom_from_camera.is_close(b.odom_from_camera, 0.0, 0.0)
    assert not first.truth[0].is_close(other.truth[0])
    assert not first.odometry[5].odom_from_camera.is_close(other.odometry[5].odom_from_camera)


def test_without_noise_odometry_is_a_similarity_of_the_truth_and_anchors_are_the_truth():
    run = simulate_run(STEADY, 0)
    map_from_odom = true_similarity(run, 0)
    for result, true in zip(run.odometry, run.truth, strict=True):
        assert map_from_odom.apply_to_pose(result.odom_from_camera).is_close(true, 1e-9, 1e-5)
    truth = dict(zip(run.stamps_ns, run.truth, strict=True))
    assert len(run.anchors) == 20
    for _, anchor in run.anchors:
        assert anchor.map_from_camera.is_close(truth[anchor.stamp_ns], 1e-9, 1e-5)


def test_after_a_loss_everything_of_the_odometry_is_another():
    run = simulate_run(replace(STEADY, losses=((8.0, 2.0),)), 0)
    lost = [index for index, result in enumerate(run.odometry) if isinstance(result, Rejection)]
    assert lost == list(range(80, 100))
    assert np.isnan(run.scales[lost]).all()
    before, after = run.odometry[79], run.odometry[100]
    assert (before.segment, after.segment) == (0, 1)
    assert abs(np.log(run.scales[100] / run.scales[79])) > 1e-3
    assert not before.odom_from_camera.is_close(after.odom_from_camera, 0.01, 1.0)
    again = true_similarity(run, 100)
    assert again.apply_to_pose(run.odometry[-1].odom_from_camera).is_close(run.truth[-1], 1e-9, 1e-5)


def test_odometry_covariance_is_that_of_its_walk():
    """NEES of the motion over a whole segment, in odometry's units, over many runs on one path."""
    scenario = replace(
        NOISY, scale_drift=0.0, rotation_scale_error=0.0, rotation_drift_deg=1.0, jitter=0.01, jitter_deg=0.1
    )
    rotations, positions = camera_poses("eight", np.arange(60) / 5.0, 0.6)
    rng, squares = np.random.default_rng(0), []
    for _ in range(200):
        odometry = simulate_odometry(scenario, list(range(60)), rotations, positions, np.zeros(60, dtype=bool), rng)
        first, last = odometry.results[0], odometry.results[-1]
        start = SE3(rotations[0], positions[0] / odometry.scales[0])
        end = SE3(rotations[-1], positions[-1] / odometry.scales[0])
        true = first.odom_from_camera @ start.inverse @ end
        turn = rotation_vector(true.rotation @ last.odom_from_camera.rotation.T)
        error = np.concatenate([true.translation - last.odom_from_camera.translation, turn])
        squares.append(error @ np.linalg.solve(last.covariance, error))
    assert np.mean(squares) == pytest.approx(6.0, rel=0.25)


def test_drift_grows_with_its_options():
    def end_error(**drifts):
        run = simulate_run(replace(STEADY, **drifts), 2)
        return np.linalg.norm(
            true_similarity(run, 0).apply_to_pose(run.odometry[-1].odom_from_camera).translation
            - run.truth[-1].translation
        )

    for name, value in {
        "position_drift": 0.02,
        "rotation_drift_deg": 0.5,
        "scale_drift": 0.02,
        "rotation_scale_error": 0.04,
        "yaw_bias_deg_per_min": 10.0,
        "jitter": 0.01,
    }.items():
        assert end_error(**{name: value}) > 1e-3


def test_arrivals_are_in_order_and_as_late_as_asked():
    run = simulate_run(replace(NOISY, delay_s=(0.03, 14.0)), 1)
    arrivals = [arrival for arrival, _ in run.anchors]
    delays = np.array([arrival - anchor.stamp_ns for arrival, anchor in run.anchors]) / SECOND
    assert arrivals == sorted(arrivals)
    assert [a.stamp_ns for _, a in run.anchors] != sorted(a.stamp_ns for _, a in run.anchors)
    assert delays.min() >= 0.03
    assert 10.0 < delays.max() <= 14.0


def test_no_anchors_in_gaps():
    run = simulate_run(replace(NOISY, gaps=((5.0, 6.0),)), 0)
    seconds = [(anchor.stamp_ns - FIRST_STAMP_NS) / SECOND for _, anchor in run.anchors]
    assert len(seconds) == 14
    assert not any(5.0 <= second < 11.0 for second in seconds)


def test_wrong_anchors_are_as_many_as_asked_and_far_off():
    scenario = replace(
        STEADY, duration_s=300.0, rate_hz=2.0, outlier_share=0.2, alias_share=0.1, false_anchor_risk=(0.01, 0.02)
    )
    run = simulate_run(scenario, 0)
    truth = dict(zip(run.stamps_ns, run.truth, strict=True))
    assert len(run.outliers) / len(run.anchors) == pytest.approx(0.3, abs=0.08)
    aliases = 0
    for _, anchor in run.anchors:
        true = truth[anchor.stamp_ns]
        if anchor.stamp_ns in run.outliers:
            aliases += anchor.map_from_camera.is_close(ALIAS @ true)
            assert 0.98 <= anchor.probability <= 0.99
        else:
            assert anchor.probability == pytest.approx(0.97)
            assert anchor.map_from_camera.is_close(true)
    assert aliases / len(run.anchors) == pytest.approx(0.1, abs=0.05)


def anchor_errors(scenario, rotations, positions, seed):
    stamps = np.arange(len(positions))
    arrivals = simulate_anchors(scenario, stamps, rotations, positions, np.random.default_rng(seed))
    anchors = sorted((arrival.anchor for arrival in arrivals), key=lambda anchor: anchor.stamp_ns)
    return anchors, np.array([a.map_from_camera.translation for a in anchors]) - positions


def test_errors_of_a_place_are_shared_there_and_independent_elsewhere():
    scenario = replace(NOISY, anchor_sigma=0.0, anchor_sigma_deg=0.0, place_sigma=0.05, place_length=0.5)
    offsets = np.array([0.0, 0.0, 0.05, 5.0])
    positions = np.column_stack([offsets, np.zeros(4), np.zeros(4)])
    errors = [anchor_errors(scenario, np.tile(np.eye(3), (4, 1, 1)), positions, seed)[1] for seed in range(300)]
    here, again, near, far = np.swapaxes(errors, 0, 1)
    np.testing.assert_array_equal(here, again)
    assert np.std(here) == pytest.approx(0.05, rel=0.1)
    assert np.mean(here * near) / np.mean(here**2) > 0.95
    assert abs(np.mean(here * far) / np.mean(here**2)) < 0.15


def test_claims_cover_both_kinds_of_error_by_the_asked_factor():
    scenario = replace(NOISY, anchor_sigma=0.03, place_sigma=0.04, reported_sigma_factor=0.5)
    (anchor,), _ = anchor_errors(scenario, np.eye(3)[None], np.zeros((1, 3)), 0)
    np.testing.assert_allclose(np.sqrt(np.diag(anchor.covariance))[:3], 0.025)


def test_followed_points_keep_the_error_of_their_anchor():
    scenario = replace(NOISY, anchor_sigma=0.05, tracked_distance=1.0)
    run = simulate_run(scenario, 0)
    points, anchor = FollowedPoints(scenario, run, 0), run.anchors[3][1]
    index = run.stamps_ns.index(anchor.stamp_ns)
    assert isinstance(points.track(run.stamps_ns[index + 1]), Rejection)
    points.restart(anchor)
    tracked = points.track(run.stamps_ns[index + 3])
    assert isinstance(tracked, TrackedPose)
    assert tracked.anchor_stamp_ns == anchor.stamp_ns
    expected = anchor.map_from_camera @ run.truth[index].inverse @ run.truth[index + 3]
    assert tracked.map_from_camera.is_close(expected, 5 * scenario.tracked_sigma, 5 * scenario.tracked_sigma_deg)
    assert np.trace(tracked.covariance) > np.trace(anchor.covariance)
    points.restart(run.anchors[2][1])
    assert points.track(run.stamps_ns[index + 4]).anchor_stamp_ns == anchor.stamp_ns
    assert isinstance(points.track(run.stamps_ns[index + 40]), Rejection)


def test_followed_points_are_lost_with_the_odometry():
    scenario = replace(NOISY, losses=((6.0, 1.0),))
    run = simulate_run(scenario, 0)
    points = FollowedPoints(scenario, run, 0)
    points.restart(run.anchors[5][1])
    lost, after = run.stamps_ns[31], run.stamps_ns[36]
    assert isinstance(points.track(lost), Rejection)
    assert isinstance(run.odometry[36], OdometryPose)
    assert isinstance(points.track(after), Rejection)


@pytest.fixture(params=PATHS)
def way(request):
    return request.param, *camera_poses(request.param, TIMES, SPEED)


def test_motion_has_no_jumps(way):
    path, rotations, positions = way
    speeds = np.linalg.norm(np.diff(positions, axis=0), axis=1) / STEP
    turns = np.linalg.norm(rotation_vector(np.swapaxes(rotations[:-1], 1, 2) @ rotations[1:]), axis=1) / STEP
    assert speeds.max() <= 1.5 * SPEED
    assert turns.max() < 2.0
    if path != "still":
        assert speeds.max() == pytest.approx(SPEED, rel=0.5)
    else:
        assert speeds.max() == 0.0


def test_the_camera_looks_where_it_goes(way):
    path, rotations, positions = way
    steps = np.diff(positions, axis=0)[:, :2]
    moving = np.linalg.norm(steps, axis=1) > 0.3 * SPEED * STEP
    looks = (rotations @ FORWARD)[:-1, :2]
    ahead = np.sum(steps * looks, axis=1)[moving] / np.linalg.norm(steps[moving], axis=1)
    assert moving.any() == (path != "still")
    assert np.all(ahead > 0.9)


def test_rotations_are_rotations(way):
    _, rotations, _ = way
    np.testing.assert_allclose(
        rotations @ np.swapaxes(rotations, 1, 2), np.tile(np.eye(3), (len(TIMES), 1, 1)), atol=1e-12
    )
    np.testing.assert_allclose(np.linalg.det(rotations), 1.0)


def test_turns_on_the_spot_move_nothing_and_sides_turn_nothing():
    positions, headings = PATHS["turns"](TIMES, SPEED)
    moves = np.linalg.norm(np.diff(positions, axis=0), axis=1) > 1e-9
    turns = np.diff(headings) > 1e-9
    assert moves.any()
    assert turns.any()
    assert np.mean(moves & turns) < 0.01


def test_stairs_rise_and_stops_stop():
    heights = PATHS["stairs"](TIMES, SPEED)[0][:, 2]
    assert np.all(np.diff(heights) >= 0.0)
    assert heights[-1] - heights[0] > 4 * RISE
    stopping = PATHS["stop_and_go"](TIMES, SPEED)[0]
    assert np.mean(np.linalg.norm(np.diff(stopping, axis=0), axis=1) < 1e-12) == pytest.approx(0.5, abs=0.05)
