import numpy as np
from odometry_scenes import FOCAL_PX, random_points, rays_of, sideways_pose

from visloc_ros.core.geometry import SE3
from visloc_ros.odometry.klt.triangulation import ViewRays, is_well_seen, most_likely_points, parallax_deg, triangulate


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


def test_without_parallax_a_point_is_taken_to_be_at_the_expected_depth():
    points = random_points(50)
    here = view(SE3.identity(), points)
    likely, distances = most_likely_points(here, here, depth=5.0)
    np.testing.assert_allclose(likely[:, 2], 5.0, rtol=0.04)
    np.testing.assert_allclose(distances, 5.0 * np.linalg.norm(points / points[:, 2:], axis=1))


def test_with_parallax_the_views_give_the_depth_whatever_is_expected():
    points = random_points(50)
    first, second = view(sideways_pose(0.8), points), view(SE3.identity(), points)
    likely, _ = most_likely_points(first, second, depth=2.0)
    np.testing.assert_allclose(likely, points, rtol=0.08)
