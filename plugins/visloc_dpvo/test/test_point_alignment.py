"""Similarities of matched 3D points: exact, mirrored, with outliers, and those that must not be believed."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from visloc_dpvo.point_alignment import align_points
from visloc_ros.core.geometry import Sim3, rotation_angle_deg, rotation_vector, umeyama
from visloc_ros.core.plausibility import covariance_fault

TRUTH = Sim3(1.3, Rotation.from_euler("yx", [25, -10], degrees=True).as_matrix(), np.array([0.4, -0.2, 0.6]))


def points_before_a_camera(count, seed=0, width=1.0):
    rng = np.random.default_rng(seed)
    depth = rng.uniform(1.5, 4.0, count)
    return np.column_stack((width * rng.uniform(-0.6, 0.6, (count, 2)) * depth[:, None], depth))


def wrong_for(target, share, seed=1):
    """The same points, the first ``share`` of them somewhere else before the camera."""
    count = round(share * len(target))
    return np.vstack((points_before_a_camera(count, seed), target[count:]))


def assert_close(found, expected, tolerance):
    assert found.scale == pytest.approx(expected.scale, rel=tolerance)
    assert rotation_angle_deg(found.rotation, expected.rotation) < np.degrees(tolerance)
    np.testing.assert_allclose(found.translation, expected.translation, atol=10 * tolerance)


def test_exact_points_give_the_exact_similarity():
    source = points_before_a_camera(100)
    alignment = align_points(source, TRUTH @ source)
    assert_close(alignment.target_from_source, TRUTH, 1e-9)
    assert alignment.num_inliers == 100
    assert alignment.spread > 0.2


def test_exact_points_leave_the_error_of_the_best_keypoints():
    source = points_before_a_camera(100)
    alignment = align_points(source, TRUTH @ source)
    assert covariance_fault(alignment.covariance, size=7) is None
    assert np.sqrt(np.diag(alignment.covariance)).min() > 1e-5


def test_mirrored_points_never_give_a_mirror():
    source = points_before_a_camera(60)
    target = source * [-1.0, 1.0, 1.0]
    alignment = align_points(source, target)
    for similarity in (umeyama(target, source), alignment.target_from_source):
        assert np.linalg.det(similarity.rotation) == pytest.approx(1.0)
    assert alignment.num_inliers < 30


@pytest.mark.parametrize("seed", range(5))
def test_half_of_the_points_may_be_wrong(seed):
    source = points_before_a_camera(120, seed)
    noise = np.random.default_rng(seed).normal(scale=0.005, size=source.shape)
    target = wrong_for(TRUTH @ source + noise, 0.5, seed + 100)
    alignment = align_points(source, target)
    assert_close(alignment.target_from_source, TRUTH, 0.01)
    assert alignment.inliers[60:].all()
    assert alignment.inliers[:60].sum() < 10


@pytest.mark.parametrize("unit", [0.01, 1.0, 300.0])
def test_the_unit_of_length_does_not_matter(unit):
    source = points_before_a_camera(80)
    target = wrong_for(TRUTH @ source, 0.4)
    alignment = align_points(source, unit * target)
    assert alignment.target_from_source.scale == pytest.approx(unit * TRUTH.scale, rel=1e-6)
    assert alignment.num_inliers == align_points(source, target).num_inliers


def test_too_few_points_or_points_on_a_line_say_nothing():
    source = points_before_a_camera(9)
    assert align_points(source, TRUTH @ source) is None
    line = np.outer(np.linspace(1.0, 2.0, 50), [0.1, 0.2, 1.0])
    assert align_points(line, line) is None


def test_points_behind_the_camera_or_very_far_are_left_out():
    source = points_before_a_camera(60)
    source[0, 2] = -1.0
    source[1] *= 200.0
    alignment = align_points(source, TRUTH @ source)
    assert not alignment.inliers[:2].any()
    assert alignment.inliers[2:].all()


def test_rough_depths_hardly_matter_where_directions_are_exact():
    rng = np.random.default_rng(0)
    source = points_before_a_camera(150)
    target = TRUTH @ source
    rough_source, rough_target = (points * rng.normal(1.0, 0.03, (150, 1)) for points in (source, target))
    found = align_points(rough_source, rough_target).target_from_source
    in_space = umeyama(rough_target, rough_source)
    error = np.linalg.norm(found.translation - TRUTH.translation)
    assert error < 0.5 * np.linalg.norm(in_space.translation - TRUTH.translation)
    assert rotation_angle_deg(found.rotation, TRUTH.rotation) < 0.1


def test_depths_give_the_scale_where_both_cameras_stand_at_one_place():
    rng = np.random.default_rng(0)
    source = points_before_a_camera(150)
    turn = Sim3(TRUTH.scale, TRUTH.rotation, np.zeros(3))
    found = align_points(as_measured(source, rng), as_measured(turn @ source, rng)).target_from_source
    assert found.scale == pytest.approx(turn.scale, rel=0.02)


def as_measured(points, rng):
    """Half a pixel's noise of directions and 2 to 4 % of depths, the more the further away."""
    pixels = points[:, :2] / points[:, 2:] + rng.normal(scale=0.001, size=(len(points), 2))
    depths = points[:, 2] * np.exp(rng.normal(scale=0.01 * points[:, 2]))
    return np.column_stack((pixels * depths[:, None], depths))


