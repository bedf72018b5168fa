"""Poses from points in general; what uncertain depths do to them is in test/map_tracking/test_seed_depths.py."""

import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector
from visloc_ros.tracking.robust_pose import SeenPoints, find_pose, fit_pose, pose_jacobian

FOCAL_PX = 500.0
SIGMA_PX = 0.3
TRUTH = SE3(rotation_matrix([0.02, -0.05, 0.01]), np.array([-0.5, 0.03, 0.05]))


def random_points(number, seed=1):
    rng = np.random.default_rng(seed)
    return rng.uniform([-2.0, -1.5, 3.0], [2.0, 1.5, 8.0], (number, 3))


def seen_from(camera_from_world, points):
    local = camera_from_world @ points
    return SeenPoints(points, local[:, :2] / local[:, 2:], np.full(len(points), FOCAL_PX), SIGMA_PX)


@pytest.mark.parametrize("offset", [0.01, 0.1, 0.3])
def test_refinement_reaches_the_exact_pose(offset):
    start = SE3(rotation_matrix([offset / 3, -offset / 3, offset / 3]), np.array([offset, 0, -offset])) @ TRUTH
    fit = fit_pose(start, seen_from(TRUTH, random_points(120)), max_error_px=2.0)
    assert fit.camera_from_world.is_close(TRUTH, 1e-5, 1e-3)
    assert fit.num_inliers == 120


def test_refinement_is_not_moved_by_outliers():
    rng = np.random.default_rng(3)
    seen = seen_from(TRUTH, random_points(200))
    seen.rays[:] += rng.normal(0, 0.2 / FOCAL_PX, (200, 2))
    wrong = rng.random(200) < 0.3
    seen.rays[wrong] += rng.uniform(-0.2, 0.2, (int(wrong.sum()), 2))
    start = SE3(rotation_matrix([0.02, 0.0, 0.0]), np.array([0.05, 0.0, 0.0])) @ TRUTH
    fit = fit_pose(start, seen, max_error_px=2.0)
    assert fit.camera_from_world.is_close(TRUTH, 0.005, 0.05)
    assert fit.inliers[~wrong].all()
    assert fit.inliers[wrong].mean() < 0.05


def test_result_stays_a_rotation_over_many_frames():
    seen, pose = seen_from(TRUTH, random_points(50)), TRUTH
    for _ in range(200):
        pose = fit_pose(pose, seen, 2.0).camera_from_world
        pose = pose @ pose.inverse @ pose
    assert np.abs(pose.rotation @ pose.rotation.T - np.eye(3)).max() < 1e-12


def test_pose_is_found_without_a_start_value():
    rng = np.random.default_rng(4)
    truth = SE3(rotation_matrix([0.3, -0.8, 0.2]), np.array([1.0, 0.5, 2.0]))
    seen = seen_from(truth, random_points(100))
    wrong = rng.random(100) < 0.4
    seen.rays[wrong] += rng.uniform(-0.3, 0.3, (int(wrong.sum()), 2))
    fit = find_pose(seen, max_error_px=2.0)
    assert fit is not None
    assert fit.camera_from_world.is_close(truth, 1e-3, 0.05)


def test_no_pose_from_a_handful_of_points():
    assert find_pose(seen_from(TRUTH, random_points(5)), 2.0) is None


def test_error_behind_the_camera_is_infinite():
    seen = seen_from(TRUTH, random_points(50))
    seen.points[0] = TRUTH.inverse @ np.array([0.0, 0.0, -4.0])
    fit = fit_pose(TRUTH, seen, 2.0)
    assert np.isinf(fit.errors_px[0])
    assert fit.num_inliers == 49


def test_the_jacobian_is_that_of_a_left_step():
    points, step = random_points(20), 1e-6
    x, y, z = (TRUTH @ points).T
    jacobian = pose_jacobian(x / z, y / z, 1.0 / z)
    for column, change in enumerate(step * np.eye(6)):
        moved = SE3(rotation_matrix(change[:3]), change[3:]) @ TRUTH
        numerical = (seen_from(moved, points).rays - seen_from(TRUTH, points).rays).T / step
        np.testing.assert_allclose(jacobian[:, column], numerical, atol=1e-5)


def test_a_spread_without_length_changes_nothing():
    rng = np.random.default_rng(5)
    seen = seen_from(TRUTH, random_points(60))
    seen.rays[:] += rng.normal(0, 0.5 / FOCAL_PX, (60, 2))
    spread = SeenPoints(seen.points, seen.rays, seen.pixels_per_ray, SIGMA_PX, np.zeros((60, 3)))
    one, other = fit_pose(TRUTH, seen, 2.0), fit_pose(TRUTH, spread, 2.0)
    assert one.camera_from_world.is_close(other.camera_from_world)
    np.testing.assert_allclose(one.covariance, other.covariance)


def test_a_point_off_along_its_spread_hardly_matters():
    """One point is off by three standard deviations of its spread: it is no outlier, and does not turn the camera."""
    points = random_points(30)
    seen = seen_from(TRUTH, points)
    spreads = np.zeros((30, 3))
    spreads[0] = 0.1 * points[0]
    moved = points.copy()
    moved[0] += 3.0 * spreads[0]
    fit = fit_pose(TRUTH, SeenPoints(moved, seen.rays, seen.pixels_per_ray, SIGMA_PX, spreads), 2.0)
    assert fit.inliers.all()
    assert np.degrees(np.linalg.norm(rotation_vector(fit.camera_from_world.rotation @ TRUTH.rotation.T))) < 0.01
