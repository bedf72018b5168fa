import numpy as np
import pytest
from odometry_scenes import FOCAL_PX, random_points, rays_of, sideways_pose

from visloc_ros.core.geometry import SE3, rotation_angle_deg, rotation_matrix
from visloc_ros.odometry.klt.config import KltConfig
from visloc_ros.odometry.klt.two_view import (
    MAX_HOMOGRAPHY_SHARE,
    START_PARALLAX_DEG,
    TwoViewGeometry,
    Wait,
    estimate_two_view_geometry,
    median_parallax_deg,
)

CONFIG = KltConfig()


def start(pose, points, noise_px=0.0):
    rng = np.random.default_rng(5)
    first, second = points[:, :2] / points[:, 2:], rays_of(pose, points)
    second = second + rng.normal(0.0, noise_px / FOCAL_PX, second.shape)
    return estimate_two_view_geometry(first, second, np.full(len(points), FOCAL_PX), CONFIG)


@pytest.mark.parametrize("seed", range(3))
def test_pose_and_points_are_found_up_to_scale(seed):
    points, pose = random_points(200, seed), sideways_pose(0.5)
    result = start(pose, points)
    assert isinstance(result, TwoViewGeometry)
    assert rotation_angle_deg(result.second_from_first.rotation, pose.rotation) < 1e-5
    scale = 1.0 / np.median(points[:, 2])
    np.testing.assert_allclose(result.second_from_first.translation, scale * pose.translation, atol=1e-6)
    assert result.is_point.all()
    np.testing.assert_allclose(result.points, scale * points, atol=1e-5)


def test_forward_motion_starts():
    pose = SE3(np.eye(3), np.array([0.0, 0.0, -1.2]))
    result = start(pose, random_points(200), noise_px=0.1)
    assert isinstance(result, TwoViewGeometry)
    direction = result.second_from_first.translation / np.linalg.norm(result.second_from_first.translation)
    assert np.degrees(np.arccos(direction @ [0.0, 0.0, -1.0])) < 2.0


def test_a_third_of_wrong_pairs_does_not_matter():
    points, pose = random_points(300), sideways_pose(0.5)
    rng = np.random.default_rng(0)
    second = rays_of(pose, points)
    wrong = rng.random(300) < 0.33
    second[wrong] += rng.uniform(-0.2, 0.2, (int(wrong.sum()), 2))
    result = estimate_two_view_geometry(points[:, :2] / points[:, 2:], second, np.full(300, FOCAL_PX), CONFIG)
    assert isinstance(result, TwoViewGeometry)
    assert rotation_angle_deg(result.second_from_first.rotation, pose.rotation) < 0.1
    assert result.is_point[~wrong].mean() > 0.95


@pytest.mark.parametrize("noise_px", [0.0, 0.3])
def test_pure_rotation_waits(noise_px):
    result = start(SE3(rotation_matrix([0.05, 0.15, 0.02]), np.zeros(3)), random_points(200), noise_px)
    assert isinstance(result, Wait)
    assert result.counts["parallax_deg"] < 0.5 * START_PARALLAX_DEG


@pytest.mark.parametrize("noise_px", [0.05, 0.3])
def test_a_plane_waits_whatever_the_parallax(noise_px):
    result = start(sideways_pose(2.0), random_points(200, planar=True), noise_px)
    assert isinstance(result, Wait)
    assert result.counts["homography_share"] > MAX_HOMOGRAPHY_SHARE


def test_standing_still_waits():
    assert isinstance(start(SE3.identity(), random_points(200), noise_px=0.2), Wait)


def test_too_few_pairs_wait_with_their_number():
    result = start(sideways_pose(0.5), random_points(CONFIG.start_min_points - 1))
    assert isinstance(result, Wait)
    assert result.counts == {"pairs": CONFIG.start_min_points - 1}


def test_parallax_ignores_rotation_but_not_translation():
    points = random_points(200)
    still = points[:, :2] / points[:, 2:]
    turned = rays_of(SE3(rotation_matrix([0.1, 0.2, -0.1]), np.zeros(3)), points)
    assert median_parallax_deg(still, turned) < 1e-6
    moved = rays_of(SE3(rotation_matrix([0.1, 0.2, -0.1]), np.array([0.5, 0.0, 0.0])), points)
    assert median_parallax_deg(still, moved) > 0.4
