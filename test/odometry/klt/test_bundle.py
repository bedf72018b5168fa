from dataclasses import replace

import numpy as np
from odometry_scenes import disturbed, make_bundle, with_outliers

from visloc_ros.odometry.klt.bundle import adjust


def rms_px(problem):
    return float(np.sqrt(np.mean(np.square(problem.residuals()))))


def test_exact_observations_lead_back_to_the_truth():
    truth = make_bundle()
    found = adjust(disturbed(truth), iterations=40)
    np.testing.assert_allclose(found.rotations, truth.rotations, atol=1e-6)
    np.testing.assert_allclose(found.translations, truth.translations, atol=1e-5)
    np.testing.assert_allclose(found.points, truth.points, atol=1e-4)


def test_noise_is_fitted_to_its_own_level():
    truth = make_bundle(noise_px=0.5)
    start = disturbed(truth)
    found = adjust(start, iterations=20)
    assert rms_px(start) > 5.0
    assert rms_px(found) < 0.5
    assert np.abs(found.translations - truth.translations).max() < 0.01


def test_fixed_cameras_do_not_move_at_all():
    start = disturbed(make_bundle(noise_px=0.5))
    found = adjust(start)
    np.testing.assert_array_equal(found.translations[:2], start.translations[:2])
    np.testing.assert_allclose(found.rotations[:2], start.rotations[:2], atol=1e-15)
    assert np.abs(found.translations[2:] - start.translations[2:]).max() > 1e-3


def test_outliers_pull_little():
    truth = make_bundle(noise_px=0.3)
    found = adjust(with_outliers(disturbed(truth), share=0.05), iterations=20)
    assert np.abs(found.translations - truth.translations).max() < 0.02


def test_one_fixed_camera_leaves_only_the_scale_open():
    truth = make_bundle()
    problem = replace(disturbed(truth), is_fixed=np.arange(6) < 1)
    found = adjust(problem, iterations=60)
    assert rms_px(found) < 1e-3
    scale = np.linalg.norm(found.translations[5] - found.translations[0]) / np.linalg.norm(
        truth.translations[5] - truth.translations[0]
    )
    assert 0.5 < scale < 2.0


def test_rotations_stay_orthonormal():
    found = adjust(disturbed(make_bundle(noise_px=0.5)))
    products = found.rotations @ found.rotations.transpose(0, 2, 1)
    np.testing.assert_allclose(products, np.broadcast_to(np.eye(3), products.shape), atol=1e-14)


def test_points_behind_a_camera_have_infinite_residuals():
    problem = make_bundle()
    points = problem.points.copy()
    points[0, 2] = -5.0
    assert np.isinf(replace(problem, points=points).residuals()).any(axis=1).sum() == 6
