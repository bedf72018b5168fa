"""The joint adjustment of poses and points stays finite where an observation says nothing."""

import numpy as np
import pycolmap

from visloc_geo.solving.adjustment import NormalEquations, normal_equations
from visloc_geo.solving.observations import UNTAGGED, Observations, Scene


def test_a_point_beside_its_camera_has_no_part_in_the_equations():
    camera = pycolmap.Camera(model="PINHOLE", width=640, height=480, params=[500.0, 500.0, 320.0, 240.0])
    points = np.array([[0.1, 0.2, 5.0], [-0.3, 0.1, 4.0], [3.0, 2.0, 1e-7]])
    pixels = np.tile([320.0, 240.0], (3, 1))
    one = np.array([0, 0, 0])
    observations = Observations(
        (camera,), ("photo",), np.array([0]), (UNTAGGED,), one, np.arange(3), pixels, np.eye(3), np.ones(3), 3
    )
    scene = Scene(np.eye(3)[None], np.zeros((1, 3)), points)
    equations = normal_equations(observations, scene, np.array([1.0, 1.0, 1e-18]))
    assert np.all(np.isfinite(equations.groups))
    assert np.all(np.isfinite(equations.mixed))
    assert np.all(equations.points[2] == 0.0)
    assert np.all(np.diag(equations.points[0])[:2] > 0.0)


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
    np.testing.assert_allclose(equations.covariance()[:6, :6], np.linalg.inv(known), atol=1e-6)
