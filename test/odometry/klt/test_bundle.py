from dataclasses import replace

import numpy as np
import pytest
from odometry_scenes import disturbed, make_bundle, with_outliers

from visloc_ros.odometry.klt.blocks import back_substitute, cholesky, damped, forward_substitute
from visloc_ros.odometry.klt.bundle import DepthPrior, PointPrior, ReducedCameraSystem, adjust


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


def short_tracks(problem, length=3):
    """The problem with every landmark seen by a few neighbouring keyframes only."""
    begins = np.arange(len(problem.points)) % (len(problem.rotations) - length + 1)
    since = problem.camera_rows - begins[problem.point_rows]
    seen = (since >= 0) & (since < length)
    rows = {name: getattr(problem, name)[seen] for name in ("camera_rows", "point_rows", "rays", "pixels_per_ray")}
    return replace(problem, **rows)


def dense_jacobian(problem, free):
    """Derivatives (2 N, 6 F + 3 L) of the residuals, by central differences."""
    number, steps = 6 * len(free) + 3 * len(problem.points), 1e-6
    columns = []
    for place in range(number):
        change = np.zeros(number)
        change[place] = steps
        cameras = np.zeros((len(problem.rotations), 6))
        cameras[free] = change[: 6 * len(free)].reshape(-1, 6)
        points = change[6 * len(free) :].reshape(-1, 3)
        ahead, behind = problem.moved(cameras, points), problem.moved(-cameras, -points)
        columns.append((ahead.residuals() - behind.residuals()).ravel() / (2.0 * steps))
    return np.array(columns).T


def eliminated(num_cameras):
    """A problem, its equations with the points taken out, and its dense Jacobian."""
    problem = short_tracks(make_bundle(num_cameras=num_cameras, num_points=30, noise_px=0.05))
    equations = ReducedCameraSystem(problem)
    equations.linearise(problem, huber_px=1e9)
    equations.eliminate()
    return problem, equations, dense_jacobian(problem, equations.free_rows)


def test_points_are_eliminated_as_from_the_whole_matrix():
    _, equations, jacobian = eliminated(num_cameras=12)
    hessian, size = jacobian.T @ jacobian, 6 * len(equations.free_rows)
    coupling, points = hessian[:size, size:], hessian[size:, size:]
    expected = hessian[:size, :size] - coupling @ np.linalg.solve(points, coupling.T)
    np.testing.assert_allclose(equations.reduced, expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_solving_for_a_right_hand_side_solves_the_whole_system():
    problem, equations, jacobian = eliminated(num_cameras=7)
    rng = np.random.default_rng(5)
    poses, points = rng.normal(size=(2, len(equations.free_rows), 6)), rng.normal(size=(2, *problem.points.shape))
    found = np.hstack([part.reshape(2, -1) for part in equations.solve_for(poses, points)])
    right = np.hstack([poses.reshape(2, -1), points.reshape(2, -1)])
    expected = np.linalg.solve(jacobian.T @ jacobian, right.T).T
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * np.abs(expected).max())


def test_poses_and_points_take_up_what_they_can_of_a_change():
    _, equations, jacobian = eliminated(num_cameras=7)
    changes = np.random.default_rng(6).normal(size=(2, *equations.residuals.shape))
    left = equations.after_adjustment(changes)
    for change, found in zip(changes, left, strict=True):
        step = np.linalg.lstsq(jacobian, -change.T.ravel(), rcond=None)[0]
        np.testing.assert_allclose(found.T.ravel(), change.T.ravel() + jacobian @ step, atol=1e-4)


def test_pulls_of_the_tracks_cancel_at_the_solution():
    problem = make_bundle(noise_px=0.5)
    found = adjust(problem, iterations=60)
    equations = ReducedCameraSystem(found)
    equations.linearise(found, huber_px=0.5)
    equations.eliminate()
    pulls = equations.influence(np.eye(6)[None, :4], np.zeros((1, *found.points.shape)))[0]
    assert np.abs(pulls).max() > 1e-4
    assert abs(pulls.sum()) < 0.01 * np.abs(pulls).sum()


def test_observations_out_of_order_are_refused():
    problem = make_bundle()
    with pytest.raises(ValueError, match="ordered by keyframe"):
        adjust(replace(problem, camera_rows=problem.camera_rows[::-1].copy()))


def with_prior(problem, distances, weight):
    """A problem whose points are expected at distances (L,) from the first camera."""
    centre = -problem.rotations[0].T @ problem.translations[0]
    prior = DepthPrior(np.tile(centre, (len(problem.points), 1)), distances, np.full(len(distances), weight))
    return replace(problem, depth_prior=prior)