@pytest.mark.parametrize("distance", [0.0, 0.5, 1.5])
def test_the_covariance_is_that_of_the_errors(distance):
    """NEES of 7 degrees of freedom, a fifth of the matches being wrong, some of which agree by chance."""
    truth = Sim3(TRUTH.scale, TRUTH.rotation, distance * TRUTH.translation)
    squares = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        source = points_before_a_camera(80, seed)
        target = wrong_for(as_measured(truth @ source, rng), 0.2, seed + 100)
        alignment = align_points(as_measured(source, rng), target)
        found = alignment.target_from_source
        turn = rotation_vector(truth.rotation @ found.rotation.T)
        error = np.concatenate((truth.translation - found.translation, turn, [np.log(truth.scale / found.scale)]))
        squares.append(error @ np.linalg.solve(alignment.covariance, error))
    assert 4.5 < np.mean(squares) < 10.0


def test_the_covariance_has_the_unit_of_the_target():
    rng = np.random.default_rng(1)
    source, target = as_measured(points_before_a_camera(80), rng), as_measured(TRUTH @ points_before_a_camera(80), rng)
    sigmas, longer = (np.sqrt(np.diag(align_points(source, unit * target).covariance)) for unit in (1.0, 50.0))
    np.testing.assert_allclose(longer, np.repeat([50.0, 1.0], [3, 4]) * sigmas, rtol=1e-3)


def test_points_in_another_direction_do_not_agree():
    source = points_before_a_camera(100)
    target = TRUTH @ source
    target[:20, :2] += 0.05 * target[:20, 2:]
    alignment = align_points(source, target)
    assert_close(alignment.target_from_source, TRUTH, 0.005)
    assert not alignment.inliers[:20].any()
    assert alignment.inliers[20:].all()


def test_the_spread_is_that_of_the_image():
    narrow = align_points(points_before_a_camera(100, width=0.1), points_before_a_camera(100, width=0.1))
    wide = align_points(points_before_a_camera(100), points_before_a_camera(100))
    assert narrow.spread == pytest.approx(0.1 * wide.spread, rel=1e-6)


def test_the_same_points_give_the_same_answer():
    source = points_before_a_camera(100)
    target = wrong_for(TRUTH @ source, 0.6)
    first, second = align_points(source, target), align_points(source, target)
    np.testing.assert_array_equal(first.inliers, second.inliers)
    assert first.target_from_source.scale == second.target_from_source.scale
