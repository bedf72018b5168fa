from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import FOCAL_PX, make_bundle, motion_error, random_points, rays_of, sideways_pose

from visloc_ros.core.geometry import SE3
from visloc_ros.core.tangent import move_covariance
from visloc_ros.odometry.klt import covariance
from visloc_ros.odometry.klt.bundle import adjust
from visloc_ros.odometry.klt.covariance import MotionCovariance, PoseUncertainty, assess_window
from visloc_ros.tracking.robust_pose import SeenPoints, fit_pose

NUM_CAMERAS, NUM_POINTS, FIRST_FREE = 12, 200, 2


def keyframe(problem, row):
    return SE3(problem.rotations[row], problem.translations[row]).inverse


def with_track_errors(problem, step_px, seed):
    """Observations off by a random walk along each track, as a patch that drifts makes them."""
    rng = np.random.default_rng(seed)
    walks = np.cumsum(rng.normal(0.0, step_px / FOCAL_PX, (NUM_CAMERAS, NUM_POINTS, 2)), axis=0)
    return replace(problem, rays=problem.rays + walks[problem.camera_rows, problem.point_rows])


def with_pixel_noise(problem, sigma_px, seed):
    noise = np.random.default_rng(seed).normal(0.0, sigma_px / FOCAL_PX, problem.rays.shape)
    return replace(problem, rays=problem.rays + noise)


@pytest.mark.parametrize(("spoil", "size_px"), [(with_pixel_noise, 0.3), (with_track_errors, 0.12)])
def test_the_window_is_honest_about_noise_and_about_drifting_tracks(monkeypatch, spoil, size_px):
    monkeypatch.setattr(covariance, "_UNSHOWN", 1.0)  # here, residuals show everything
    monkeypatch.setattr(covariance, "_SHARED_ERROR_PX", 0.0)
    truth, values = make_bundle(NUM_CAMERAS, NUM_POINTS), []
    for seed in range(60):
        found = adjust(spoil(truth, size_px, seed))
        error = motion_error(*(keyframe(problem, row) for problem in (found, truth) for row in (FIRST_FREE, -1)))
        values.append(error @ np.linalg.solve(assess_window(found).total, error))
    assert 4.0 < np.mean(values) < 9.0


def test_what_one_step_adds_makes_up_the_motion_of_the_window():
    truth = make_bundle(NUM_CAMERAS, NUM_POINTS)
    found = adjust(with_pixel_noise(truth, 0.3, seed=0))
    window = assess_window(found)
    summed, position = np.zeros((6, 6)), keyframe(found, FIRST_FREE).translation
    for row in range(FIRST_FREE + 1, NUM_CAMERAS):
        here = keyframe(found, row).translation
        summed, position = move_covariance(summed, here - position) + window.step, here
    assert np.trace(summed[3:, 3:]) == pytest.approx(np.trace(window.total[3:, 3:]), rel=1e-6)
    assert np.trace(summed[:3, :3]) == pytest.approx(np.trace(window.total[:3, :3]), rel=0.3)


def test_an_open_scale_leaves_the_covariance_finite():
    truth = make_bundle(NUM_CAMERAS, NUM_POINTS)
    open_scale = replace(truth, is_fixed=np.arange(NUM_CAMERAS) < 1)
    held, free = (assess_window(adjust(with_pixel_noise(problem, 0.3, seed=0))) for problem in (truth, open_scale))
    assert np.trace(free.total) < 3.0 * np.trace(held.total)
    assert 0.0 < free.log_scale_step < 1e-4


def test_information_of_a_single_pose_is_honest():
    truth, points = sideways_pose(0.3), random_points(150)
    values = []
    for seed in range(150):
        noise = np.random.default_rng(seed).normal(0.0, 0.4 / FOCAL_PX, (len(points), 2))
        rays, scale = rays_of(truth, points) + noise, np.full(len(points), FOCAL_PX)
        fit = fit_pose(truth, SeenPoints(points, rays, scale, 0.45), max_error_px=3.0)
        information = PoseUncertainty.of(fit.camera_from_world, points, rays, scale, np.zeros(150)).information
        error = motion_error(SE3.identity(), fit.camera_from_world.inverse, SE3.identity(), truth.inverse)
        values.append(error @ information @ error)
    assert 5.0 < np.mean(values) < 8.0


