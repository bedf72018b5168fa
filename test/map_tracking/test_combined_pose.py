import numpy as np
import pytest

from visloc_ros.core.geometry import SE3, rotation_matrix, rotation_vector
from visloc_ros.map_tracking.tracker import combine, located_by_references, tracked_from_anchor

ANCHOR = np.diag([0.02**2] * 3 + [0.004**2] * 3)
SINCE = np.diag([0.01**2] * 3 + [0.003**2] * 3)
MAP = np.diag([0.015**2] * 3 + [0.002**2] * 3)
NOTHING = np.zeros((6, 6))


def moved(error):
    return SE3(rotation_matrix(error[3:]), error[:3])


def drawn(rng, covariance):
    return rng.multivariate_normal(np.zeros(6), covariance)


def error_of(pose):
    return np.concatenate([pose.translation, rotation_vector(pose.rotation)])


def test_both_covariances_are_those_of_the_errors():
    """Mean NEES of 2000 draws of the anchor's, the motion's, and the map's error; 6 is exact."""
    rng, whole, since = np.random.default_rng(0), [], []
    for _ in range(2000):
        of_anchor, of_motion, of_map = (drawn(rng, covariance) for covariance in (ANCHOR, SINCE, MAP))
        followed = tracked_from_anchor(moved(of_anchor + of_motion), SINCE, ANCHOR)
        result = combine(followed, moved(of_map), MAP, ANCHOR, NOTHING)
        if result is None:  # one in a thousand
            continue
        error = error_of(result.map_from_camera)
        whole.append(error @ np.linalg.solve(result.covariance, error))
        error = error - of_anchor
        since.append(error @ np.linalg.solve(result.covariance_since_anchor, error))
    assert np.mean(whole) == pytest.approx(6.0, rel=0.05)
    assert np.mean(since) == pytest.approx(6.0, rel=0.05)


def test_right_after_an_anchor_the_map_hardly_matters_and_later_it_rules():
    found = moved(np.array([0.02, 0.0, 0.0, 0.0, 0.0, 0.0]))
    soon = combine(tracked_from_anchor(SE3.identity(), 0.001 * SINCE, ANCHOR), found, MAP, ANCHOR, NOTHING)
    later = combine(tracked_from_anchor(SE3.identity(), 1000.0 * SINCE, ANCHOR), found, MAP, ANCHOR, NOTHING)
    assert soon.map_from_camera.translation[0] < 0.001
    assert later.map_from_camera.translation[0] > 0.019


def test_poses_that_contradict_each_other_are_no_pose():
    followed = tracked_from_anchor(SE3.identity(), SINCE, ANCHOR)
    far = moved(np.array([0.5, 0.0, 0.0, 0.0, 0.0, 0.0]))
    assert combine(followed, far, MAP, ANCHOR, NOTHING) is None
    assert combine(followed, far, MAP, ANCHOR, 100.0 * MAP) is not None  # a map that is off by that much


def test_pictures_that_err_alike_do_not_make_later_frames_surer():
    result = combine(tracked_from_anchor(SE3.identity(), SINCE, ANCHOR), SE3.identity(), MAP, ANCHOR, NOTHING)
    assert np.trace(result.covariance_since_anchor) < np.trace(result.tracking_covariance)
    np.testing.assert_array_equal(result.tracking_covariance, SINCE)


def test_by_the_map_alone_the_anchor_s_error_counts_for_the_motion_only():
    result = located_by_references(SE3.identity(), MAP, ANCHOR)
    np.testing.assert_array_equal(result.covariance, MAP)
    np.testing.assert_array_equal(result.covariance_since_anchor, MAP + ANCHOR)
