import numpy as np

from visloc_ros.geo.solving.adjustment import NormalEquations


def test_a_point_at_infinity_leaves_the_covariance_as_it_is():
    """One image sees it: what it says of the pose is used up by its own direction, and its depth is not known."""
    weight, known = 2.0**20, np.diag(np.arange(1.0, 7.0))
    by_point = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0]])
    by_pose = np.random.default_rng(0).integers(-3, 4, (2, 6)).astype(float)
    groups, points, mixed = (
        known + weight * by_pose.T @ by_pose,
        weight * by_point.T @ by_point,
        weight * by_pose.T @ by_point,
    )
    equations = NormalEquations(groups, points[None], mixed[None], np.zeros(6), np.zeros((1, 3)))
    np.testing.assert_allclose(equations.covariance(0), np.linalg.inv(known), atol=1e-6)