def test_groups_of_landmarks_that_share_an_error_show_that_of_the_pose():
    """Each keyframe was off when it made its landmarks; their residuals alone show next to nothing of that."""
    truth, points, born = sideways_pose(0.3), random_points(240), np.repeat(np.arange(12), 20)
    scale, by_pixels, together = np.full(len(points), FOCAL_PX), [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        made = points.copy()
        for number in range(12):
            off = SE3.from_rotation_vector(rng.normal(0.0, 2e-3, 3), rng.normal(0.0, 1e-2, 3))
            made[born == number] = off @ points[born == number]
        rays = rays_of(truth, points) + rng.normal(0.0, 0.2 / FOCAL_PX, (len(points), 2))
        fit = fit_pose(truth, SeenPoints(made, rays, scale, 0.45), max_error_px=20.0)
        found = PoseUncertainty.of(fit.camera_from_world, made, rays, scale, born)
        error = motion_error(SE3.identity(), fit.camera_from_world.inverse, SE3.identity(), truth.inverse)
        by_pixels.append(error @ found.information @ error)
        covariance = np.linalg.inv(found.information) + found.disagreement
        together.append(error @ np.linalg.solve(covariance, error))
    assert np.mean(by_pixels) > 20.0
    assert 3.0 < np.mean(together) < 9.0


def test_landmarks_of_one_keyframe_or_of_unsure_depth_disagree_with_nothing():
    truth, points = sideways_pose(0.3), random_points(40)
    rays = rays_of(truth, points) + np.random.default_rng(0).normal(0.0, 1.0 / FOCAL_PX, (40, 2))
    for born in (np.full(40, 7), np.where(np.arange(40) < 20, 7, -1)):
        found = PoseUncertainty.of(truth, points, rays, np.full(40, FOCAL_PX), born)
        np.testing.assert_array_equal(found.disagreement, 0.0)


def test_two_landmarks_of_sure_depth_beside_many_others_do_not_end_odometry():
    truth, points, born = sideways_pose(0.3), random_points(40), np.full(40, -1)
    born[:2] = 3, 4
    rays = rays_of(truth, points) + np.random.default_rng(0).normal(0.0, 1.0 / FOCAL_PX, (40, 2))
    found = PoseUncertainty.of(truth, points, rays, np.full(40, FOCAL_PX), born)
    assert np.trace(found.disagreement) < 2.0 * np.trace(np.linalg.inv(found.information))


def uncertainty(information, disagreement=0.0, num_landmarks=100):
    return PoseUncertainty(information, disagreement * np.eye(6), num_landmarks)


def moved_covariance(poses, moved_px=(10.0, 10.0, 10.0)):
    window = assess_window(adjust(make_bundle(NUM_CAMERAS, NUM_POINTS, noise_px=0.3)))
    covariance = MotionCovariance(step_px=40.0)
    covariance.learn(window, np.zeros(3))
    values = [covariance.value]
    for number, flow in enumerate(moved_px, 1):
        covariance.move(SE3(np.eye(3), np.array([0.1 * number, 0.0, 0.0])), flow, poses[number - 1])
        values.append(covariance.value)
    return values, window


def added(values, number):
    return values[number] - move_covariance(values[number - 1], np.array([0.1, 0.0, 0.0]))


def test_frames_share_a_keyframe_step_by_how_far_features_moved():
    values, window = moved_covariance([uncertainty(np.eye(6))] * 3, moved_px=(10.0, 0.0, np.inf))
    np.testing.assert_allclose(added(values, 1), 0.25 * window.step, rtol=1e-9, atol=1e-15)
    np.testing.assert_allclose(added(values, 2), 0.0, atol=1e-15)
    np.testing.assert_allclose(added(values, 3), window.step, rtol=1e-9, atol=1e-15)


def test_a_pose_that_rests_on_less_adds_more():
    usual, _ = moved_covariance([uncertainty(np.eye(6))] * 3)
    weak, _ = moved_covariance([uncertainty(np.eye(6)), uncertainty(np.eye(6)), uncertainty(0.25 * np.eye(6))])
    assert np.trace(added(weak, 3)) > 2.0 * np.trace(added(usual, 3))


def test_disagreement_counts_as_far_as_landmarks_have_changed():
    covariance, there = MotionCovariance(step_px=40.0), SE3.identity()
    window = assess_window(adjust(make_bundle(NUM_CAMERAS, NUM_POINTS, noise_px=0.3)))
    covariance.learn(window, np.zeros(3))
    covariance.move(there, 0.0, uncertainty(np.eye(6), 1.0))
    values = []
    for pose, event in [
        (uncertainty(np.eye(6), 2.0), None),
        (uncertainty(np.eye(6), 2.0, num_landmarks=75), None),
        (uncertainty(np.eye(6), 3.0, num_landmarks=120), covariance.close_step),
        (uncertainty(np.eye(6), 0.5), lambda: covariance.learn(window, np.zeros(3))),
    ]:
        if event is not None:
            event()
        before = covariance.value
        covariance.move(there, 0.0, pose)
        values.append((covariance.value - before)[0, 0])
    np.testing.assert_allclose(values, [0.0, 0.25 * 2.0, 2.0 + 3.0, 3.0 + 0.5])