def test_points_without_parallax_end_at_the_expected_distance():
    problem = make_bundle(num_cameras=2)
    first, number = slice(0, len(problem.points)), len(problem.points)
    problem = replace(
        problem,
        rotations=problem.rotations[[0, 0]],
        translations=problem.translations[[0, 0]],
        is_fixed=np.array([True, False]),
        rays=np.tile(problem.rays[first], (2, 1)),
    )
    found = adjust(with_prior(problem, np.full(number, 4.0), weight=0.7), iterations=30)
    centre = -problem.rotations[0].T @ problem.translations[0]
    np.testing.assert_allclose(np.linalg.norm(found.points - centre, axis=1), 4.0, rtol=1e-2)
    assert rms_px(found) < 1e-2


def test_what_is_expected_hardly_moves_points_with_parallax():
    problem = make_bundle(noise_px=0.3)
    distances = np.full(len(problem.points), 2.0)  # the true ones are 3 to 8
    plain, held = adjust(problem), adjust(with_prior(problem, distances, weight=0.5 / 0.7))
    assert np.abs(np.linalg.norm(held.points, axis=1) / np.linalg.norm(plain.points, axis=1) - 1.0).max() < 0.03


def test_the_pull_of_an_expected_distance_is_its_derivative():
    problem = make_bundle(num_points=5)
    prior = with_prior(problem, np.linspace(2.0, 6.0, 5), weight=0.7).depth_prior
    for axis, step in enumerate(1e-6 * np.eye(3)):
        change = (prior.residuals(problem.points + step) - prior.residuals(problem.points - step)) / 2e-6
        np.testing.assert_allclose(change, prior.jacobian(problem.points)[:, axis], rtol=1e-5)


def test_points_that_are_known_elsewhere_hold_a_camera_that_alone_sees_them():
    """Without the prior they would move with the camera, and the camera stay where it is wrong."""
    truth = make_bundle(num_cameras=2)
    number = len(truth.points)
    alone = replace(truth, camera_rows=truth.camera_rows[number:], point_rows=truth.point_rows[number:])
    alone = replace(alone, rays=truth.rays[number:], pixels_per_ray=truth.pixels_per_ray[number:])
    start = disturbed(replace(alone, is_fixed=np.array([True, False])))
    prior = PointPrior(truth.points, np.tile(1e3 * np.eye(3), (number, 1, 1)))
    found = adjust(replace(start, point_prior=prior, points=truth.points), iterations=40)
    assert np.linalg.norm(start.centres[1] - truth.centres[1]) > 0.01
    np.testing.assert_allclose(found.centres[1], truth.centres[1], atol=1e-4)
    np.testing.assert_allclose(found.points, truth.points, atol=1e-3)
    rescaled = found.scaled(3.0, np.ones(3)).point_prior
    assert rescaled.cost(3.0 * truth.points - 2.0) == pytest.approx(0.0, abs=1e-9)
    assert rescaled.cost(3.0 * truth.points) == pytest.approx(prior.cost(truth.points + 2.0 / 3.0))


@pytest.fixture
def blocks():
    factors = np.random.default_rng(0).normal(size=(20, 3, 3))
    return np.moveaxis(factors @ factors.transpose(0, 2, 1) + 0.1 * np.eye(3), 0, -1)


def test_factors_are_those_of_numpy(blocks):
    expected = np.linalg.cholesky(np.moveaxis(blocks, -1, 0))
    np.testing.assert_allclose(np.moveaxis(cholesky(blocks), -1, 0), expected, atol=1e-12)


def test_substituting_forwards_and_back_solves_the_blocks(blocks):
    right = np.random.default_rng(1).normal(size=(2, 3, 20))
    factor = cholesky(blocks)
    found = back_substitute(factor, forward_substitute(factor, right))
    np.testing.assert_allclose(np.einsum("ijl,mjl->mil", blocks, found), right, atol=1e-10)


def test_damping_raises_the_diagonal_only(blocks):
    raised = damped(blocks, 0.5)
    diagonal = np.arange(3)
    np.testing.assert_allclose(raised[diagonal, diagonal], 1.5 * blocks[diagonal, diagonal], atol=1e-8)
    np.testing.assert_array_equal(raised[0, 1], blocks[0, 1])


def test_a_block_without_any_curvature_still_has_a_finite_factor():
    factor = cholesky(damped(np.zeros((3, 3, 2)), 0.0))
    assert np.all(np.isfinite(forward_substitute(factor, np.ones((1, 3, 2)))))
