import numpy as np
import pytest
from odometry_scenes import FOCAL_PX, random_points, rays_of, sideways_pose

from visloc_ros.core.geometry import SE3, rotation_matrix
from visloc_ros.odometry.klt.pose_refinement import find_pose, refine_pose, reprojection_errors
from visloc_ros.odometry.klt.triangulation import ViewRays, is_well_seen, parallax_deg, triangulate


def view(pose, points):
    number = len(points)
    return ViewRays(
        np.tile(pose.rotation, (number, 1, 1)),
        np.tile(pose.translation, (number, 1)),
        rays_of(pose, points),
        np.full(number, FOCAL_PX),
    )


def test_exact_rays_give_exact_points():
    points = random_points(100)
    first, second = view(SE3.identity(), points), view(sideways_pose(0.4), points)
    np.testing.assert_allclose(triangulate(first, second), points, atol=1e-7)
    assert is_well_seen(points, first, second, min_parallax_deg=0.5, max_error_px=1e-6).all()


def test_parallax_is_the_angle_at_the_point():
    first, second = (
        view(SE3.identity(), np.array([[0.0, 0.0, 2.0]])),
        view(SE3(np.eye(3), np.array([-2.0, 0.0, 0.0])), np.array([[0.0, 0.0, 2.0]])),
    )
    np.testing.assert_allclose(parallax_deg(first, second), [45.0])


def test_points_behind_off_or_without_parallax_are_refused():
    points = np.array([[0.0, 0.0, 4.0], [0.5, 0.2, 4.0], [0.1, 0.0, 500.0]])
    first, second = view(SE3.identity(), points), view(sideways_pose(0.4), points)
    tried = points.copy()
    tried[0, 2] = -4.0
    tried[1, 0] += 0.1
    good = is_well_seen(tried, first, second, min_parallax_deg=0.5, max_error_px=2.0)
    assert good.tolist() == [False, False, False]
    assert is_well_seen(points, first, second, 0.5, 2.0).tolist() == [True, True, False]


@pytest.mark.parametrize("offset", [0.01, 0.1, 0.3])
def test_refinement_reaches_the_exact_pose(offset):
    points, truth = random_points(120), sideways_pose(0.5)
    start = SE3(rotation_matrix([offset / 3, -offset / 3, offset / 3]), np.array([offset, 0, -offset])) @ truth
    fit = refine_pose(start, points, rays_of(truth, points), np.full(120, FOCAL_PX), max_error_px=2.0, iterations=30)
    assert fit.camera_from_odom.is_close(truth, 1e-5, 1e-3)
    assert fit.num_inliers == 120


def test_refinement_is_not_moved_by_outliers():
    rng = np.random.default_rng(3)
    points, truth = random_points(200), sideways_pose(0.5)
    rays = rays_of(truth, points) + rng.normal(0, 0.2 / FOCAL_PX, (200, 2))
    wrong = rng.random(200) < 0.3
    rays[wrong] += rng.uniform(-0.2, 0.2, (int(wrong.sum()), 2))
    start = SE3(rotation_matrix([0.02, 0.0, 0.0]), np.array([0.05, 0.0, 0.0])) @ truth
    fit = refine_pose(start, points, rays, np.full(200, FOCAL_PX), max_error_px=2.0)
    assert fit.camera_from_odom.is_close(truth, 0.005, 0.05)
    assert fit.inliers[~wrong].all()
    assert fit.inliers[wrong].mean() < 0.05


def test_result_stays_a_rotation_over_many_frames():
    points, truth = random_points(50), sideways_pose(0.5)
    pose = truth
    for _ in range(200):
        pose = refine_pose(pose, points, rays_of(truth, points), np.full(50, FOCAL_PX), 2.0).camera_from_odom
        pose = pose @ pose.inverse @ pose
    assert np.abs(pose.rotation @ pose.rotation.T - np.eye(3)).max() < 1e-12


def test_pose_is_found_without_a_start_value():
    rng = np.random.default_rng(4)
    points, truth = random_points(100), SE3(rotation_matrix([0.3, -0.8, 0.2]), np.array([1.0, 0.5, 2.0]))
    rays = rays_of(truth, points)
    wrong = rng.random(100) < 0.4
    rays[wrong] += rng.uniform(-0.3, 0.3, (int(wrong.sum()), 2))
    fit = find_pose(points, rays, np.full(100, FOCAL_PX), max_error_px=2.0)
    assert fit is not None
    assert fit.camera_from_odom.is_close(truth, 1e-3, 0.05)


def test_no_pose_from_a_handful_of_points():
    points = random_points(5)
    assert find_pose(points, rays_of(SE3.identity(), points), np.full(5, FOCAL_PX), 2.0) is None


def test_error_behind_the_camera_is_infinite():
    errors = reprojection_errors(SE3.identity(), np.array([[0.0, 0.0, -1.0]]), np.zeros((1, 2)), np.full(1, FOCAL_PX))
    assert np.isinf(errors[0])
