import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector
from visloc_ros.map_tracking.patch_localization import SeedObservations, learn_depths
from visloc_ros.tracking.robust_pose import fit_pose

FOCAL = 500.0
START = SE3.identity()
TRUE = SE3(rotation_matrix([0.05, -0.1, 0.02]), np.array([0.3, -0.1, 0.1]))  # map_from_camera
SIGMA_PX = 0.5


def seen_from(pose, rng, count=80, depth_error=0.0, noise_px=0.0):
    """Points that a view at the origin shows 2-5 m away, where a camera sees them; depths as wrong as they may be."""
    lines = np.column_stack([rng.uniform(-0.5, 0.5, (count, 2)), np.ones(count)])
    true = 1.0 / rng.uniform(2.0, 5.0, count)
    local = pose.inverse @ (lines / true[:, None])
    rays = local[:, :2] / local[:, 2:] + rng.normal(0.0, noise_px / FOCAL, (count, 2))
    known = true * (1.0 + rng.normal(0.0, depth_error, count))
    sigmas = np.maximum(depth_error, 1e-4) * true
    return SeedObservations(rays, np.full(count, FOCAL), np.zeros((count, 3)), lines, known, sigmas, SIGMA_PX), true


def error(fit):
    found = fit.camera_from_world.inverse
    turn = rotation_vector(found.rotation @ TRUE.rotation.T)
    return np.concatenate([found.translation - TRUE.translation, turn])


def test_exact_points_give_the_exact_pose():
    seen, _ = seen_from(TRUE, np.random.default_rng(0))
    fit = fit_pose(START, seen.points(), 3.0)
    np.testing.assert_allclose(error(fit), 0.0, atol=1e-6)
    assert fit.num_inliers == len(seen)


def test_wrong_points_are_left_out():
    rng = np.random.default_rng(1)
    seen, _ = seen_from(TRUE, rng, noise_px=0.3)
    seen.rays[:20] += rng.uniform(0.05, 0.2, (20, 2))
    fit = fit_pose(TRUE.inverse, seen.points(), 3.0)
    assert not fit.inliers[:20].any()
    assert fit.inliers[20:].all()
    assert np.linalg.norm(error(fit)[:3]) < 0.01


def test_points_behind_the_camera_do_not_agree():
    seen, _ = seen_from(TRUE, np.random.default_rng(2))
    seen.inverse_depths[:5] *= -1.0
    fit = fit_pose(TRUE.inverse, seen.points(), 3.0)
    assert not fit.inliers[:5].any()
    np.testing.assert_allclose(error(fit), 0.0, atol=1e-5)


def test_the_covariance_is_that_of_the_errors():
    """Mean NEES of 200 draws with wrong depths and noise; 6 would be exact."""
    values = []
    for seed in range(200):
        seen, _ = seen_from(TRUE, np.random.default_rng(seed), depth_error=0.05, noise_px=SIGMA_PX)
        fit = fit_pose(TRUE.inverse, seen.points(), 5.0)
        values.append(error(fit) @ np.linalg.solve(fit.covariance, error(fit)))
    assert np.mean(values) == pytest.approx(6.0, rel=0.3)


def test_uncertain_depths_matter_less_than_certain_ones():
    """Half of the points are 10 % too near, and said to be that uncertain: the pose hardly moves."""
    rng = np.random.default_rng(3)
    seen, true = seen_from(TRUE, rng, noise_px=0.1)
    seen.inverse_depths[::2] = 1.1 * true[::2]
    seen.sigmas[::2] = 0.1 * true[::2]
    careful = np.linalg.norm(error(fit_pose(TRUE.inverse, seen.points(), 5.0))[:3])
    seen.sigmas[:] = 1e-4 * true
    careless = np.linalg.norm(error(fit_pose(TRUE.inverse, seen.points(), 5.0))[:3])
    assert careful < 0.003
    assert careful < 0.3 * careless


def test_a_look_from_aside_gives_the_depth():
    seen, true = seen_from(TRUE, np.random.default_rng(4), depth_error=0.1)
    for _ in range(3):
        seen.inverse_depths[:], seen.sigmas[:] = learn_depths(TRUE.inverse, seen)
    assert np.abs(seen.inverse_depths / true - 1.0).max() < 0.05
    assert np.median(np.abs(seen.inverse_depths / true - 1.0)) < 0.005
    assert (seen.sigmas < 0.1 * true).all()


def test_a_look_from_the_same_place_gives_no_depth():
    seen, _ = seen_from(SE3.identity(), np.random.default_rng(5), depth_error=0.1)
    inverse_depths, sigmas = learn_depths(SE3.identity(), seen)
    np.testing.assert_allclose(inverse_depths, seen.inverse_depths)
    np.testing.assert_allclose(sigmas, seen.sigmas)
